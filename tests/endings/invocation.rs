//! Endings of an invocation, in each trace mode.

use crate::stage::{Stage, TRACE_MODES, Tested, ensure, function_error, test};
use lambda_lifecycle_sandbox::{
    Answer, Event, Failure, Invoke,
    function::{EventKind, TraceMode},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::time::Duration;

/// An ending: which function, what it is asked, and what must come of it.
struct Ending {
    name: &'static str,
    probe: &'static str,
    event: fn() -> Value,
    /// Error type and a part of the message; `None` for an answer.
    error: Option<(&'static str, &'static str)>,
    outcome: &'static str,
}

const ENDINGS: [Ending; 12] = [
    Ending { name: "answer", probe: "value", event: || json!({}), error: None, outcome: "answered" },
    Ending {
        name: "error",
        probe: "value",
        event: || json!({ "do": "fail" }),
        error: Some(("Error", "no stock")),
        outcome: "failed",
    },
    Ending {
        name: "panic in the handler",
        probe: "value",
        event: || json!({ "do": "panic" }),
        error: Some(("Lifecycle.Panic", "fuse was lit")),
        outcome: "panicked",
    },
    Ending {
        name: "panic in the constructor of the future",
        probe: "constructor",
        event: || json!({ "do": "panic" }),
        error: Some(("Lifecycle.Panic", "fuse was lit")),
        outcome: "panicked",
    },
    Ending {
        name: "panic in Deserialize",
        probe: "deserialize",
        event: || json!({ "do": "panic" }),
        error: Some(("Lifecycle.Panic", "fuse was lit")),
        outcome: "panicked",
    },
    Ending {
        name: "panic in Serialize",
        probe: "serialize",
        event: || json!({ "do": "panic" }),
        error: Some(("Lifecycle.Panic", "fuse was lit")),
        outcome: "panicked",
    },
    Ending {
        name: "error in Serialize",
        probe: "serialize",
        event: || json!({ "do": "fail" }),
        error: Some(("Lifecycle.UnencodableAnswer", "not today")),
        outcome: "unencodable_answer",
    },
    Ending {
        name: "answer too large",
        probe: "value",
        event: || json!({ "do": "big" }),
        error: Some(("Lifecycle.AnswerTooLarge", "stream it")),
        outcome: "answer_too_large",
    },
    Ending {
        name: "deadline while awaiting",
        probe: "value",
        event: || json!({ "do": "hang" }),
        error: Some(("Lifecycle.DeadlineExceeded", "raise the timeout")),
        outcome: "deadline_exceeded",
    },
    Ending { name: "deadline with cleanup", probe: "value", event: || json!({ "do": "stop" }), error: None, outcome: "answered" },
    Ending {
        name: "deadline of a part of the work",
        probe: "value",
        event: || json!({ "do": "within" }),
        error: None,
        outcome: "answered",
    },
    Ending { name: "event of another type", probe: "deserialize", event: || Value::Null, error: None, outcome: "answered" },
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for ending in &ENDINGS {
        for (mode_name, mode) in TRACE_MODES {
            tests.push(test(format!("{} × {mode_name}", ending.name), move || ends(ending, mode)));
        }
    }
    tests.push(test("undecodable event: the caller is told where", undecodable_event));
    tests.push(test("stream: read to its end", || streams(json!({}), None, "answered")));
    tests.push(test("stream: a panic in it ends it", || streams(json!({ "do": "panic" }), Some("fuse was lit"), "panicked")));
    tests.push(test("stream: an error in it ends it", || streams(json!({ "do": "fail" }), Some("pipe burst"), "stream_broken")));
    tests.push(test("stream: the deadline ends it", || {
        streams(json!({ "do": "hang" }), Some("raise the timeout"), "deadline_exceeded")
    }));
    tests.push(test("http: a request that is not answered before the deadline gets a 504", http_deadline));
    tests.push(test("after the response: work runs after an error and after a panic", after_a_failure));
    tests.push(test("after the response: work that does not end is cancelled, the process lives", late_work));
    tests.push(test("after the response: work that panics costs itself alone", bad_work));
    tests.push(test("kill by the platform leaves the invocation in the trace, unfinished", killed));
    tests
}

/// The ending, then an ordinary invocation: it must find the same process, in order.
async fn ends(ending: &'static Ending, mode: TraceMode) -> Tested {
    let traced = mode == TraceMode::Active;
    let stage = Stage::new(ending.probe, mode).await?;
    let answer = stage.invoke((ending.event)()).await;
    match ending.error {
        None => ensure(answer.result.is_ok(), format!("{:?}", answer.result))?,
        Some((error_type, part)) => {
            let (posted, message) = function_error(&answer)?;
            ensure(posted == error_type && message.contains(part), format!("{posted}: {message}"))?;
        }
    }
    if traced {
        let document = stage.document(&answer).await?;
        ensure(document.annotation("outcome") == Some(ending.outcome), format!("{:?}", document.annotations))?;
        ensure(document.fault == ending.error.is_some(), format!("fault: {}", document.fault))?;
        let told = document.exceptions().iter().any(|exception| {
            ending.error.is_some_and(|(_, part)| exception.message.as_deref().is_some_and(|message| message.contains(part)))
        });
        ensure(told == ending.error.is_some(), format!("exceptions: {:?}", document.exceptions()))?;
        ensure(document.annotations.get("cold_start") == Some(&json!(true)), "the first invocation is a cold start")?;
    } else {
        stage.settle().await?;
        ensure(stage.traces.datagrams().is_empty(), "an invocation that is not sampled sent documents")?;
    }
    ensure(stage.logged("the invocation failed").len() == usize::from(ending.error.is_some()), "not one line in the log")?;

    let again = stage.invoke(json!({})).await;
    ensure(again.result.is_ok(), format!("the invocation after it: {:?}", again.result))?;
    stage.settle().await?;
    stage.documents_are_valid()?;
    ensure(stage.processes() == 1, format!("{} processes", stage.processes()))
}

async fn undecodable_event() -> Tested {
    for event in ["{\"do\":", "", "[1,", "\"\\ud800\""] {
        let stage = Stage::new("value", TraceMode::Active).await?;
        let answer = stage.invoke_raw(event).await;
        let (error_type, message) = function_error(&answer)?;
        ensure(
            error_type == "Lifecycle.UndecodableEvent" && message.contains("line 1"),
            format!("{event}: {error_type}: {message}"),
        )?;
        let document = stage.document(&answer).await?;
        ensure(document.annotation("outcome") == Some("undecodable_event"), format!("{:?}", document.annotations))?;
        ensure(stage.logged("the invocation failed").len() == 1, "not one line in the log")?;
        ensure(stage.invoke(json!({})).await.result.is_ok() && stage.processes() == 1, "the process did not live")?;
    }
    Ok(())
}

async fn streams(event: Value, broken: Option<&str>, outcome: &str) -> Tested {
    let stage = Stage::new("stream", TraceMode::Active).await?;
    let answer = stage.invoke(event).await;
    // What came before the break is there, and nothing that is none of the body.
    let whole = answer.result.as_ref().is_ok_and(|body| body.ends_with(b"chunk 0;chunk 1;chunk 2;"));
    ensure(answer.streamed && whole, format!("{answer:?}"))?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some(outcome), format!("{:?}", document.annotations))?;
    if let Some(part) = broken {
        let told =
            document.exceptions().iter().any(|exception| exception.message.as_deref().is_some_and(|text| text.contains(part)));
        ensure(told, format!("{:?}", document.exceptions()))?;
    }
    ensure(stage.invoke(json!({})).await.result.is_ok() && stage.processes() == 1, "the process did not live")
}

