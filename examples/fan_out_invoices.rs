//! Writes an invoice for each order that comes through a queue with raw message delivery: the body is what was published.

use lambda_lifecycle::{
    Error, Lifecycle,
    sqs::{self, Message},
};
use serde::Deserialize;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    Lifecycle::from_env().run_concurrent(sqs::batch(invoice)).await
}

#[derive(Deserialize)]
struct Order {
    sku: String,
    quantity: u64,
}

async fn invoice(message: Message<Order>) -> Result<(), Error> {
    write(&message.body).await
}

#[tracing::instrument(name = "write invoice", skip_all, fields(sku = order.sku))]
async fn write(order: &Order) -> Result<(), Error> {
    tracing::info!(sku = order.sku, quantity = order.quantity, "invoice written");
    Ok(())
}
