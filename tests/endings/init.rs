//! Endings of the Init phase.

use crate::support::{Stage, Tested, ensure, test};
use lambda_lifecycle_sandbox::function::{EventKind, TraceMode};
use libtest_mimic::Trial;
use serde_json::json;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("init: a panic in a set-up is a failure, not a crash", || {
            fails("init-panics", "Lifecycle.InitPanic", "init of database panicked: fuse was lit")
        }),
        test("init: a panic in a blocking set-up is a failure, not a crash", || {
            fails("init-blocking-panics", "Lifecycle.InitPanic", "init of database panicked: fuse was lit")
        }),
        test("init: a set-up over the budget that panics when it is dropped is a failure, not a crash", || {
            fails("init-drop-panics", "Lifecycle.InitOverBudget", "init of database was not done")
        }),
        test("init: blocking set-ups run side by side, off the executor", blocking),
        test("init: an initializer that blocks its thread past the budget is named", blocks),
        test("init: an optional set-up that fails is tried again at first use", || optional("init-optional")),
        test("init: an optional set-up that panics before it begins is tried again at first use", || {
            optional("init-optional-panics")
        }),
        test("init: a cell is filled for all invocations", works),
    ]
}

async fn fails(probe: &'static str, error_type: &str, part: &str) -> Tested {
    let stage = Stage::new(probe, TraceMode::Active).await?;
    // Lambda repeats the phase inside the invocation: a hanging set-up then meets the function's timeout.
    let answer = stage.invoke(json!({})).await?;
    ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    let posted = stage.function.timeline().into_iter().find_map(|event| match event.kind {
        EventKind::InitError { error_type, error_message } => Some((error_type, error_message)),
        _ => None,
    });
    let (posted, message) = posted.ok_or("no init error was posted")?;
    ensure(posted == error_type && message.contains(part), format!("{posted}: {message}"))?;
    ensure(!stage.logged(part).is_empty(), "it is not in the log")
}

async fn works() -> Tested {
    let stage = Stage::new("init-works", TraceMode::Active).await?;
    let answer = stage.invoke(json!({})).await?;
    ensure(answer.result.as_deref() == Ok(&b"\"here\""[..]), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    let setups = stage.traces.find(|document| document.name == "init place" && document.trace_id == answer.trace_id);
    ensure(setups.len() == 1, format!("{} spans of the set-up", setups.len()))
}

async fn blocks() -> Tested {
    let stage =
        Stage::with("init-blocks", TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_INIT_BUDGET", "100")).await?;
    ensure(stage.invoke(json!({})).await?.result.is_ok(), "the invocation failed")?;
    let lines = stage.logged("\"blocked_ms\"");
    let [line] = lines.as_slice() else { return Err(format!("{lines:?}").into()) };
    let fields = &serde_json::from_str::<serde_json::Value>(line)?["fields"];
    ensure(fields["initializer"] == "slow" && fields["budget_ms"] == 100, line.as_str())?;
    ensure(fields["blocked_ms"].as_u64().is_some_and(|blocked| blocked > 0), line.as_str())
}

async fn blocking() -> Tested {
    Stage::new("init-blocking", TraceMode::Active).await?.lives().await
}

async fn optional(probe: &'static str) -> Tested {
    let stage = Stage::new(probe, TraceMode::Active).await?;
    let answer = stage.invoke(json!({})).await?;
    ensure(answer.result.as_deref() == Ok(&b"1"[..]), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    let setup = stage.traces.find(|document| document.name == "init cache");
    ensure(setup.len() == 1 && setup[0].fault, format!("{setup:?}"))?;
    ensure(stage.logged("it is tried again at first use").len() == 1, "not one line in the log")?;
    let again = stage.invoke(json!({})).await?;
    ensure(again.result.as_deref() == Ok(&b"1"[..]) && stage.processes() == 1, format!("{:?}", again.result))
}
