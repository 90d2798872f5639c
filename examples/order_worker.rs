//! Function B: does the work of the orders that come through the queue, each message for itself.
//!
//! `cargo run --example order_pipeline` runs it behind its API; `docs/deploy.md` deploys it.

use lambda_lifecycle::{
    Error, Lifecycle,
    sqs::{self, Message},
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let shop = life.init("shop", Shop::connect()).await?;
    life.run_concurrent(sqs::batch(fulfil).with_state(Arc::new(shop)).concurrency(8)).await
}

async fn fulfil(shop: Arc<Shop>, message: Message<Order>) -> Result<(), Error> {
    let invocation = &message.invocation;
    invocation.within(shop.reserve(&message.body, message.receive_count)).await??;
    invocation.within(shop.charge(&message.body.card)).await??;
    let shop = Arc::clone(&shop);
    invocation.after_response(async move { shop.send_receipt().await });
    tracing::info!(message_id = message.id, sku = message.body.sku, "order fulfilled");
    Ok(())
}

#[derive(Deserialize)]
struct Order {
    sku: String,
    quantity: u64,
    card: String,
}

struct Shop;

impl Shop {
    #[tracing::instrument(name = "open shop")]
    async fn connect() -> Result<Self, Error> {
        tokio::time::sleep(Duration::from_millis(15)).await; // in place of a connection pool
        Ok(Self)
    }

    #[tracing::instrument(name = "reserve stock", skip_all, fields(sku = order.sku, quantity = order.quantity), err)]
    async fn reserve(&self, order: &Order, receive_count: u32) -> Result<(), Error> {
        tokio::time::sleep(Duration::from_millis(5)).await; // in place of a query
        // The kettles arrive while the first delivery of their order is being refused.
        if order.sku == "kettle" && receive_count == 1 {
            return Err("no kettle in stock".into());
        }
        Ok(())
    }

    #[tracing::instrument(name = "charge card", skip_all)]
    async fn charge(&self, _card: &str) -> Result<(), Error> {
        tokio::time::sleep(Duration::from_millis(8)).await; // in place of a payment service
        Ok(())
    }

    #[tracing::instrument(name = "send receipt", skip_all)]
    async fn send_receipt(&self) {
        tokio::time::sleep(Duration::from_millis(10)).await; // in place of a mail service
    }
}
