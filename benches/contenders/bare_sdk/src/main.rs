//! As bare, with a client of the AWS SDK in its state: `aws_config` with ring, and nothing else changed.

use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use lambda_runtime::{Error, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config = aws_config::defaults(aws_config::BehaviorVersion::latest()).http_client(https).load().await;
    let queues = &aws_sdk_sqs::Client::new(&config);
    run(service_fn(async |event| {
        let answer = work::handle(event).await?;
        if answer["order"] == "send" {
            queues.send_message().queue_url("orders").message_body("{}").send().await?;
        }
        Ok::<_, Error>(answer)
    }))
    .await
}
