//! `lambda_runtime`, and the SDK with its defaults.

use aws_config::BehaviorVersion;
use lambda_runtime::{Error, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let client = aws_sdk_sqs::Client::new(&config);
    run(service_fn(|event| work::handle(&client, event))).await
}
