//! `lambda_runtime`, and the SDK as this library configures it.

use lambda_lifecycle::aws_sdk;
use lambda_runtime::{Error, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = aws_sdk_sqs::Client::new(&aws_sdk::config().await);
    run(service_fn(|event| work::handle(&client, event))).await
}
