//! The Init phase.

use crate::{
    behavior::Probe,
    support::{Stage, Tested, ensure, test},
};
use lambda_lifecycle_sandbox::{
    function::{EventKind, Exit, TraceMode},
    xray::Document,
};
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("init: a daemon's name is resolved without Tokio's threads", named_daemon),
        test("init: a span still open in the first invocation leaves no orphan", init_left_open),
        test("init: spans of a blocking initializer belong to it", init_blocking_traced),
        test("init: a blocking initializer over the budget does not keep the process alive", init_blocking_hangs),
        test("provisioned concurrency: init has a separate trace, linked both ways, and nothing is a cold start", provisioned),
        test("SnapStart: a restore is not a cold start, and init has a separate trace", snap_start),
        test("init: a panic in an initializer is a failure, not a crash", || {
            fails(Probe::InitPanics, "Lifecycle.InitPanic", "init of database panicked: fuse was lit")
        }),
        test("init: a panic in a blocking initializer is a failure, not a crash", || {
            fails(Probe::InitBlockingPanics, "Lifecycle.InitPanic", "init of database panicked: fuse was lit")
        }),
        test("init: an initializer over the budget that panics when it is dropped is a failure, not a crash", || {
            fails(Probe::InitDropPanics, "Lifecycle.InitOverBudget", "init of database was not done")
        }),
        test("init: blocking initializers run concurrently, outside the executor", blocking),
        test("init: an initializer that blocks its thread past the budget is named", blocks),
        test("init: an optional initializer that fails is tried again at first use", || optional(Probe::InitOptional)),
        test("init: an optional initializer that panics before it starts is tried again at first use", || {
            optional(Probe::InitOptionalPanics)
        }),
        test("init: a cell is filled for all invocations", works),
    ]
}

async fn named_daemon() -> Tested {
    let stage = Stage::with(Probe::ExporterWithoutThreads, TraceMode::Active, |function| {
        function.env("AWS_XRAY_DAEMON_ADDRESS", "localhost:2000")
    });
    let answer = stage.await?.invoke(json!({})).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))
}

async fn init_left_open() -> Tested {
    let stage = Stage::new(Probe::InitLeftOpen, TraceMode::Active).await?;
    let answer = stage.invoke(json!({})).await?;
    stage.document(&answer).await?;
    ensure(stage.traces.find(|span| span.name == "work").len() == 1, "the finished span is lost")
}

async fn init_blocking_traced() -> Tested {
    let stage = Stage::new(Probe::InitBlockingTraced, TraceMode::Active).await?;
    let answer = stage.invoke(json!({})).await?;
    stage.document(&answer).await?;
    let (init, inner) =
        (stage.traces.find(|span| span.name == "init database"), stage.traces.find(|span| span.name == "connect"));
    let below = init.len() == 1 && inner.len() == 1 && inner[0].parent_id.as_ref() == Some(&init[0].id);
    ensure(below, format!("{init:?} {inner:?}"))
}

