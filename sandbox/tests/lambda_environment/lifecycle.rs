//! Init, invoke, freeze, thaw, shutdown, scaling.

use crate::support::{
    Gate, Outcome, echo, ensure, ensure_eq, ensure_timeline, event, futures_pending, invoke, is_stopped, printed, probe, trial,
    value, words,
};
use lambda_lifecycle_sandbox::{
    Invoke,
    function::{EnvironmentState, EventKind, Exit, TimelineEvent},
};
use libtest_mimic::Trial;
use serde_json::json;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    process::{Command, ExitCode},
};

/// Set for the process that is a sandbox itself, and is killed.
pub(crate) const SANDBOX_TO_BE_KILLED: &str = "SANDBOX_TO_BE_KILLED";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("an_invocation_runs_from_a_cold_start_to_the_freeze", runs_to_the_freeze),
        trial("the_caller_is_answered_before_the_work_after_the_response", answered_before_after_work),
        trial("a_frozen_process_is_thawed_for_the_next_event", thawed),
        trial("the_next_event_waits_for_the_next_poll", next_event_waits),
        trial("environments_run_in_parallel_up_to_their_number", parallel),
        trial("a_call_during_work_after_the_response_gets_another_environment", scales_after_response),
        trial("one_environment_is_enough_for_calls_that_follow_one_another", one_is_enough),
        trial("warm_up_initializes_and_freezes_without_an_event", warm_up),
        trial("a_function_sees_lambdas_variables_and_none_of_the_sandboxs", variables),
        trial("dropping_the_function_kills_its_process", dropped),
        trial("a_killed_sandbox_leaves_no_process_behind", killed_sandbox),
        trial("without_an_extension_shutdown_kills_at_once", shut_down),
        trial("shutdown_waits_for_the_running_invocation", shutdown_waits),
        trial("a_caller_who_goes_away_does_not_stop_the_invocation", caller_goes_away),
    ]
}

async fn runs_to_the_freeze() -> Outcome {
    let function = probe("").build().await;
    ensure_eq(function.state(), EnvironmentState::Cold)?;
    let answer = invoke(&function, echo("hello")).await;
    ensure_eq(value(&answer)?, json!("hello"))?;
    ensure(!answer.streamed, "a buffered response")?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    ensure_timeline(&function, "Spawned NextCalled InitDone EventOut ResponseIn202 NextCalled Frozen")?;
    let pid = function.pid().ok_or("a process")?;
    ensure(is_stopped(pid), "the kernel says the process is stopped")?;
    let of_invocation = function.timeline().into_iter().filter(|event| event.request_id.is_some());
    ensure_eq(of_invocation.filter(|event| event.request_id.as_ref() == Some(&answer.request_id)).count(), 4)
}

async fn answered_before_after_work() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("").build().await;
    let answer = invoke(&function, json!({ "answer": 1, "after": { "gate": gate.address()?, "print": "after" } })).await;
    ensure_eq(value(&answer)?, json!(1))?;
    let held = gate.held().await?;
    ensure_eq(function.state(), EnvironmentState::Busy)?;
    ensure(!is_stopped(function.pid().ok_or("a process")?), "not frozen before /next")?;
    held.release();
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    printed(&function, "after").await;
    Ok(())
}

async fn thawed() -> Outcome {
    let function = probe("").build().await;
    invoke(&function, echo("first")).await;
    function.wait_frozen().await;
    let (pid, seen) = (function.pid(), function.timeline().len());
    ensure_eq(value(&invoke(&function, echo("second")).await)?, json!("second"))?;
    function.wait_frozen().await;
    ensure_eq(function.pid(), pid)?;
    ensure_eq(words(&function.timeline()[seen..]).join(" "), "Thawed EventOut ResponseIn202 NextCalled Frozen")
}

async fn next_event_waits() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("").build().await;
    let first = invoke(&function, json!({ "answer": 1, "after": { "gate": gate.address()? } })).await;
    let second = function.invoke(event(&echo("second")));
    gate.held().await?.release();
    let second = second.await;
    let timeline = function.timeline();
    let at = |id: &str, fits: fn(&EventKind) -> bool| {
        timeline.iter().position(|event| event.request_id.as_deref() == Some(id) && fits(&event.kind))
    };
    let over = at(&first.request_id, |kind| *kind == EventKind::NextCalled).ok_or("the first is over")?;
    let begun = at(&second.request_id, |kind| matches!(kind, EventKind::EventOut { .. })).ok_or("the second began")?;
    ensure(over < begun, "the second event leaves after the runtime is done with the first")
}

async fn parallel() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("").max_environments(2).build().await;
    let task = json!({ "gate": gate.address()? });
    let (first, second, third) =
        (function.invoke(event(&task)), function.invoke(event(&task)), function.invoke(event(&echo("third"))));
    let held = (gate.held().await?, gate.held().await?);
    held.0.release();
    held.1.release();
    let answers = tokio::join!(first, second, third);
    ensure_eq(value(&answers.2)?, json!("third"))?;
    function.wait_frozen().await;
    let environments: BTreeSet<u32> = function.timeline().iter().map(|event| event.environment).collect();
    ensure_eq(environments, BTreeSet::from([1, 2]))
}

async fn scales_after_response() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("").max_environments(2).build().await;
    invoke(&function, json!({ "answer": 1, "after": { "gate": gate.address()? } })).await;
    let held = gate.held().await?;
    ensure_eq(value(&invoke(&function, echo("elsewhere")).await)?, json!("elsewhere"))?;
    ensure_eq(function.timeline().iter().map(|event| event.environment).max(), Some(2))?;
    held.release();
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)
}

