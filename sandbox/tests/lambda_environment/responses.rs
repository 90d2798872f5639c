//! Responses that may be posted, and the result for the caller.

use crate::support::{Gate, Outcome, ensure, ensure_eq, ensure_timeline, event, invoke, printed, probe, trial, value};
use lambda_lifecycle_sandbox::{
    Failure, Invoke,
    function::{EnvironmentState, EventKind},
};
use libtest_mimic::Trial;
use serde_json::json;

/// 6 MB as Lambda counts them.
const LARGEST: usize = 6_291_556;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("a_stream_is_read_to_its_end_before_the_answer_counts", streaming),
        trial("an_error_in_the_trailers_fails_the_stream", trailer),
        trial("a_stream_that_breaks_off_fails", broken_stream),
        trial("the_largest_answer_is_taken_and_one_byte_more_refused_with_413", too_large),
        trial("what_the_runtime_may_not_do_is_refused_with_lambdas_errors", refusals),
        trial("an_undecodable_event_is_the_runtimes_error", undecodable),
    ]
}

async fn streaming() -> Outcome {
    let gate = Gate::new().await?;
    let function = probe("").build().await;
    let mut events = function.subscribe();
    let call = function.invoke(event(&json!({ "stream": ["one ", "two"], "stream_gate": gate.address()? })));
    gate.held().await?.release();
    let second = gate.held().await?;
    events.find(|event| event.kind == EventKind::StreamStarted).await;
    let answered = |event: &lambda_lifecycle_sandbox::function::TimelineEvent| matches!(event.kind, EventKind::ResponseIn { .. });
    ensure(!function.timeline().iter().any(answered), "no response before the end")?;
    second.release();
    let answer = call.await;
    ensure(answer.streamed, "a streamed response")?;
    let body = answer.result?;
    ensure(body.starts_with(b"{") && body.ends_with(b"\0\0\0\0\0\0\0\0one two"), String::from_utf8_lossy(&body))?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)?;
    let expected = "Spawned NextCalled InitDone EventOut StreamStarted StreamEnded ResponseIn202 NextCalled Frozen";
    ensure_timeline(&function, expected)?;
    let ended = EventKind::StreamEnded { bytes: body.len(), error_type: None };
    ensure(function.timeline().iter().any(|event| event.kind == ended), "the size of the stream")
}

async fn trailer() -> Outcome {
    let function = probe("raw:trailer").build().await;
    let answer = invoke(&function, json!(null)).await;
    let (error_type, error_message) = ("Probe.Half".to_owned(), "half way".to_owned());
    ensure_eq(answer.result, Err(Failure::Function { error_type: error_type.clone(), error_message }))?;
    function.wait_frozen().await;
    let ended = EventKind::StreamEnded { bytes: 6, error_type: Some(error_type) };
    ensure(function.timeline().iter().any(|event| event.kind == ended), "the stream's error")?;
    ensure_eq(printed(&function, "trailer:").await, r#"202 {"status":"OK"}"#)
}

async fn broken_stream() -> Outcome {
    let function = probe("raw:broken-stream").build().await;
    let answer = invoke(&function, json!(null)).await;
    let Err(Failure::Function { error_type, .. }) = answer.result else {
        return Err("a function error".into());
    };
    ensure_eq(error_type, "Runtime.TruncatedResponse")
}

async fn too_large() -> Outcome {
    let function = probe("").build().await;
    let answer = invoke(&function, json!({ "size": LARGEST })).await;
    ensure_eq(answer.result.map(|body| body.len()), Ok(LARGEST))?;
    let answer = invoke(&function, json!({ "size": LARGEST + 1 })).await;
    ensure_eq(answer.result, Err(Failure::TooLarge))?;
    ensure_eq(value(&invoke(&function, json!({ "answer": "goes on" })).await)?, json!("goes on"))?;
    function.wait_frozen().await;
    ensure_timeline(
        &function,
        "Spawned NextCalled InitDone EventOut ResponseIn202 NextCalled Frozen \
         Thawed EventOut ResponseIn413 NextCalled Frozen Thawed EventOut ResponseIn202 NextCalled Frozen",
    )
}

async fn refusals() -> Outcome {
    let function = probe("raw:refusals").build().await;
    let answer = invoke(&function, json!(null)).await;
    ensure_eq(value(&answer)?, json!(true))?;
    function.wait_frozen().await;
    let expected = [
        ("no answer:", "403", "InvalidStateTransition"),
        ("wrong id:", "400", "InvalidRequestID"),
        ("no snapshot:", "404", "NotFound"),
        ("no restore:", "403", "InvalidStateTransition"),
        ("no path:", "404", "NotFound"),
        ("init error:", "403", "InvalidStateTransition"),
        ("answer:", "202", "OK"),
        ("again:", "403", "InvalidStateTransition"),
    ];
    for (call, status, body) in expected {
        let line = printed(&function, call).await;
        ensure(line.starts_with(status) && line.contains(body), format!("{call} {line}"))?;
    }
    Ok(())
}

async fn undecodable() -> Outcome {
    let function = probe("").build().await;
    let answer = function.invoke(lambda_lifecycle_sandbox::Event { payload: "{".into(), ..Default::default() }).await;
    ensure(matches!(answer.result, Err(Failure::Function { .. })), format!("{:?}", answer.result))?;
    ensure_eq(function.wait_frozen().await, EnvironmentState::Idle)
}
