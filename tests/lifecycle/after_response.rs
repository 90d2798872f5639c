//! Work and hooks after the response.

use crate::{
    behavior::{Do, Exporting, Probe},
    kind::{LATER, SOON, long_grace, long_reserve},
    support::{Gate, Stage, Tested, ensure, function_error, patience, test, value},
};
use lambda_lifecycle_sandbox::{
    Event,
    function::{EventKind, FunctionBuilder, TraceMode},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("after the response: work that a task stores through a handle while an exporter runs is done", stored_late),
        test(
            "after the response: work that stores work without end does not keep the next invocation waiting",
            stored_without_end,
        ),
        test("after the response: work runs after a deadline", work_after_a_deadline),
        test("hooks after the response run after a deadline", hooks_after_a_deadline),
        test("after the response: a hanging exporter does not affect background work", work_beside_an_exporter),
        test("after the response: the token asks unfinished work to stop", work_with_a_token),
        test("after the response: work that a hook defers is done", deferring_hook),
        test("after the response: work that work stores runs concurrently with it", || stored_by_work("wait")),
        test("after the response: work that unfinished work has stored continues in the next invocation", || {
            stored_by_work("freeze")
        }),
        test("after the response: work that is stored after the invocation is done, and belongs to it", stored_too_late),
        test("after the response: work that a task stores while an exporter runs is done", stored_by_a_task),
        test("work that outlives an untraced invocation stays out of a traced one", untraced_work),
        test("after the response: work runs after an error and after a panic", after_a_failure),
        test("after the response: work that panics affects only itself", bad_work),
        test("hooks after the response: a panic affects only that hook", hooks),
        test("hooks after the response: a hang affects only that hook", hanging_hook),
        test("freeze: unfinished work continues in the next invocation, and its spans stay out of that trace", freeze),
        test("cancel: unfinished work is cancelled at once", cancel),
        test("idle and on_thaw have the frozen time", thaw),
    ]
}

/// Runs the event's task while an exporter is being called, with the gate at which the task waits.
async fn stored_while_exporting(act: impl FnOnce(String) -> Do) -> Tested {
    let (exporting, task) = (Gate::new().await?, Gate::new().await?);
    let address = exporting.address()?;
    let stage = Stage::with(Probe::Exporter, TraceMode::Active, |function| {
        function.env("EXPORTER", Exporting::WaitsAtGate.to_string()).env("EXPORTER_GATE", address)
    })
    .await?;
    stage.invoke(act(task.address()?)).await?;
    let (exporter, task) = (exporting.held().await?, task.held().await?);
    task.release();
    stage.wait_for_logs("a task has stored work", 1).await?;
    // Spans that arrive now are exported in another call of the exporter, which must not wait.
    drop(exporting);
    exporter.release();
    stage.settle().await?;
    ensure(stage.logged("the work runs").len() == 1, "the work is lost")?;
    stage.lives().await
}

async fn stored_late() -> Tested {
    stored_while_exporting(|gate| Do::WorkThroughHandle { gate }).await
}

async fn stored_without_end() -> Tested {
    for budget in ["0", "100"] {
        let settings = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE_BUDGET", budget);
        let stage = Stage::with(Probe::Value, TraceMode::Active, settings).await?;
        for _ in 0..2 {
            let answer = stage.invoke(Do::WorkWithoutEnd).await?;
            stage.document(&answer).await?;
        }
        ensure(stage.processes() == 1, "the process did not live")?;
    }
    Ok(())
}

async fn work_after_a_deadline() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(SOON, Do::Hang.then_work("deadline")).await?;
    function_error(&answer)?;
    stage.settle().await?;
    ensure(stage.logged("after the response").iter().any(|line| line.contains("\"note\":\"deadline\"")), "the work did not run")?;
    ensure(stage.reported("unfinished").is_empty(), "the work was cancelled")?;
    stage.lives().await
}

async fn hooks_after_a_deadline() -> Tested {
    let stage = Stage::with(Probe::Hooks, TraceMode::Active, long_reserve).await?;
    function_error(&stage.invoke_within(SOON, Do::Hang).await?)?;
    stage.settle().await?;
    ensure(stage.logged("hook one").len() == 1 && stage.logged("hook three").len() == 1, "the hooks did not run")?;
    stage.lives().await
}

async fn work_beside_an_exporter() -> Tested {
    let hanging = |function: FunctionBuilder| function.env("EXPORTER", Exporting::Hangs.to_string());
    let stage = Stage::with(Probe::Exporter, TraceMode::Active, hanging).await?;
    stage.invoke_within(LATER, json!({ "after": "exporter" })).await?;
    stage.settle().await?;
    ensure(stage.logged("\"note\":\"exporter\"").len() == 1, "the work did not run")?;
    stage.lives().await
}