fn http_event(path: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "token=do-not-tell",
        "headers": { "host": "example.com", "user-agent": "test", "x-forwarded-for": "198.51.100.7, 10.0.0.1" },
        "requestContext": { "http": { "method": "GET", "path": path }, "domainName": "example.com", "stage": "$default" },
        "isBase64Encoded": false,
    })
}

async fn http_deadline() -> Tested {
    let stage = Stage::new("http", TraceMode::Active).await?;
    let answer = stage.invoke(http_event("/slow/hang")).await;
    let body: Value = serde_json::from_slice(answer.result.as_ref().map_err(ToString::to_string)?)?;
    ensure(body["statusCode"] == 504, body.to_string())?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("deadline_exceeded") && document.fault, format!("{:?}", document.raw))?;
    ensure(document.annotation("route") == Some("GET /slow/{kind}"), format!("{:?}", document.annotations))?;

    let answer = stage.invoke(http_event("/orders/7")).await;
    let document = stage.document(&answer).await?;
    let http = document.http.clone().unwrap_or_default();
    ensure(http.status == Some(200) && http.client_ip.as_deref() == Some("198.51.100.7"), format!("{http:?}"))?;
    ensure(!document.raw.to_string().contains("do-not-tell"), "the query is in the document")?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn after_a_failure() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    for ending in ["fail", "panic"] {
        let answer = stage.invoke(json!({ "do": ending, "after": ending })).await;
        function_error(&answer)?;
        stage.settle().await?;
        let lines = stage.logged("after the response");
        let line = lines.iter().find(|line| line.contains(&format!("\"note\":\"{ending}\""))).ok_or("the work did not run")?;
        let line: Value = serde_json::from_str(line)?;
        ensure(line["requestId"] == answer.request_id.as_str(), format!("{line} is not of {}", answer.request_id))?;
    }
    Ok(())
}

