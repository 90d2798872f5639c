//! Deadlines, crashes, failures of the Init phase.

use crate::support::{
    Gate, Outcome, SHORT, echo, ensure, ensure_eq, ensure_timeline, event, invoke, invoke_overdue, probe, trial, value, words,
};
use lambda_lifecycle_sandbox::{
    Event, Failure, Invoke,
    function::{EnvironmentState, EventKind, Exit, Function, FunctionBuilder, WarmUpError},
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use std::{path::PathBuf, time::Duration};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("a_timeout_kills_the_process_and_the_next_event_gets_a_fresh_one", timeout),
        trial("an_answer_stays_when_the_work_after_it_times_out", answer_stays),
        trial("a_handlers_error_is_the_callers_answer", handler_error),
        trial("the_bare_runtime_answers_a_panic", panic),
        trial("an_abort_ends_the_environment", abort),
        trial("an_exit_ends_the_environment", exit),
        trial("an_exit_after_the_answer_costs_the_environment_only", exit_after_answer),
        trial("a_failed_init_is_repeated_inside_the_invocation", init_exit),
        trial("an_init_error_is_reported_to_the_caller_when_it_comes_again", init_error),
        trial("an_init_that_exceeds_its_limit_may_succeed_when_repeated", init_limit),
        trial("a_repeated_init_is_under_the_functions_timeout", suppressed_timeout),
        trial("a_warm_up_that_fails_says_why_and_is_repeated_by_the_invocation", warm_up_fails),
        trial("a_warm_up_that_exceeds_the_limit_says_so", warm_up_times_out),
        trial("a_program_that_does_not_exist_is_a_failure", no_program),
    ]
}

/// When the last event of a kind was, since the function was built.
fn offset(function: &Function, fits: impl Fn(&EventKind) -> bool) -> Result<Duration, Failed> {
    let timeline = function.timeline();
    let event = timeline.iter().rev().find(|event| fits(&event.kind));
    Ok(event.ok_or("no such event")?.offset)
}

async fn timeout() -> Outcome {
    let function = probe("").build().await;
    let answer = invoke_overdue(&function, json!({ "hang": true })).await;
    ensure_eq(answer.result, Err(Failure::TimedOut { seconds: 0 }))?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Dead)?;
    ensure_timeline(&function, "Spawned NextCalled InitDone EventOut TimedOut Killed Exited")?;
    let exit = function.timeline().pop().map(|event| event.kind);
    ensure_eq(exit, Some(EventKind::Exited { exit: Exit::Signal(9) }))?;
    let took = offset(&function, |kind| *kind == EventKind::TimedOut)?;
    ensure(took >= SHORT, format!("timed out after {took:?}"))?;
    ensure_eq(value(&invoke(&function, echo("fresh")).await)?, json!("fresh"))?;
    ensure_eq(words(&function.timeline())[7..10].join(" "), "Spawned NextCalled InitDone")?;
    ensure_eq(function.timeline().last().map(|event| event.environment), Some(2))
}

async fn answer_stays() -> Outcome {
    let function = probe("").build().await;
    let event = Event { timeout: Some(SHORT * 5), ..event(&json!({ "answer": "kept", "after": { "hang": true } })) };
    let answer = function.invoke(event).await;
    ensure_eq(value(&answer)?, json!("kept"))?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Dead)?;
    ensure_timeline(&function, "Spawned NextCalled InitDone EventOut ResponseIn202 TimedOut Killed Exited")
}

async fn handler_error() -> Outcome {
    let function = probe("").build().await;
    let answer = invoke(&function, json!({ "error": "out of stock" })).await;
    let Err(Failure::Function { error_message, .. }) = answer.result else {
        return Err("a function error".into());
    };
    ensure_eq(error_message, "out of stock")?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    let error = |kind: &EventKind| matches!(kind, EventKind::ResponseIn { status: 202, error: true, .. });
    ensure(function.timeline().iter().any(|event| error(&event.kind)), "posted to /error")
}

async fn panic() -> Outcome {
    let function = probe("").build().await;
    let answer = invoke(&function, json!({ "panic": true })).await;
    let Err(Failure::Function { error_message, .. }) = answer.result else {
        return Err("a function error".into());
    };
    ensure(error_message.contains("as the event asked"), error_message)?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)
}

async fn abort() -> Outcome {
    let function = probe("").build().await;
    let answer = invoke(&function, json!({ "abort": true })).await;
    ensure_eq(answer.result, Err(Failure::Exited("signal: SIGABRT".to_owned())))?;
    ensure_timeline(&function, "Spawned NextCalled InitDone EventOut Exited")?;
    ensure_eq(value(&invoke(&function, echo("fresh")).await)?, json!("fresh"))
}

