//! Function B: does the work of the orders that come through the queue, each message for itself.
//!
//! `cargo run --example order_pipeline` runs it behind its API; `docs/deploy.md` deploys it.

use lambda_lifecycle::{
    Error, Lifecycle, aws_sdk,
    sqs::{self, Message},
};
use serde::Deserialize;
use serde_json::json;
use std::{sync::Arc, time::Duration};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let shop = life.init("shop", Shop::connect()).await?;
    life.run_concurrent(sqs::batch(fulfill).with_state(Arc::new(shop)).concurrency(8)).await
}

async fn fulfill(shop: Arc<Shop>, message: Message<Order>) -> Result<(), Error> {
    let (invocation, order) = (&message.invocation, &message.body);
    invocation.within(shop.reserve(order, message.receive_count)).await??;
    invocation.within(shop.charge(&order.card)).await??;
    invocation.within(shop.announce(order)).await??;
    let shop = Arc::clone(&shop);
    invocation.after_response(async move { shop.send_receipt().await });
    tracing::info!(message_id = message.id, sku = order.sku, "order shipped");
    Ok(())
}

#[derive(Deserialize)]
struct Order {
    sku: String,
    quantity: u64,
    card: String,
}

struct Shop {
    client: aws_sdk_sns::Client,
    shipped: String,
}

impl Shop {
    async fn connect() -> Result<Self, Error> {
        let shipped = std::env::var("TOPIC_ARN").map_err(|_| "TOPIC_ARN is not set: it names the topic of shipped orders")?;
        let client = aws_sdk_sns::Client::new(&aws_sdk::config().await);
        aws_sdk::connect(client.list_topics().customize().interceptor(aws_sdk::ConnectOnly).send()).await?;
        Ok(Self { client, shipped })
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

    async fn announce(&self, order: &Order) -> Result<(), Error> {
        let shipped = json!({ "sku": order.sku, "quantity": order.quantity }).to_string();
        self.client.publish().topic_arn(&self.shipped).message(shipped).send().await?;
        Ok(())
    }

    #[tracing::instrument(name = "send receipt", skip_all)]
    async fn send_receipt(&self) {
        tokio::time::sleep(Duration::from_millis(10)).await; // in place of a mail service
    }
}
