//! Takes an order over HTTP and publishes it to a topic. `cargo run --example fan_out` runs it with what is behind the topic.

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use lambda_lifecycle::{Error, Lifecycle, aws_sdk::traced};
use serde_json::Value;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let topic = life.init("topic", Topic::connect()).await?;
    life.serve(Router::new().route("/orders", post(place)).with_state(topic)).await
}

async fn place(State(topic): State<Topic>, Json(order): Json<Value>) -> Result<StatusCode, StatusCode> {
    let published = topic.client.publish().topic_arn(&topic.arn).message(order.to_string()).send().await;
    published.map(|_| StatusCode::ACCEPTED).map_err(|error| {
        tracing::error!(%error, "the order was not published");
        StatusCode::BAD_GATEWAY
    })
}

#[derive(Clone)]
struct Topic {
    client: aws_sdk_sns::Client,
    arn: String,
}

impl Topic {
    async fn connect() -> Result<Self, Error> {
        let arn = std::env::var("TOPIC_ARN").map_err(|_| "TOPIC_ARN is not set: it names the topic that orders go to")?;
        let http = aws_smithy_http_client::Builder::new().build_http(); // the sandbox speaks no TLS
        // Once for all clients that are made from this configuration.
        let config = aws_config::from_env().http_client(traced(http)).load().await;
        Ok(Self { client: aws_sdk_sns::Client::new(&config), arn })
    }
}
