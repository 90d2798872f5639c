//! As ours, with a client of the AWS SDK in its state that is configured from the environment.

use lambda_lifecycle::{Error, Lifecycle, aws_sdk, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let queues = aws_sdk_sqs::Client::new(&aws_sdk::config().await);
    life.run(service_fn(async |event| {
        let answer = work::handle(event).await?;
        if answer["order"] == "send" {
            queues.send_message().queue_url("orders").message_body("{}").send().await?;
        }
        Ok::<_, Error>(answer)
    }))
    .await
}
