//! A queue worker with unit tests of its whole batch service. They need the feature `testing`, and no process, network or AWS account.
//!
//! `cargo test --manifest-path examples/unit_tests/Cargo.toml`

use lambda_lifecycle::{
    Error, Lifecycle,
    sqs::{self, Message},
};
use serde::Deserialize;
use std::time::Duration;

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    Lifecycle::from_env().run_concurrent(sqs::batch(ship)).await
}

#[derive(Deserialize)]
struct Order {
    sku: String,
    quantity: u32,
}

async fn ship(message: Message<Order>) -> Result<(), Error> {
    let invocation = &message.invocation;
    let parcels = invocation.within(pack(&message.body)).await??;
    invocation.after_response(async move { notify(parcels).await });
    Ok(())
}

#[tracing::instrument(skip_all, err)]
async fn pack(order: &Order) -> Result<u32, Error> {
    tokio::time::sleep(Duration::from_secs(u64::from(order.quantity))).await; // in place of a call
    if order.sku == "kettle" { Err("no kettle in stock".into()) } else { Ok(order.quantity.div_ceil(10)) }
}

#[tracing::instrument]
async fn notify(parcels: u32) {}

#[cfg(test)]
mod tests {
    use super::*;
    use lambda_lifecycle::{Invocation, testing::sqs_event};

    const TEA: &str = r#"{"sku":"tea","quantity":1}"#;
    const KETTLE: &str = r#"{"sku":"kettle","quantity":1}"#;
    /// Takes longer than the function's timeout.
    const MANY_TEAS: &str = r#"{"sku":"tea","quantity":900}"#;

    #[tokio::test(start_paused = true)]
    async fn only_failed_messages_are_returned_to_the_queue() {
        let test = Invocation::test().begin();
        let response = test.call(sqs::batch(ship), sqs_event([TEA, KETTLE, "no JSON"])).await.expect("a response");
        let failures = response["batchItemFailures"].as_array().expect("a list");
        let failed: Vec<_> = failures.iter().filter_map(|failure| failure["itemIdentifier"].as_str()).collect();
        assert_eq!(failed, ["2", "3"]);
        assert_eq!(test.outcome().map(|outcome| outcome.as_str()), Some("responded"));

        test.respond().await;
        let spans = test.spans();
        let count = |name: &str| spans.iter().filter(|span| span.name == name).count();
        assert_eq!((count("pack"), count("notify")), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_takes_too_long_is_returned_before_the_timeout() {
        let test = Invocation::test().timeout(Duration::from_secs(30)).begin();
        let response = test.call(sqs::batch(ship), sqs_event([MANY_TEAS, TEA])).await.expect("a response");
        assert_eq!(response["batchItemFailures"].as_array().map(Vec::len), Some(1));
        assert_eq!(response["batchItemFailures"][0]["itemIdentifier"], "1");
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_of_another_service_is_a_typed_error() {
        let error = Invocation::test().begin().call(sqs::batch(ship), "a test event").await.expect_err("not of SQS");
        assert_eq!(error.error_type, "Lifecycle.UndecodableEvent");
    }
}
