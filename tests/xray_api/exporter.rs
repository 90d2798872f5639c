//! The delivery of spans to X-Ray's API.

use crate::{
    api::WithApi,
    support::{Tested, ensure, test},
};
use lambda_lifecycle_sandbox::{Event, function::TraceMode, xray::Kind};
use libtest_mimic::Trial;
use serde_json::json;
use std::net::TcpListener;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("spans are one tree below the function's segment, annotated and redacted as the builder says", tree),
        test("a header without a parent makes a segment of the invocation", without_parent),
        test("an invocation that continues a W3C trace stays in Lambda's", continued),
        test("121 documents go in three calls", calls),
        test("unprocessed documents are sent once more", retried),
        test("documents that are unprocessed twice are counted and reported once, the others arrive", unprocessed),
        test("spans beyond the trace's budget are counted, also in the invocation's document", budget),
        test("an absent endpoint is reported once and loses only the spans", absent),
        test("a client without credentials is reported once and loses only the spans", no_credentials),
    ]
}

async fn tree() -> Tested {
    let stage = WithApi::new().await?;
    let answer = stage.make_spans(2).await?;
    stage.is_sound()?;
    let sent = stage.sent();
    let [main, one, two] = sent.as_slice() else { return Err(format!("{sent:?}").into()) };
    let segment = stage.traces.find(|document| document.origin.as_deref() == Some("AWS::Lambda::Function"));
    ensure(main.trace_id == answer.trace_id && main.parent_id.as_deref() == Some(segment[0].id.as_str()), format!("{main:?}"))?;
    ensure(main.annotation("outcome") == Some("responded") && main.aws.contains_key("xray"), format!("{main:?}"))?;
    for step in [one, two] {
        ensure(step.parent_id.as_ref() == Some(&main.id), format!("{step:?}"))?;
        ensure(step.annotation("size") == Some("L") && step.annotation("color").is_none(), format!("{step:?}"))?;
        ensure(step.metadata["default"]["secret"] == "(redacted)", format!("{:?}", step.metadata))?;
    }
    stage.counts_are("sent: 3, left_out: 0, retried: 0, unprocessed: 0, unsent: 0")
}

async fn without_parent() -> Tested {
    let header = TraceMode::Raw("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1".to_owned());
    let stage = WithApi::with(|function, endpoint| function.env("XRAY_ENDPOINT", endpoint).trace_mode(header)).await?;
    stage.make_spans(1).await?;
    stage.is_sound()?;
    let segments = stage.traces.find(|document| document.annotation("trigger").is_some());
    ensure(segments.len() == 1 && segments[0].parent_id.is_none(), format!("{segments:?}"))
}

async fn continued() -> Tested {
    let stage =
        WithApi::with(|function, endpoint| function.env("XRAY_ENDPOINT", endpoint).env("OTEL_PROPAGATORS", "xray,tracecontext"))
            .await?;
    let context = json!({ "w3c": { "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" } }).to_string();
    let event = Event { payload: "{}".into(), client_context: Some(context), ..Event::default() };
    let answer = stage.invoke_event(event).await?;
    stage.rest().await?;
    let document = stage.of_invocation(&answer)?;
    ensure(document.kind == Kind::Subsegment, format!("{document:?}"))?;
    ensure(stage.traces.find(|document| document.trace_id.contains("0af76519")).is_empty(), "a document in the other trace")
}

async fn calls() -> Tested {
    let stage = WithApi::new().await?;
    stage.make_spans(120).await?;
    stage.is_sound()?;
    ensure(stage.api.put_calls() == [50, 50, 21], format!("{:?}", stage.api.put_calls()))?;
    ensure(stage.sent().len() == 121, format!("{} documents", stage.sent().len()))?;
    stage.counts_are("sent: 121,")
}

async fn retried() -> Tested {
    let stage = WithApi::new().await?;
    stage.api.leave_unprocessed(2);
    stage.make_spans(4).await?;
    stage.is_sound()?;
    ensure(stage.api.put_calls() == [5, 2], format!("{:?}", stage.api.put_calls()))?;
    ensure(stage.sent().len() == 5, format!("{:?}", stage.sent()))?;
    ensure(stage.codes().is_empty(), "a warning, though nothing was lost")?;
    stage.counts_are("sent: 5, left_out: 0, retried: 2, unprocessed: 0, unsent: 0")
}

async fn unprocessed() -> Tested {
    let stage = WithApi::new().await?;
    for _ in 0..2 {
        // The first of five, and it again.
        stage.api.leave_unprocessed(7);
        stage.make_spans(5).await?;
    }
    ensure(stage.api.put_calls() == [6, 6, 6, 6], format!("{:?}", stage.api.put_calls()))?;
    let reported = stage.reported_as("code", "xray_api_unprocessed");
    let reason = |line: &serde_json::Value| line["error"].as_str().is_some_and(|error| error.contains("ThrottledException"));
    ensure(reported.len() == 1 && reason(&reported[0]), format!("{reported:?}"))?;
    stage.counts_are("sent: 10, left_out: 0, retried: 12, unprocessed: 2, unsent: 0")?;
    stage.one_process()
}

async fn budget() -> Tested {
    let small = "20000";
    let stage =
        WithApi::with(|function, endpoint| function.env("XRAY_ENDPOINT", endpoint).env("LAMBDA_LIFECYCLE_TRACE_BUDGET", small))
            .await?;
    stage.make_spans(200).await?;
    stage.is_sound()?;
    let sent = stage.sent();
    let main = sent.iter().find(|document| document.annotation("trigger").is_some()).ok_or("no invocation")?;
    let left_out = 201 - sent.len();
    ensure(left_out > 0 && main.metadata["lambda_lifecycle"]["spans_left_out"] == json!(left_out), format!("{main:?}"))?;
    stage.counts_are(&format!("sent: {}, left_out: {left_out},", sent.len()))
}

async fn absent() -> Tested {
    // Bound and released, so no server listens there.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let stage = WithApi::with(|function, _| function.env("XRAY_ENDPOINT", format!("http://{address}"))).await?;
    stage.make_spans(60).await?;
    stage.make_spans(1).await?;
    ensure(stage.codes() == ["xray_api_unreachable"], format!("{:?}", stage.problems()))?;
    stage.counts_are("sent: 0, left_out: 0, retried: 0, unprocessed: 0, unsent: 63")?;
    stage.one_process()
}

async fn no_credentials() -> Tested {
    let stage = WithApi::with(|function, endpoint| function.env("XRAY_ENDPOINT", endpoint).env("NO_CREDENTIALS", "on")).await?;
    stage.make_spans(1).await?;
    stage.make_spans(1).await?;
    ensure(stage.codes() == ["xray_api_not_called"], format!("{:?}", stage.problems()))?;
    stage.counts_are("unsent: 4")?;
    stage.one_process()
}
