//! Init ahead of the first invocation: SnapStart and provisioned concurrency.

use crate::support::{
    Outcome, echo, ensure, ensure_eq, ensure_timeline, invoke, is_stopped, printed, probe, trial, value, words,
};
use lambda_lifecycle_sandbox::{
    Failure,
    function::{EnvironmentState, EventKind, Function, FunctionBuilder, WarmUpError},
    xray::TraceStore,
};
use libtest_mimic::Trial;
use serde_json::json;
use std::time::Duration;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("snap_start_freezes_at_restore_next_and_restores_for_the_first_event", restores),
        trial("snap_start_without_a_warm_up_does_both_for_the_first_event", restores_at_once),
        trial("snap_start_runs_the_runtimes_hooks_around_the_snapshot", hooks_run),
        trial("snap_start_a_failed_restore_is_told_to_the_caller_and_the_process_ends", restore_fails),
        trial("snap_start_a_restore_that_takes_too_long_is_killed", restore_times_out),
        trial("snap_start_a_process_that_ends_in_its_hooks_fails_the_call", restore_exits),
        trial("snap_start_shutdown_ends_a_process_that_was_never_restored", shutdown_before_restore),
        trial("snap_start_is_a_restore_in_the_trace", restore_in_the_trace),
        trial("provisioned_init_may_take_longer_than_on_demand", provisioned_limit),
        trial("provisioned_init_lies_before_the_first_event", provisioned),
    ]
}

fn snap_start(mode: &str) -> FunctionBuilder {
    probe(mode).initialization_type("snap-start")
}

const RESTORED: &str = "Thawed Restored NextCalled EventOut ResponseIn202 NextCalled Frozen";

async fn restores() -> Outcome {
    let function = snap_start("").build().await;
    function.warm_up().await?;
    ensure_timeline(&function, "Spawned RestoreNextCalled InitDone Frozen")?;
    ensure_eq(function.state(), EnvironmentState::Idle)?;
    let pid = function.pid().ok_or("a process")?;
    ensure(is_stopped(pid), "frozen where the snapshot would be taken")?;
    ensure_eq(value(&invoke(&function, echo("first")).await)?, json!("first"))?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    ensure_timeline(&function, &format!("Spawned RestoreNextCalled InitDone Frozen {RESTORED}"))?;
    // It is restored once.
    ensure_eq(value(&invoke(&function, echo("second")).await)?, json!("second"))?;
    function.wait_frozen().await;
    ensure_eq(words(&function.timeline())[11..].join(" "), "Thawed EventOut ResponseIn202 NextCalled Frozen")?;
    ensure_eq(function.pid(), Some(pid))
}

async fn restores_at_once() -> Outcome {
    let function = snap_start("").build().await;
    ensure_eq(value(&invoke(&function, echo("first")).await)?, json!("first"))?;
    function.wait_frozen().await;
    ensure_timeline(&function, &format!("Spawned RestoreNextCalled InitDone Frozen {RESTORED}"))
}

async fn hooks_run() -> Outcome {
    let function = snap_start("hooks run").build().await;
    function.warm_up().await?;
    printed(&function, "before the snapshot").await;
    ensure(!function.logs().iter().any(|line| line.text == "after the restore"), "not restored yet")?;
    ensure_eq(value(&invoke(&function, echo("first")).await)?, json!("first"))?;
    printed(&function, "after the restore").await;
    Ok(())
}

/// The first call fails, and so does the next, in a separate process.
async fn fails_twice(function: &Function, fits: fn(&Failure) -> bool) -> Outcome {
    function.warm_up().await?;
    for _ in 0..2 {
        let failure = invoke(function, echo("never")).await.result.err().ok_or("a failure")?;
        ensure(fits(&failure), format!("{failure:?}"))?;
        ensure_eq(function.wait_idle().await, EnvironmentState::Dead)?;
    }
    let timeline = words(&function.timeline());
    ensure_eq(timeline.iter().filter(|word| *word == "Restored").count(), 2)?;
    ensure_eq(timeline.iter().filter(|word| *word == "Respawned" || *word == "EventOut").count(), 0)
}

async fn restore_fails() -> Outcome {
    let function = snap_start("hooks fail").build().await;
    fails_twice(&function, |failure| match failure {
        Failure::Function { error_message, .. } => error_message == "no connection",
        _ => false,
    })
    .await
}

async fn restore_times_out() -> Outcome {
    let function = snap_start("hooks hang").restore_limit(Duration::from_millis(100)).build().await;
    fails_twice(&function, |failure| match failure {
        Failure::Function { error_type, .. } => error_type == "SnapStartTimeoutException",
        _ => false,
    })
    .await
}

async fn restore_exits() -> Outcome {
    let function = snap_start("hooks exit").build().await;
    fails_twice(&function, |failure| *failure == Failure::Exited("exit status 7".to_owned())).await
}

async fn shutdown_before_restore() -> Outcome {
    let function = snap_start("").build().await;
    function.warm_up().await?;
    ensure_eq(function.shutdown().await.ended.len(), 1)?;
    ensure_eq(function.wait_idle().await, EnvironmentState::Dead)?;
    ensure_eq(value(&invoke(&function, echo("fresh")).await)?, json!("fresh"))
}

async fn restore_in_the_trace() -> Outcome {
    let store = TraceStore::new();
    let function = snap_start("").trace_store(store.clone()).build().await;
    function.warm_up().await?;
    for expected in [["Restore", "Invocation", "Overhead"].as_slice(), &["Invocation", "Overhead"]] {
        let answer = invoke(&function, echo("hello")).await;
        function.wait_frozen().await;
        let trace = store.trace(&answer.trace_id).ok_or("a trace")?;
        let nested = trace.documents.iter().filter(|document| document.nested);
        ensure_eq(nested.map(|document| document.name.as_str()).collect::<Vec<_>>(), expected)?;
    }
    ensure(store.rejected().is_empty() && store.check().is_empty(), format!("{:?} {:?}", store.rejected(), store.check()))
}

async fn provisioned_limit() -> Outcome {
    let function = |kind: &str| probe("init-hang").initialization_type(kind).timeout(Duration::from_secs(200));
    let limited = function("provisioned-concurrency").init_limit(Duration::from_millis(50)).build().await;
    ensure_eq(limited.warm_up().await, Err(WarmUpError::TimedOut(Duration::from_millis(50))))?;
    for (kind, seconds) in [("on-demand", 10), ("provisioned-concurrency", 200), ("snap-start", 200)] {
        ensure_eq(function(kind).build().await.init_limit(), Duration::from_secs(seconds))?;
    }
    let short = probe("").initialization_type("provisioned-concurrency").build().await;
    ensure_eq(short.init_limit(), Duration::from_secs(130))
}

async fn provisioned() -> Outcome {
    let function = probe("").initialization_type("provisioned-concurrency").max_environments(2).build().await;
    function.warm_up().await?;
    let inits = function.timeline().into_iter().filter(|event| matches!(event.kind, EventKind::InitDone { .. }));
    ensure_eq(inits.map(|event| event.request_id).collect::<Vec<_>>(), vec![None, None])?;
    let seen = function.timeline().len();
    ensure_eq(value(&invoke(&function, echo("hello")).await)?, json!("hello"))?;
    function.wait_frozen().await;
    ensure_eq(words(&function.timeline()[seen..]).join(" "), "Thawed EventOut ResponseIn202 NextCalled Frozen")
}
