//! Function A: accepts orders over HTTP, responds at once, and passes them to the worker through a queue.
//!
//! `cargo run --example order_pipeline` runs it with its worker; `docs/deploy.md` deploys it.

use aws_sdk_sqs::error::DisplayErrorContext;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use lambda_lifecycle::{Error, Invocation, Lifecycle, aws_sdk};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc, time::Duration};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let (prices, queue) = tokio::try_join!(life.init("prices", Prices::load()), life.init("queue", Queue::connect()))?;
    let app = Arc::new(App { prices, queue });
    let router = Router::new().route("/orders", post(place)).route("/prices/{sku}", get(price)).with_state(app);
    life.serve(router).await
}

async fn place(
    State(app): State<Arc<App>>,
    invocation: Invocation,
    Json(order): Json<Order>,
) -> Result<(StatusCode, Json<Accepted>), StatusCode> {
    let cents = app.prices.total(&order).ok_or(StatusCode::NOT_FOUND)?;
    invocation.annotate("sku", order.sku.clone());
    let Ok(sent) = invocation.within(app.queue.send(&order)).await else { return Err(StatusCode::GATEWAY_TIMEOUT) };
    let message_id = sent.map_err(|error| {
        tracing::error!(error = %DisplayErrorContext(&*error), "the order was not queued");
        StatusCode::BAD_GATEWAY
    })?;
    invocation.after_response(async move { app.prices.remember_demand(&order.sku).await });
    tracing::info!(message_id, cents, "order accepted");
    Ok((StatusCode::ACCEPTED, Json(Accepted { message_id, cents })))
}

async fn price(State(app): State<Arc<App>>, Path(sku): Path<String>) -> Result<Json<u64>, StatusCode> {
    app.prices.cents.get(&sku).copied().map(Json).ok_or(StatusCode::NOT_FOUND)
}

#[derive(Deserialize, Serialize)]
struct Order {
    sku: String,
    quantity: u64,
    card: String,
}

#[derive(Serialize)]
struct Accepted {
    message_id: String,
    cents: u64,
}

struct App {
    prices: Prices,
    queue: Queue,
}

struct Prices {
    cents: HashMap<String, u64>,
}

impl Prices {
    #[tracing::instrument(name = "load prices")]
    async fn load() -> Result<Self, Error> {
        tokio::time::sleep(Duration::from_millis(20)).await; // in place of a table that is read once
        Ok(Self { cents: HashMap::from([("tea".into(), 450), ("kettle".into(), 3_900), ("teapot".into(), 2_900)]) })
    }

    #[tracing::instrument(name = "price order", skip_all, fields(sku = order.sku))]
    fn total(&self, order: &Order) -> Option<u64> {
        self.cents.get(&order.sku)?.checked_mul(order.quantity)
    }

    #[tracing::instrument(name = "remember demand", skip(self))]
    async fn remember_demand(&self, sku: &str) {
        tokio::time::sleep(Duration::from_millis(30)).await; // in place of a write after the response
    }
}

struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl Queue {
    async fn connect() -> Result<Self, Error> {
        let url = std::env::var("QUEUE_URL").map_err(|_| "QUEUE_URL is not set: it names the queue that orders go to")?;
        let client = aws_sdk_sqs::Client::new(&aws_sdk::config().await);
        aws_sdk::connect(client.list_queues().customize().interceptor(aws_sdk::ConnectOnly).send()).await?;
        Ok(Self { client, url })
    }

    async fn send(&self, order: &Order) -> Result<String, Error> {
        let body = serde_json::to_string(order)?;
        let sent = self.client.send_message().queue_url(&self.url).message_body(body).send().await?;
        Ok(sent.message_id.unwrap_or_default())
    }
}
