//! Exporters that the function sets.

use crate::{
    behavior::{Do, Exporting, Probe},
    kind::{LATER, UNTIL_KILLED},
    support::{Gate, Stage, Tested, ensure, test},
};
use lambda_lifecycle_sandbox::function::{FunctionBuilder, TraceMode};
use libtest_mimic::Trial;
use serde_json::json;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("an exporter gets the spans of a handler that blocked for a while", exported_after_blocking),
        test("an exporter without a thread is reported, and the process survives", no_thread),
        test("an exporter gets the resource of its spans", resource),
        test("an exporter gets every span, after the response", || exporter(Exporting::Works)),
        test("a failing exporter is reported, and the process survives", || exporter(Exporting::Fails)),
        test("a panicking exporter is reported, and the process survives", || exporter(Exporting::Panics)),
        test("an exporter that hangs is not waited for beyond the deadline", || exporter(Exporting::Hangs)),
        test("an exporter that blocks is not waited for beyond the deadline", || exporter(Exporting::Blocks)),
    ]
}

async fn exported_after_blocking() -> Tested {
    let stage = Stage::new(Probe::Exporter, TraceMode::Active).await?;
    let gate = Gate::new().await?;
    let begun = stage.begin_within(UNTIL_KILLED, Do::BlockAtGate { gate: gate.address()? });
    let held = gate.held().await?;
    stage.traces.wait_for(2, |document| document.fault).await?;
    held.release();
    begun.answer("a handler that blocks for a while").await?;
    // Its deadline is near, so an exporter on a busy machine may end in the next invocation.
    stage.invoke(json!({})).await?;
    let exported = stage.wait_for_logs("exported ", 1).await?;
    ensure(exported.contains("blocking query") && exported.contains("probe"), exported)
}

async fn no_thread() -> Tested {
    let stage = Stage::new(Probe::ExporterWithoutThreads, TraceMode::Active).await?;
    for _ in 0..2 {
        let answer = stage.invoke(json!({ "after": "exporter" })).await?;
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
        stage.settle().await?;
    }
    ensure(stage.processes() == 1, "the process did not live")?;
    ensure(stage.logged("\"note\":\"exporter\"").len() == 2, "the work did not run")?;
    ensure(stage.codes().iter().any(|code| code == "exporter_failed"), format!("{:?}", stage.problems()))
}

async fn resource() -> Tested {
    let stage = Stage::new(Probe::Exporter, TraceMode::Active).await?;
    stage.invoke(json!({})).await?;
    ensure(stage.logged("spans of probe").len() == 1, format!("{:?}", stage.logged("spans of")))
}

async fn exporter(behavior: Exporting) -> Tested {
    let change = |function: FunctionBuilder| function.env("EXPORTER", behavior.to_string());
    let stage = Stage::with(Probe::Exporter, TraceMode::Active, change).await?;
    let answer = stage.invoke_within(LATER, Do::Log).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    let (exported, problems) = (stage.logged("exported work, probe"), stage.problems());
    let (exports, expected) = if behavior == Exporting::Works { (1, 0) } else { (0, 1) };
    ensure(exported.len() == exports && problems.len() == expected, format!("{exported:?} {problems:?}"))?;
    stage.lives().await
}
