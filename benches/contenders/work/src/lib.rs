//! The job every contender does: JSON in, ten spans with two fields each, JSON out.

use lambda_runtime::{Error, LambdaEvent};
use serde_json::{Value, json};
use std::hint::black_box;
use tracing::Instrument;

/// The handler.
pub async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    for number in 0..10_u32 {
        async { black_box(number) }.instrument(tracing::info_span!("step", number, kind = "two fields")).await;
    }
    tokio::task::yield_now().await;
    Ok(json!({ "order": event.payload["order"], "steps": 10 }))
}