async fn init_blocking_hangs() -> Tested {
    let stage =
        Stage::with(Probe::InitBlockingHangs, TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_INIT_BUDGET", "300"))
            .await?;
    let _ = stage.invoke(json!({})).await?;
    let exited = stage.exited().await?;
    let by_itself = matches!(exited, EventKind::Exited { exit: Exit::Code(1), .. });
    ensure(by_itself, format!("the process did not end by itself: {exited:?}"))
}

async fn provisioned() -> Tested {
    let stage =
        Stage::with(Probe::InitWorks, TraceMode::Active, |function| function.initialization_type("provisioned-concurrency"))
            .await?;
    crate::support::within("the warm-up", stage.function.warm_up()).await??;
    let answer = stage.invoke(json!({})).await?;
    let document = stage.document(&answer).await?;
    ensure(document.annotations.get("cold_start") == Some(&json!(false)), "it is a cold start")?;
    let setups = stage.traces.find(|document| document.name == "init place");
    let [setup] = setups.as_slice() else { return Err(format!("{} initializers", setups.len()).into()) };
    ensure(setup.trace_id != answer.trace_id, "init is in the invocation's trace")?;
    let segment = stage.traces.find(|document| Some(&document.id) == setup.parent_id.as_ref());
    let [segment] = segment.as_slice() else { return Err("the initializer has no parent segment".into()) };
    let links = |from: &Document, to: &Document| from.links.iter().any(|link| link.trace_id == to.trace_id && link.id == to.id);
    ensure(links(segment, &document) && links(&document, segment), format!("{:?} {:?}", segment.links, document.links))
}

async fn snap_start() -> Tested {
    let stage = Stage::with(Probe::InitWorks, TraceMode::Active, |function| function.initialization_type("snap-start")).await?;
    let (first, second) = (stage.invoke(json!({})).await?, stage.invoke(json!({})).await?);
    let (first, second) = (stage.document(&first).await?, stage.document(&second).await?);
    for (document, restored) in [(&first, json!(true)), (&second, Value::Null)] {
        let found = (&document.raw["annotations"]["cold_start"], &document.raw["annotations"]["restored"]);
        ensure(found == (&json!(false), &restored), format!("{:?}", document.annotations))?;
    }
    let setups = stage.traces.find(|document| document.name == "init place");
    ensure(setups.len() == 1 && setups[0].trace_id != first.trace_id, format!("{setups:?}"))
}

async fn fails(probe: Probe, error_type: &str, part: &str) -> Tested {
    let stage = Stage::new(probe, TraceMode::Active).await?;
    // Lambda repeats the phase inside the invocation, where the function's timeout cuts off a hanging initializer.
    let answer = stage.invoke(json!({})).await?;
    ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    let posted = stage.function.timeline().into_iter().find_map(|event| match event.kind {
        EventKind::InitError { error_type, error_message } => Some((error_type, error_message)),
        _ => None,
    });
    let (posted, message) = posted.ok_or("no init error was posted")?;
    ensure(posted == error_type && message.contains(part), format!("{posted}: {message}"))?;
    ensure(!stage.reported_as("error_type", error_type).is_empty(), "it is not in the log")
}

async fn works() -> Tested {
    let stage = Stage::new(Probe::InitWorks, TraceMode::Active).await?;
    let answer = stage.invoke(json!({})).await?;
    ensure(answer.result.as_deref() == Ok(&b"\"here\""[..]), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    let setups = stage.traces.find(|document| document.name == "init place" && document.trace_id == answer.trace_id);
    ensure(setups.len() == 1, format!("{} spans of the initializer", setups.len()))
}

async fn blocks() -> Tested {
    let stage =
        Stage::with(Probe::InitBlocks, TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_INIT_BUDGET", "100")).await?;
    ensure(stage.invoke(json!({})).await?.result.is_ok(), "the invocation failed")?;
    let lines = stage.reported_as("code", "init_blocked");
    let [line] = lines.as_slice() else { return Err(format!("{lines:?}").into()) };
    let fields = line;
    ensure(fields["name"] == "slow" && fields["budget_ms"] == 100, line.to_string())?;
    ensure(fields["elapsed_ms"].as_u64().is_some_and(|blocked| blocked > 0), line.to_string())
}

async fn blocking() -> Tested {
    Stage::new(Probe::InitBlocking, TraceMode::Active).await?.lives().await
}

async fn optional(probe: Probe) -> Tested {
    let stage = Stage::new(probe, TraceMode::Active).await?;
    let answer = stage.invoke(json!({})).await?;
    ensure(answer.result.as_deref() == Ok(&b"1"[..]), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    let setup = stage.traces.find(|document| document.name == "init cache");
    ensure(setup.len() == 1 && setup[0].fault, format!("{setup:?}"))?;
    ensure(stage.codes() == ["init_optional_failed"], format!("{:?}", stage.problems()))?;
    let again = stage.invoke(json!({})).await?;
    ensure(again.result.as_deref() == Ok(&b"1"[..]) && stage.processes() == 1, format!("{:?}", again.result))
}