async fn work_with_a_token() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, long_grace).await?;
    stage.invoke_within(SOON, Do::WorkWithToken).await?;
    stage.settle().await?;
    ensure(stage.logged("the work was asked to stop").len() == 1, "the token was not cancelled")?;
    ensure(stage.reported("unfinished").is_empty(), "the work was cancelled")?;
    stage.lives().await
}

/// Invokes twice. Frozen work of the first invocation continues in the second, until it has logged these words.
async fn invoke_and_thaw(stage: &Stage, event: impl Into<Value>, words: &str) -> Tested {
    stage.invoke(event).await?;
    stage.settle().await?;
    thaw_until(stage, words).await
}

/// An invocation that runs until the function has logged these words.
async fn thaw_until(stage: &Stage, words: &str) -> Tested {
    let gate = Gate::new().await?;
    let payload = Do::WaitAtGate { gate: gate.address()? }.to_string().into();
    let begun = stage.begin(Event { payload, ..Event::default() });
    let held = gate.held().await?;
    stage.wait_for_logs(words, 1).await?;
    held.release();
    begun.answer("the invocation that thaws").await?;
    stage.settle().await
}

async fn deferring_hook() -> Tested {
    let stage = Stage::new(Probe::DeferringHook, TraceMode::Active).await?;
    invoke_and_thaw(&stage, json!({}), "deferred by a hook").await
}

async fn stored_by_work(policy: &'static str) -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| {
        function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE", policy).env("LAMBDA_LIFECYCLE_AFTER_RESPONSE_BUDGET", "3000")
    })
    .await?;
    invoke_and_thaw(&stage, Do::WorkBesideHangingWork, "stored by work").await?;
    ensure(stage.logged("stored by work").len() == 1, "the work is lost without a word")?;
    stage.lives().await
}

async fn stored_by_a_task() -> Tested {
    stored_while_exporting(|gate| Do::WorkOfTask { gate }).await
}

async fn stored_too_late() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let gate = Gate::new().await?;
    let first = stage.invoke(Do::WorkOfLateTask { gate: gate.address()? }).await?;
    let task = gate.held().await?;
    stage.settle().await?;
    task.release();
    thaw_until(&stage, "the late work is done").await?;
    // Spans that ended late are sent with the next invocation.
    stage.invoke(json!({})).await?;
    stage.settle().await?;
    for name in ["late task", "late work"] {
        let spans = stage.traces.find(|span| span.name == name);
        ensure(spans.len() == 1 && spans[0].trace_id == first.trace_id, format!("{name}: {spans:?}"))?;
    }
    Ok(())
}

async fn untraced_work() -> Tested {
    let stage =
        // Without other layers, a call site's interest is cached in advance, and not checked when a span is created.
        Stage::with(Probe::OwnSubscriberRedacting, TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE", "freeze")).await?;
    let untraced = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
    let payload = Do::TickingSpans.to_string().into();
    stage.invoke_event(Event { payload, trace_header: Some(untraced.to_owned()), ..Event::default() }).await?;
    stage.settle().await?;
    thaw_until(&stage, "the ticking is over").await?;
    let traced = stage.invoke(json!({})).await?;
    stage.document(&traced).await?;
    let strangers = stage.traces.find(|document| document.name == "work");
    ensure(strangers.is_empty(), format!("{strangers:?}"))
}

async fn after_a_failure() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    for (act, note) in [(Do::Fail, "after an error"), (Do::Panic, "after a panic")] {
        let answer = stage.invoke(act.then_work(note)).await?;
        function_error(&answer)?;
        stage.settle().await?;
        let lines = stage.logged("after the response");
        let line = lines.iter().find(|line| line.contains(&format!("\"note\":\"{note}\""))).ok_or("the work did not run")?;
        let line: Value = serde_json::from_str(line)?;
        ensure(line["requestId"] == answer.request_id.as_str(), format!("{line} is not of {}", answer.request_id))?;
    }
    Ok(())
}

async fn bad_work() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let answer = stage.invoke(Do::PanickingWork.then_work("good work")).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    ensure(stage.logged("good work").len() == 1, "the other work did not run")?;
    ensure(stage.codes() == ["work_panicked"], format!("{:?}", stage.problems()))?;
    stage.lives().await
}

