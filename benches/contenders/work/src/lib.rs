//! The job every contender does: JSON in, ten spans with two fields each, JSON out.

use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use std::{hint::black_box, time::Duration};
use tracing::Instrument;

/// The handler.
pub async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    for number in 0..10_u32 {
        async { black_box(number) }.instrument(tracing::info_span!("step", number, kind = "two fields")).await;
    }
    tokio::task::yield_now().await;
    Ok(json!({ "order": event.payload["order"], "steps": 10 }))
}

/// The same after waiting, as for a database, as many milliseconds as the event says.
pub async fn handle_and_wait(event: LambdaEvent<Value>) -> Result<Value, Error> {
    if let Some(milliseconds) = event.payload["wait"].as_u64() {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
    handle(event).await
}
