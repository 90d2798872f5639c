//! Bad input from the platform's side, and what must stay inside.

use crate::support::{Stage, Tested, ensure, function_error, test, this_program, value};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;
use serde_json::json;

const SECRET: &str = "marked-secret-8d1f";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("no byte of an event is in any datagram, under RUST_LOG=trace", canary),
        test("spans are recorded under RUST_LOG=warn", quiet_log),
        test("an event that is no UTF-8 under RUST_LOG=trace costs nothing", not_utf8),
        test("a malformed trace header costs nothing", malformed_header),
        test("the trace header is handed on as it came where nothing is recorded", header_handed_on),
        test("a daemon address that is none is told once", malformed_daemon_address),
        test("log settings that are none are told once and logging goes on", malformed_log_settings),
        test("a missing Runtime API says what to do", missing_runtime_api),
    ]
}

async fn canary() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, |function| function.env("RUST_LOG", "trace")).await?;
    let event = |ending: &str| json!({ "do": ending, "secret": SECRET, SECRET: 1 });
    for ending in ["log", "fail", "panic", "sleep"] {
        stage.invoke(event(ending)).await?;
    }
    stage.invoke_raw(format!("{{\"{SECRET}\": ")).await?;
    let typed = Stage::with("typed", TraceMode::Active, |function| function.env("RUST_LOG", "trace")).await?;
    for event in [json!({ "sku": 1, SECRET: SECRET }), json!({ "sku": [SECRET] }), json!(SECRET)] {
        let answer = typed.invoke(event).await?;
        let (error_type, message) = function_error(&answer)?;
        ensure(error_type == "Lifecycle.UndecodableEvent" && !message.contains(SECRET), message)?;
    }
    typed.settle().await?;
    let datagrams = typed.traces.datagrams();
    ensure(datagrams.len() == 6, format!("{} datagrams", datagrams.len()))?;
    let leaks = |datagram: &bytes::Bytes| String::from_utf8_lossy(datagram).contains(SECRET);
    ensure(!datagrams.iter().any(leaks), "a value of an undecodable event is in a datagram")?;
    stage.settle().await?;
    ensure(stage.logged(SECRET).len() > 4, "at TRACE the runtime logs the event: this test would show nothing")?;
    let datagrams = stage.traces.datagrams();
    ensure(datagrams.len() >= 10, format!("{} datagrams", datagrams.len()))?;
    let leak = datagrams.iter().map(|datagram| String::from_utf8_lossy(datagram)).find(|text| text.contains(SECRET));
    ensure(leak.is_none(), format!("{leak:?}"))?;
    let works = stage.traces.find(|document| document.name == "work");
    ensure(works.len() == 1, format!("{} spans of the user's", works.len()))?;
    stage.documents_are_valid()
}

async fn quiet_log() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, |function| function.env("RUST_LOG", "warn")).await?;
    let answer = stage.invoke(json!({ "do": "log" })).await?;
    stage.document(&answer).await?;
    ensure(stage.logged("a line of the user's").is_empty(), "INFO is logged")?;
    ensure(stage.traces.find(|document| document.name == "work").len() == 1, "the user's span is not recorded")
}

async fn not_utf8() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, |function| function.env("RUST_LOG", "trace")).await?;
    stage.invoke_raw(&b"\"\xff\xfe\""[..]).await?;
    ensure(stage.invoke(json!({})).await?.result.is_ok(), "the invocation after it failed")?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn malformed_header() -> Tested {
    for header in ["", "garbage", "Root=;Parent=;Sampled=1", "Root=1-zz-zz;Sampled=1", ";;;=;=", "Sampled=1"] {
        let stage = Stage::new("value", TraceMode::Raw(header.to_owned())).await?;
        let answer = stage.invoke(json!({})).await?;
        ensure(answer.result.is_ok(), format!("{header:?}: {:?}", answer.result))?;
        stage.settle().await?;
        ensure(stage.traces.rejected().is_empty(), format!("{header:?}: {:?}", stage.traces.rejected()))?;
        ensure(stage.processes() == 1, format!("{header:?}: the process did not live"))?;
    }
    Ok(())
}

async fn header_handed_on() -> Tested {
    let header =
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a87bd80c:1|68fd508a:5;Foo=bar";
    let stage = Stage::new("value", TraceMode::Raw(header.to_owned())).await?;
    let answer = stage.invoke(json!({})).await?;
    let body = value(&answer)?;
    ensure(body["header"] == header, body.to_string())
}

async fn malformed_daemon_address() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, |function| function.xray("nowhere")).await?;
    for _ in 0..2 {
        ensure(stage.invoke(json!({})).await?.result.is_ok(), "an invocation failed")?;
        stage.settle().await?;
    }
    let told = stage.logged("cannot be used, nothing is sent to X-Ray");
    ensure(told.len() == 1, format!("told {} times", told.len()))
}

async fn malformed_log_settings() -> Tested {
    let stage =
        Stage::with("value", TraceMode::Active, |function| function.env("AWS_LAMBDA_LOG_LEVEL", "LOUD").log_format("YAML"))
            .await?;
    stage.invoke(json!({ "do": "log" })).await?;
    stage.settle().await?;
    for problem in ["AWS_LAMBDA_LOG_LEVEL=", "AWS_LAMBDA_LOG_FORMAT="] {
        ensure(stage.logged(problem).len() == 1, format!("{problem} is not told once"))?;
    }
    ensure(stage.logged("a line of the user's").len() == 1, "the user's line is not logged")
}

async fn missing_runtime_api() -> Tested {
    for probe in ["value", "init-works", "http"] {
        let output = tokio::process::Command::new(this_program()).env_clear().env("PROBE", probe).output().await?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure(output.status.code() == Some(1), format!("{probe}: {:?}", output.status))?;
        ensure(text.contains("AWS_LAMBDA_RUNTIME_API is not set") && text.contains("cargo lambda watch"), text.clone())?;
        ensure(!text.contains("panicked"), text)?;
    }
    Ok(())
}
