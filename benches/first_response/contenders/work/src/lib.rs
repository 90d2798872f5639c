//! The work that every contender does for an event: it sends one message to a queue.

use aws_sdk_sqs::Client;
use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};

/// Where the message goes.
pub const QUEUE: &str = "https://sqs.us-east-1.amazonaws.com/123456789012/orders";

/// The handler.
pub async fn handle(client: &Client, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let sent = client.send_message().queue_url(QUEUE).message_body(event.payload["order"].to_string()).send().await?;
    Ok(json!({ "message": sent.message_id() }))
}