async fn late_work() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "late work" })).await;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    let after = stage.traces.find(|document| document.name == "after response");
    ensure(after.len() == 1 && after[0].fault, format!("{after:?}"))?;
    ensure(stage.logged("was not done in its time and is cancelled").len() == 1, "not one line in the log")?;
    ensure(stage.invoke(json!({})).await.result.is_ok() && stage.processes() == 1, "the process did not live")
}

async fn bad_work() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "bad work", "after": "good work" })).await;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    ensure(stage.logged("good work").len() == 1, "the other work did not run")?;
    ensure(stage.logged("work after the response panicked: fuse was lit").len() == 1, "the panic is not in the log")?;
    ensure(stage.invoke(json!({})).await.result.is_ok() && stage.processes() == 1, "the process did not live")
}

async fn killed() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, |function| function.timeout(Duration::from_secs(20))).await?;
    let mut events = stage.function.subscribe();
    let function = stage.function.clone();
    let invocation = tokio::spawn(async move {
        function.invoke(Event { payload: json!({ "do": "hang" }).to_string().into(), ..Event::default() }).await
    });
    events.find(|event| matches!(event.kind, EventKind::EventOut { .. })).await;
    let begun = |traces: &lambda_lifecycle_sandbox::xray::TraceStore| !unfinished(traces).is_empty();
    stage.traces.wait_for(begun, Duration::from_secs(10)).await?;
    let pid = stage.function.pid().ok_or("no process")?;
    ensure(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status()?.success(), "kill failed")?;
    let answer: Answer = invocation.await?;
    ensure(matches!(answer.result, Err(Failure::Exited(_))), format!("{:?}", answer.result))?;
    ensure(unfinished(&stage.traces) == [answer.trace_id], "the invocation is not in its trace, unfinished")
}

/// Traces in which an invocation has begun and not ended.
fn unfinished(traces: &lambda_lifecycle_sandbox::xray::TraceStore) -> Vec<String> {
    let found = traces.find(|document| document.in_progress && document.annotation("trigger").is_some());
    found.iter().map(|document| document.trace_id.clone()).collect()
}