async fn one_is_enough() -> Outcome {
    let function = probe("").max_environments(8).build().await;
    for _ in 0..30 {
        invoke(&function, echo("again")).await;
        ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    }
    ensure(function.timeline().iter().all(|event| event.environment == 1), "no second environment")
}

async fn warm_up() -> Outcome {
    let function = probe("").initialization_type("provisioned-concurrency").build().await;
    function.warm_up().await?;
    ensure_eq(function.state(), EnvironmentState::Idle)?;
    ensure_timeline(&function, "Spawned NextCalled InitDone Frozen")?;
    ensure(is_stopped(function.pid().ok_or("a process")?), "frozen between Init and the first event")?;
    let environment = value(&invoke(&function, json!({ "environment": true })).await)?;
    ensure_eq(environment["AWS_LAMBDA_INITIALIZATION_TYPE"].as_str(), Some("provisioned-concurrency"))?;
    ensure_eq(words(&function.timeline())[4..6].join(" "), "Thawed EventOut")
}

async fn variables() -> Outcome {
    let function = probe("")
        .env("MINE", "1")
        .memory(512)
        .version("7")
        .log_format("JSON")
        .xray("127.0.0.1:2000")
        .env("AWS_REGION", "eu-central-1")
        .build()
        .await;
    let environment = value(&invoke(&function, json!({ "environment": true })).await)?;
    let expected = [
        ("MINE", "1"),
        ("AWS_LAMBDA_FUNCTION_NAME", "probe"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "7"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/probe"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_XRAY_DAEMON_ADDRESS", "127.0.0.1:2000"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_XRAY_CONTEXT_MISSING", "LOG_ERROR"),
        ("TZ", ":UTC"),
    ];
    for (key, value) in expected {
        ensure_eq(environment[key].as_str(), Some(value))?;
    }
    let stream = environment["AWS_LAMBDA_LOG_STREAM_NAME"].as_str().unwrap_or_default();
    ensure(stream.contains("/[7]") && stream.len() == "2026/01/01/[7]".len() + 32, stream)?;
    ensure(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "the test itself runs under cargo")?;
    ensure(environment.get("CARGO_MANIFEST_DIR").is_none(), "nothing is inherited")
}

async fn dropped() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("").build().await;
    let caller = function.clone();
    let address = gate.address()?;
    let call = tokio::spawn(async move { invoke(&caller, json!({ "gate": address })).await });
    let held = gate.held().await?;
    call.abort();
    let _ = call.await;
    drop(function);
    held.gone().await;
    Ok(())
}

/// Runs in a separate process: holds one function that is busy, and one that is frozen.
pub(crate) fn sandbox_to_be_killed(gate: &OsStr) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(async {
        let (frozen, busy) = (probe("").build().await, probe("").build().await);
        let gate = gate.to_string_lossy();
        invoke(&frozen, json!({ "gate": gate })).await;
        frozen.wait_frozen().await;
        invoke(&busy, json!({ "gate": gate })).await;
    });
    ExitCode::SUCCESS
}

async fn killed_sandbox() -> Outcome {
    let gate = Gate::new().await?;
    let exe = std::env::current_exe()?;
    let mut sandbox = Command::new(exe).env(SANDBOX_TO_BE_KILLED, gate.address()?).spawn()?;
    let frozen = gate.held().await?;
    let frozen = frozen.keep_open().await?;
    let busy = gate.held().await?;
    sandbox.kill()?;
    sandbox.wait()?;
    frozen.gone().await;
    busy.gone().await;
    Ok(())
}

async fn shut_down() -> Outcome {
    let function = probe("").build().await;
    ensure(function.shutdown().await.ended.is_empty(), "a process has ended")?;
    invoke(&function, echo("first")).await;
    function.wait_frozen().await;
    let report = function.shutdown().await;
    let ended = report.ended.first().ok_or("a process ended")?;
    ensure_eq((ended.environment, ended.sigterm, ended.exit), (1, false, Exit::Signal(9)))?;
    ensure_eq(function.state(), EnvironmentState::Dead)?;
    ensure_eq(words(&function.timeline())[7..].join(" "), "Killed Exited")?;
    ensure_eq(value(&invoke(&function, echo("second")).await)?, json!("second"))?;
    ensure_eq(function.timeline().last().map(|event| event.environment), Some(2))
}

async fn shutdown_waits() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("").build().await;
    invoke(&function, json!({ "answer": 1, "after": { "gate": gate.address()?, "print": "after" } })).await;
    let held = gate.held().await?;
    let shutdown = function.shutdown();
    tokio::pin!(shutdown);
    // Asks for the shutdown while the function is busy.
    ensure(futures_pending(shutdown.as_mut()).await, "the shutdown waits")?;
    held.release();
    ensure_eq(shutdown.await.ended.len(), 1)?;
    printed(&function, "after").await;
    Ok(())
}

async fn caller_goes_away() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("").build().await;
    let mut events = function.subscribe();
    {
        let call = function.invoke(event(&json!({ "gate": gate.address()? })));
        tokio::pin!(call);
        ensure(futures_pending(call.as_mut()).await, "the call runs")?;
    }
    gate.held().await?.release();
    let answered = |event: &TimelineEvent| matches!(event.kind, EventKind::ResponseIn { status: 202, .. });
    events.find(answered).await;
    ensure_eq(value(&invoke(&function, echo("next")).await)?, json!("next"))
}
