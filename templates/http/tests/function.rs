//! The function as a process, in an execution environment on this machine.

use lambda_lifecycle_sandbox::{Event, Invoke, function::Function, xray::Daemon};
use serde_json::{Value, json};
use std::error::Error;

/// A request as a function URL or an HTTP API sends it.
fn get(path: &str) -> Event {
    let request = json!({
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {},
        "requestContext": {"http": {"method": "GET", "path": path}, "stage": "$default"},
        "isBase64Encoded": false,
    });
    Event {
        payload: request.to_string().into(),
        ..Event::default()
    }
}

#[tokio::test]
async fn prices_are_found() -> Result<(), Box<dyn Error>> {
    let daemon = Daemon::start().await?;
    let program = env!("CARGO_BIN_EXE_{{ binary_name | default: project_name }}");
    let function = Function::builder("{{ project_name }}", program)
        .xray(daemon.address())
        .trace_store(daemon.store())
        .build()
        .await;

    let found = function.invoke(get("/prices/tea")).await;
    let response: Value = serde_json::from_slice(&found.result?)?;
    assert_eq!(response["statusCode"], 200);
    assert_eq!(response["body"], r#"{"cents":450}"#);
    let missing = function.invoke(get("/prices/gold")).await;
    let response: Value = serde_json::from_slice(&missing.result?)?;
    assert_eq!(response["statusCode"], 404);

    // The trace of the first request: the initializer, and the span of `find`.
    function.wait_frozen().await;
    daemon.settle().await?;
    let trace = daemon.store().trace(&found.trace_id).ok_or("not traced")?;
    assert_eq!(trace.named("init prices").len(), 1);
    assert_eq!(trace.named("find").len(), 1);
    Ok(())
}
