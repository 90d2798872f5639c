//! Services with their own subscriber, and records of the `log` crate.

use crate::{
    function::{Do, Probe},
    lines::fields,
    support::{Stage, Tested, ensure, test, value},
};
use lambda_lifecycle_sandbox::{
    FunctionResponse,
    function::{FunctionBuilder, TraceMode},
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    let kinds = [("on demand", 1), ("Managed Instances", 8)].into_iter().flat_map(|(kind, at_once)| {
        [
            test(format!("the user's own subscriber has the ids in every line, {kind}"), move || own_layer(at_once)),
            test(format!("the log is a layer for the user's own subscriber, {kind}"), move || log_layer(at_once)),
        ]
    });
    let others = [
        test("the library's span around an invocation is in no trace", no_second_span),
        test("the log layer's invalid settings are reported once", settings),
        test("records of the log crate are ordinary lines", records),
    ];
    kinds.chain(others).collect()
}

const MESSAGES: [&str; 6] =
    ["in the handler", "in a span", "in a spawned task", "in a task of tokio", "after the response", "later"];

pub(crate) fn event(path: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": { "host": "example.com" },
        "requestContext": { "http": { "method": "GET", "path": path }, "domainName": "example.com", "stage": "$default" },
        "isBase64Encoded": false,
    })
}

async fn served(probe: Probe, at_once: usize, mode: TraceMode) -> Result<(Stage, FunctionResponse), Failed> {
    let managed = |function: FunctionBuilder| if at_once > 1 { function.managed(at_once) } else { function };
    let stage = Stage::with(probe, mode, managed).await?;
    let answer = stage.invoke(event("/orders/42")).await?;
    ensure(value(&answer)?["body"] == "order", format!("{answer:?}"))?;
    stage.wait_for_logs("later", 1).await?;
    stage.settle().await?;
    Ok((stage, answer))
}

async fn own_layer(at_once: usize) -> Tested {
    for mode in [TraceMode::Active, TraceMode::NotSampled] {
        let (stage, answer) = served(Probe::Axum, at_once, mode).await?;
        for message in MESSAGES {
            let lines = stage.logged(message);
            let [line] = lines.as_slice() else { return Err(format!("{message}: {lines:?}").into()) };
            let found = fields(line);
            ensure(found.get("requestId") == Some(&answer.request_id), format!("no request id in {line}"))?;
            let trace = found.get("xrayTraceId").map(String::as_str).unwrap_or_default();
            ensure(trace.contains(&answer.trace_id), format!("no trace id in {line}"))?;
        }
    }
    Ok(())
}

async fn log_layer(at_once: usize) -> Tested {
    for mode in [TraceMode::Active, TraceMode::NotSampled] {
        let (stage, answer) = served(Probe::LogLayer, at_once, mode).await?;
        for message in MESSAGES {
            let lines = stage.logged(message);
            let [line] = lines.as_slice() else { return Err(format!("{message}: {lines:?}").into()) };
            let parsed: Value = serde_json::from_str(line)?;
            ensure(parsed["requestId"] == answer.request_id && parsed["traceId"] == answer.trace_id, line.as_str())?;
            ensure(parsed["plan"] == "gold" && parsed["xrayTraceId"].is_null(), line.as_str())?;
            ensure((parsed["order_id"] == 42) == (message == "in a span"), line.as_str())?;
        }
    }
    Ok(())
}

async fn no_second_span() -> Tested {
    for probe in [Probe::Axum, Probe::LogLayer, Probe::Ours] {
        let stage = Stage::new(probe, TraceMode::Active).await?;
        let answer = stage.invoke(if probe == Probe::Ours { json!(Do::Plain) } else { event("/orders/42") }).await?;
        stage.document(&answer).await?;
        let of_runtime = stage.traces.find(|document| document.name == "Lambda runtime invoke");
        ensure(of_runtime.is_empty(), format!("{probe:?}: {of_runtime:?}"))?;
        ensure(stage.problems().is_empty(), format!("{probe:?}: {:?}", stage.problems()))?;
    }
    Ok(())
}

async fn settings() -> Tested {
    let stage = Stage::with(Probe::LogLayer, TraceMode::Active, |function| function.env("RUST_LOG", "info,orders=loud")).await?;
    stage.invoke(event("/orders/42")).await?;
    stage.settle().await?;
    ensure(stage.codes() == ["setting_invalid"], format!("{:?}", stage.problems()))
}

async fn records() -> Tested {
    for format in ["JSON", "Text"] {
        let stage = Stage::with(Probe::Ours, TraceMode::Active, |function| function.log_format(format)).await?;
        let answer = stage.invoke(json!(Do::Records)).await?;
        stage.settle().await?;
        ensure(stage.logged("hidden").is_empty(), "a record below the level is logged")?;
        for (message, target) in [("a record", "orders::old"), ("an error", "orders::older")] {
            let lines = stage.logged(message);
            let [line] = lines.as_slice() else { return Err(format!("{message}: {lines:?}").into()) };
            let found = fields(line);
            ensure(found.get("requestId") == Some(&answer.request_id) && line.contains(target), line.as_str())?;
            ensure(!line.contains("log."), format!("fields of the bridge are in {line}"))?;
            ensure(found.contains_key("order_id") == (message == "an error"), line.as_str())?;
        }
    }
    Ok(())
}
