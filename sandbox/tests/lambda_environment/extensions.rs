//! Internal extensions.

use crate::support::{
    Gate, Outcome, SHORT, echo, ensure, ensure_eq, event, invoke, is_stopped, printed, probe, trial, value, words,
};
use lambda_lifecycle_sandbox::{
    Failure, Invoke,
    function::{EnvironmentState, EventKind, Exit},
    wait::patience,
};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("init_waits_for_every_extension", init_waits),
        trial("an_extension_with_invoke_delays_the_freeze", delays_the_freeze),
        trial("an_extension_without_events_delays_nothing", delays_nothing),
        trial("an_extension_is_told_of_the_invocation", told_of_the_invocation),
        trial("with_an_extension_shutdown_asks_first", asks_first),
        trial("a_function_that_ignores_sigterm_is_killed_after_500_ms", killed_after_grace),
        trial("with_an_extension_a_timeout_asks_first_and_a_late_answer_is_410", late_answer),
        trial("an_answer_that_ends_after_the_deadline_is_410", straddling_answer),
        trial("what_an_extension_may_not_do_is_refused_with_lambdas_errors", refusals),
        trial("an_extension_that_fails_at_init_fails_the_init_phase", fails_at_init),
        trial("an_extension_that_reports_its_end_ends_the_environment", fails_later),
    ]
}

async fn init_waits() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("extension invoke").env("EXTENSION_INIT_GATE", gate.address()?).build().await;
    let mut events = function.subscribe();
    let call = function.invoke(event(&echo("hello")));
    let held = gate.held().await?;
    events.find(|event| event.kind == EventKind::NextCalled).await;
    ensure_eq(function.state(), EnvironmentState::Initializing)?;
    held.release();
    ensure_eq(value(&call.await)?, json!("hello"))?;
    let expected = "Spawned ExtensionRegistered NextCalled ExtensionNextCalled InitDone EventOut";
    ensure_eq(words(&function.timeline())[..6].join(" "), expected)
}

async fn delays_the_freeze() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("extension invoke").env("EXTENSION_GATE", gate.address()?).build().await;
    let mut events = function.subscribe();
    ensure_eq(value(&invoke(&function, echo("hello")).await)?, json!("hello"))?;
    let held = gate.held().await?;
    events.find(|event| event.kind == EventKind::NextCalled && event.request_id.is_some()).await;
    ensure_eq(function.state(), EnvironmentState::Busy)?;
    ensure(!is_stopped(function.pid().ok_or("a process")?), "not frozen while the extension is running")?;
    held.release();
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    let words = words(&function.timeline());
    ensure_eq(words[words.len() - 4..].join(" "), "ResponseIn202 NextCalled ExtensionNextCalled Frozen")
}

async fn delays_nothing() -> Outcome {
    let function = probe("extension").build().await;
    for _ in 0..2 {
        invoke(&function, echo("hello")).await;
        ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    }
    let calls = function.timeline().iter().filter(|event| matches!(event.kind, EventKind::ExtensionNextCalled { .. })).count();
    ensure_eq(calls, 1)
}

async fn told_of_the_invocation() -> Outcome {
    let function = probe("extension invoke").build().await;
    let answer = invoke(&function, json!({ "context": true })).await;
    function.wait_frozen().await;
    let told: Value = serde_json::from_str(&printed(&function, "extension:").await)?;
    let context = value(&answer)?;
    let expected = json!({
        "eventType": "INVOKE",
        "deadlineMs": context["deadline"],
        "requestId": context["request_id"],
        "invokedFunctionArn": context["arn"],
        "tracing": { "type": "X-Amzn-Trace-Id", "value": context["trace"] },
    });
    ensure_eq(told, expected)
}

async fn asks_first() -> Outcome {
    let function = probe("extension handles-sigterm").exit_grace(patience()).build().await;
    invoke(&function, echo("hello")).await;
    function.wait_frozen().await;
    let report = function.shutdown().await;
    let ended = report.ended.first().ok_or("a process ended")?;
    ensure_eq((ended.sigterm, ended.exit), (true, Exit::Code(42)))?;
    printed(&function, "SIGTERM").await;
    let words = words(&function.timeline());
    ensure_eq(words[words.len() - 4..].join(" "), "Frozen Thawed Sigterm Exited")
}

async fn killed_after_grace() -> Outcome {
    let function = probe("extension ignores-sigterm").build().await;
    invoke(&function, echo("hello")).await;
    function.wait_frozen().await;
    let report = function.shutdown().await;
    let ended = report.ended.first().ok_or("a process ended")?;
    ensure_eq((ended.sigterm, ended.exit), (true, Exit::Signal(9)))?;
    ensure(ended.took >= Duration::from_millis(500), format!("it was killed after {:?}", ended.took))?;
    printed(&function, "SIGTERM").await;
    Ok(())
}

async fn late_answer() -> Outcome {
    let function = probe("raw:late").timeout(SHORT).exit_grace(patience()).build().await;
    let answer = invoke(&function, json!(null)).await;
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), "timed out")?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Dead)?;
    ensure(printed(&function, "late:").await.starts_with("410"), "410 Gone")?;
    ensure_eq(words(&function.timeline())[5..].join(" "), "EventOut TimedOut Sigterm ResponseIn410 Exited")
}

/// The stream is to begin in time.
const LONGER: Duration = Duration::from_secs(2);

async fn straddling_answer() -> Outcome {
    let function = probe("raw:straddling").timeout(LONGER).exit_grace(patience()).build().await;
    let answer = invoke(&function, json!(null)).await;
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), "timed out")?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Dead)?;
    ensure(printed(&function, "late:").await.starts_with("410"), "410 Gone")?;
    ensure_eq(
        words(&function.timeline())[5..].join(" "),
        "EventOut StreamStarted TimedOut Sigterm StreamEnded ResponseIn410 Exited",
    )
}

async fn refusals() -> Outcome {
    let function = probe("extension invoke refused").build().await;
    invoke(&function, echo("hello")).await;
    function.wait_frozen().await;
    let expected = [
        ("registered:", "200", "functionName"),
        ("shutdown:", "403", "ShutdownEventNotSupportedForInternalExtension"),
        ("same name:", "403", "Extension.AlreadyRegistered"),
        ("unknown:", "403", "Extension.UnknownExtensionIdentifier"),
        ("no identifier:", "403", "Extension.MissingExtensionIdentifier"),
        ("too late:", "403", "Extension.RegistrationClosed"),
    ];
    for (call, status, body) in expected {
        let line = printed(&function, call).await;
        ensure(line.starts_with(status) && line.contains(body), format!("{call} {line}"))?;
    }
    Ok(())
}

async fn fails_at_init() -> Outcome {
    let function = probe("extension fails init/error").build().await;
    let answer = invoke(&function, json!(null)).await;
    let (error_type, error_message) = ("Extension.Probe".to_owned(), "no agent".to_owned());
    ensure_eq(answer.result, Err(Failure::Function { error_type, error_message }))?;
    let words = words(&function.timeline());
    ensure_eq(words.iter().filter(|word| *word == "InitError").count(), 2)
}

async fn fails_later() -> Outcome {
    let function = probe("extension invoke fails exit/error").build().await;
    let answer = invoke(&function, json!({ "hang": true })).await;
    let (error_type, error_message) = ("Extension.Probe".to_owned(), "no agent".to_owned());
    ensure_eq(answer.result, Err(Failure::Function { error_type, error_message }))?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Dead)
}
