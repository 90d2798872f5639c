//! Packs a parcel for each order that comes through a queue without raw message delivery: the order is in a notification of SNS.
//! Its work continues the trace of the call that published the order.

use lambda_lifecycle::{
    Error, Lifecycle,
    sqs::{self, Message},
};
use serde::Deserialize;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    Lifecycle::from_env().run_concurrent(sqs::batch(pack).from_sns().continue_traces()).await
}

#[derive(Deserialize)]
struct Order {
    sku: String,
}

async fn pack(message: Message<Order>) -> Result<(), Error> {
    let topic = message.notification.as_ref().map(|notification| notification.topic());
    tracing::info!(sku = message.body.sku, topic, "packing");
    wrap(&message.body).await;
    Ok(())
}

#[tracing::instrument(name = "wrap", skip_all, fields(sku = order.sku))]
async fn wrap(order: &Order) {
    tokio::time::sleep(std::time::Duration::from_millis(5)).await; // in place of the robot
}