async fn hooks() -> Tested {
    let stage = Stage::new(Probe::Hooks, TraceMode::Active).await?;
    let answer = stage.invoke(Do::Fail.then_work("work")).await?;
    function_error(&answer)?;
    stage.settle().await?;
    ensure(stage.logged("hook one").iter().any(|line| line.contains("failed")), "the first hook did not see the outcome")?;
    // The error of the handler, and the panic of the second hook.
    ensure(stage.codes() == ["invocation_failed", "hook_panicked"], format!("{:?}", stage.problems()))?;
    let third = stage.logged("hook three");
    ensure(third.len() == 1 && third[0].contains("\"finished\":1"), format!("{third:?}"))?;
    ensure(third[0].contains(&answer.request_id), format!("{} is not of {}", third[0], answer.request_id))?;

    stage.invoke_within(LATER, Do::HangingWork).await?;
    stage.settle().await?;
    ensure(stage.logged("\"message\":\"unfinished\"").len() == 1, "on_unfinished was not called")?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn hanging_hook() -> Tested {
    let stage = Stage::new(Probe::HangingHook, TraceMode::Active).await?;
    let answer = stage.invoke_within(LATER, json!({})).await?;
    stage.document(&answer).await?;
    ensure(stage.codes() == ["hook_cancelled"], format!("{:?}", stage.problems()))?;
    stage.lives().await
}

async fn freeze() -> Tested {
    let stage =
        Stage::with(Probe::Value, TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE", "freeze"))
            .await?;
    let work = Gate::new().await?;
    let first = stage.invoke(Do::TickingWork { gate: work.address()? }).await?;
    let ticking = work.held().await?;
    stage.settle().await?;
    ticking.release();
    ensure(stage.logged("\"tick\"").is_empty(), "the work was waited for")?;
    let reported = stage.reported("unfinished");
    ensure(reported.len() == 1 && reported[0]["level"] == "INFO", format!("{reported:?}"))?;
    // The timers that ran out while the environment was frozen fire in the next invocation.
    let gate = Gate::new().await?;
    let begun = stage.begin_within(patience(), Do::WaitAtGate { gate: gate.address()? });
    let held = gate.held().await?;
    let line = stage.wait_for_logs("\"tick\"", 3).await?;
    held.release();
    let second = begun.answer("the invocation that thaws").await?;
    ensure(line.contains(&first.request_id), format!("{line} is not of {}", first.request_id))?;
    stage.document(&second).await?;
    let strangers = stage.traces.find(|document| document.trace_id == second.trace_id && document.name == "after response");
    ensure(strangers.is_empty(), format!("{strangers:?}"))
}

async fn cancel() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| {
        long_grace(function).env("LAMBDA_LIFECYCLE_AFTER_RESPONSE", "cancel")
    })
    .await?;
    let work = Gate::new().await?;
    stage.invoke(Do::TickingWork { gate: work.address()? }).await?;
    stage.settle().await?;
    // The work can continue now.
    drop(work);
    let reported = stage.reported("unfinished");
    ensure(reported.len() == 1 && reported[0]["level"] == "WARN", format!("{reported:?}"))?;
    // As long as the work would have taken.
    stage.invoke_within(SOON, Do::Stop).await?;
    stage.settle().await?;
    ensure(stage.logged("\"tick\"").is_empty(), "the work was not cancelled")
}

async fn thaw() -> Tested {
    let stage = Stage::new(Probe::Hooks, TraceMode::Active).await?;
    let idle = async || -> Result<Option<u64>, libtest_mimic::Failed> {
        let answer = stage.invoke(Do::Idle).await?;
        stage.settle().await?;
        Ok(value(&answer)?.as_u64())
    };
    ensure(idle().await?.is_none(), "the first invocation has frozen time")?;
    ensure(stage.logged("thawed").is_empty(), "on_thaw was called without frozen time")?;
    let told = idle().await?.ok_or("the second one has no frozen time")?;
    let at =
        |wanted: EventKind| stage.function.timeline().into_iter().find(|event| event.kind == wanted).map(|event| event.offset);
    let (frozen, thawed) = (at(EventKind::Frozen).ok_or("no freeze")?, at(EventKind::Thawed).ok_or("no thaw")?);
    // Its pause started before the freeze, and it continued after the thaw.
    let slept = thawed.saturating_sub(frozen);
    ensure(Duration::from_millis(told + 1) >= slept, format!("{told} ms of frozen time were reported, but it lasted {slept:?}"))?;
    ensure(stage.logged("thawed").len() == 1, "on_thaw was not called once")?;
    ensure(stage.logged("thawed after ages").is_empty(), "on_thaw was called for a shorter time")
}