async fn exit() -> Outcome {
    let function = probe("").build().await;
    let answer = invoke(&function, json!({ "print": "last words", "exit": 7 })).await;
    ensure_eq(answer.result, Err(Failure::Exited("exit status 7".to_owned())))?;
    // The lines of a process are recorded before its end is, so this does not wait.
    ensure(function.logs().iter().any(|line| line.text == "last words"), "the last line")
}

async fn exit_after_answer() -> Outcome {
    let function = probe("").build().await;
    let answer = invoke(&function, json!({ "answer": 1, "after": { "exit": 0 } })).await;
    ensure_eq(value(&answer)?, json!(1))?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Dead)?;
    ensure_eq(value(&invoke(&function, echo("fresh")).await)?, json!("fresh"))
}

async fn init_exit() -> Outcome {
    let function = probe("init-exit").build().await;
    let answer = invoke(&function, json!(null)).await;
    ensure_eq(answer.result, Err(Failure::Exited("exit status 3".to_owned())))?;
    ensure_timeline(&function, "Spawned Exited InitError Respawned Exited InitError")?;
    invoke(&function, json!(null)).await;
    ensure_eq(words(&function.timeline())[6..].join(" "), "Spawned Exited InitError Respawned Exited InitError")
}

async fn init_error() -> Outcome {
    let function = probe("init-error").build().await;
    let answer = invoke(&function, json!(null)).await;
    let (error_type, error_message) = ("Probe.NoDatabase".to_owned(), "no database".to_owned());
    ensure_eq(answer.result, Err(Failure::Function { error_type, error_message }))?;
    ensure_timeline(&function, "Spawned InitError Exited Respawned InitError Exited")
}

/// A function whose first Init hangs.
fn hangs_once(name: &str) -> Result<(FunctionBuilder, PathBuf), Failed> {
    let marker = std::env::temp_dir().join(format!("lambda-environment-{}-{name}", std::process::id()));
    if marker.exists() {
        std::fs::remove_file(&marker)?;
    }
    Ok((probe("init-hang-once").env("MARKER", &marker), marker))
}

async fn init_limit() -> Outcome {
    let (function, marker) = hangs_once("init-limit")?;
    let function = function.init_limit(SHORT).build().await;
    let answer = invoke(&function, echo("at last")).await;
    ensure_eq(value(&answer)?, json!("at last"))?;
    function.wait_frozen().await;
    std::fs::remove_file(marker)?;
    ensure_timeline(
        &function,
        "Spawned InitTimedOut Killed Exited Respawned NextCalled InitDone EventOut ResponseIn202 NextCalled Frozen",
    )?;
    let limit = offset(&function, |kind| *kind == EventKind::InitTimedOut)?;
    ensure(limit >= SHORT, format!("limited at {limit:?}"))
}

async fn suppressed_timeout() -> Outcome {
    let function = probe("init-hang").init_limit(SHORT).timeout(SHORT * 2).build().await;
    let answer = invoke(&function, json!(null)).await;
    ensure_eq(answer.result, Err(Failure::TimedOut { seconds: 1 }))?;
    ensure_timeline(&function, "Spawned InitTimedOut Killed Exited Respawned TimedOut Killed Exited")?;
    // The limit of Init first, and then the whole timeout, of which nothing is used up.
    let took = offset(&function, |kind| *kind == EventKind::TimedOut)?;
    ensure(took >= SHORT * 3, format!("timed out after {took:?}"))
}

async fn warm_up_fails() -> Outcome {
    let function = probe("init-error").build().await;
    let (error_type, error_message) = ("Probe.NoDatabase".to_owned(), "no database".to_owned());
    ensure_eq(function.warm_up().await, Err(WarmUpError::Failed { error_type, error_message }))?;
    invoke(&function, json!(null)).await;
    ensure_timeline(&function, "Spawned InitError Exited Respawned InitError Exited")
}

async fn warm_up_times_out() -> Outcome {
    let (function, marker) = hangs_once("warm-up")?;
    let function = function.init_limit(SHORT).build().await;
    ensure_eq(function.warm_up().await, Err(WarmUpError::TimedOut(SHORT)))?;
    let gate = Gate::new().await?;
    let call = invoke(&function, json!({ "gate": gate.address()?, "answer": 1 }));
    let (answer, held) = tokio::join!(call, async { gate.held().await.map(crate::support::Held::release) });
    held?;
    std::fs::remove_file(marker)?;
    ensure_eq(value(&answer)?, json!(1))?;
    ensure_eq(words(&function.timeline())[..6].join(" "), "Spawned InitTimedOut Killed Exited Respawned NextCalled")
}

async fn no_program() -> Outcome {
    let function = Function::builder("missing", "/nowhere/bootstrap").build().await;
    for _ in 0..2 {
        let answer = invoke(&function, json!(null)).await;
        let Err(Failure::Function { error_type, .. }) = answer.result else {
            return Err("a failure".into());
        };
        ensure_eq(error_type, "Runtime.InvalidEntrypoint")?;
    }
    ensure_eq(function.wait_frozen().await, EnvironmentState::Dead)
}
