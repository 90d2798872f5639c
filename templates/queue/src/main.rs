//! {{ project_name }}: processes the messages of an SQS queue on AWS Lambda.

use lambda_lifecycle::{
    Error, Lifecycle,
    sqs::{self, Message},
};
use serde::Deserialize;
use std::sync::Arc;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    // Once per environment, before the first message. Lambda learns of its error.
    let stock = life.init("stock", Stock::open()).await?;
    let worker = sqs::batch(fulfill).with_state(Arc::new(stock));
    life.run_concurrent(worker.concurrency(8)).await
}

/// Handles one message. The messages whose handler fails are returned to the queue, and no others.
///
/// SQS delivers at least once, so it must be idempotent.
async fn fulfill(stock: Arc<Stock>, message: Message<Order>) -> Result<(), Error> {
    // Returns an error before the deadline, so that the message is retried.
    let reserved = stock.reserve(&message.body);
    message.invocation.within(reserved).await??;
    tracing::info!(message_id = message.id, "fulfilled");
    Ok(())
}

#[derive(Deserialize)]
struct Order {
    sku: String,
    quantity: u64,
}

struct Stock;

impl Stock {
    async fn open() -> Result<Self, Error> {
        Ok(Self)
    }

    #[tracing::instrument(skip_all, err)]
    async fn reserve(&self, order: &Order) -> Result<(), Error> {
        if order.quantity > 100 {
            return Err(format!("not enough {} in stock", order.sku).into());
        }
        Ok(())
    }
}
