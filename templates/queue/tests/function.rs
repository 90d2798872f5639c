//! The function as a process, in an execution environment on this machine.

use lambda_lifecycle_sandbox::{Event, Invoke, function::Function, xray::Daemon};
use serde_json::{Value, json};
use std::error::Error;

/// A message as an event source mapping hands it to the function.
fn message(id: &str, body: &str) -> Value {
    json!({
        "messageId": id,
        "receiptHandle": id,
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1"},
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders",
        "awsRegion": "eu-west-1",
    })
}

#[tokio::test]
async fn only_failed_messages_are_returned_to_the_queue() -> Result<(), Box<dyn Error>> {
    let daemon = Daemon::start().await?;
    let program = env!("CARGO_BIN_EXE_{{ binary_name | default: project_name }}");
    let function = Function::builder("{{ project_name }}", program)
        .xray(daemon.address())
        .trace_store(daemon.store())
        .build()
        .await;

    let records = [
        message("good", r#"{"sku":"tea","quantity":2}"#),
        message("too much", r#"{"sku":"tea","quantity":200}"#),
        message("not an order", "tea"),
    ];
    let event = Event {
        payload: json!({ "Records": records }).to_string().into(),
        ..Event::default()
    };
    let batch = function.invoke(event).await;
    let response: Value = serde_json::from_slice(&batch.result?)?;
    let failed = ["too much", "not an order"].map(|id| json!({"itemIdentifier": id}));
    assert_eq!(response["batchItemFailures"], json!(failed));

    // The trace: the initializer, and the span of `reserve` for both orders.
    function.wait_frozen().await;
    daemon.settle().await?;
    let trace = daemon.store().trace(&batch.trace_id).ok_or("not traced")?;
    assert_eq!(trace.named("init stock").len(), 1);
    assert_eq!(trace.named("reserve").len(), 2);
    Ok(())
}
