//! All four stages; the SDK's client is configured and connected in the Init phase.

use lambda_lifecycle::{
    Error, Lifecycle,
    aws_sdk::{self, ConnectOnly},
    service_fn,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let client = aws_sdk_sqs::Client::new(&aws_sdk::config().await);
    let first_call = client.send_message().queue_url(work::QUEUE).message_body("{}");
    life.init("orders queue", aws_sdk::connect(first_call.customize().interceptor(ConnectOnly).send())).await?;
    life.run(service_fn(|event| work::handle(&client, event))).await
}
