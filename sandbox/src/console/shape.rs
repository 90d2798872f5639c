//! The records as the page receives them. Times are milliseconds since the epoch.

use crate::{
    Failure,
    function::{
        EventKind, LogLine, Output, TimelineEvent,
        calls::{Call, Step},
        settings::Settings,
    },
    sqs::{MessageEvent, MessageEventKind},
    xray::{Cause, Document, Kind, Source},
};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn ms(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e3
}

fn duration_ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Adds fields to an object, those with a value only.
fn with(mut object: Value, fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    if let Some(object) = object.as_object_mut() {
        let is_there = |value: &Value| match value {
            Value::Null | Value::Bool(false) => false,
            Value::Array(values) => !values.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => true,
        };
        object.extend(fields.into_iter().filter(|(_, value)| is_there(value)).map(|(key, value)| (key.to_owned(), value)));
    }
    object
}

pub(super) fn function(settings: &Settings) -> Value {
    json!({
        "name": settings.name,
        "arn": settings.arn(),
        "timeout": duration_ms(settings.timeout),
        "memory": settings.memory_mb,
        "managed": settings.managed,
        "concurrency": settings.concurrency,
        "environments": settings.max_environments,
        "initialization": settings.initialization_type(),
    })
}

pub(super) fn document(document: &Document) -> Value {
    let cause = match &document.cause {
        Some(Cause::Exception(id)) => json!(id),
        Some(Cause::Exceptions(_)) => document.raw["cause"]["exceptions"].clone(),
        None => Value::Null,
    };
    let links = document.links.iter().map(|link| json!({ "trace": link.trace_id, "id": link.id, "attributes": link.attributes }));
    let base = json!({
        "trace": document.trace_id,
        "id": document.id,
        "name": document.name,
        "start": document.start * 1e3,
    });
    let fields = [
        ("parent", json!(document.parent_id)),
        ("end", json!(document.end.map(|end| end * 1e3))),
        ("segment", json!(document.kind == Kind::Segment)),
        ("open", json!(document.in_progress)),
        ("fault", json!(document.fault)),
        ("error", json!(document.error)),
        ("throttle", json!(document.throttle)),
        ("namespace", json!(document.namespace)),
        ("origin", json!(document.origin)),
        ("platform", json!(document.source == Source::Platform)),
        ("annotations", Value::Object(document.annotations.clone())),
        ("metadata", Value::Object(document.metadata.clone())),
        ("aws", Value::Object(document.aws.clone())),
        ("http", document.raw.get("http").cloned().unwrap_or_default()),
        ("sql", document.raw.get("sql").cloned().unwrap_or_default()),
        ("links", Value::Array(links.collect())),
        ("cause", cause),
        ("bytes", json!((document.size > 0).then_some(document.size))),
        ("warnings", json!(document.warnings)),
    ];
    with(base, fields)
}

pub(super) fn event(function: &str, event: &TimelineEvent) -> Value {
    let base =
        json!({ "function": function, "at": ms(event.at), "environment": event.environment, "text": event.kind.to_string() });
    let (kind, more): (&str, Vec<(&'static str, Value)>) = match &event.kind {
        EventKind::Spawned { pid, suppressed } => ("spawned", vec![("pid", json!(pid)), ("suppressed", json!(suppressed))]),
        EventKind::InitDone { took } => ("init_done", vec![("took", json!(duration_ms(*took)))]),
        EventKind::InitError { .. } => ("init_error", vec![]),
        EventKind::InitTimedOut => ("init_timed_out", vec![]),
        EventKind::RestoreNextCalled => ("snapshot", vec![]),
        EventKind::Restored => ("restored", vec![]),
        EventKind::RestoreError { .. } => ("restore_error", vec![]),
        EventKind::Thawed => ("thawed", vec![]),
        EventKind::EventOut { deadline } => ("event_out", vec![("deadline", json!(ms(*deadline)))]),
        EventKind::StreamStarted => ("stream_started", vec![]),
        EventKind::StreamEnded { .. } => ("stream_ended", vec![]),
        EventKind::ResponseIn { status, error, bytes } => {
            ("response", vec![("status", json!(status)), ("error", json!(error)), ("bytes", json!(bytes))])
        }
        EventKind::NextCalled => ("next", vec![]),
        EventKind::Frozen => ("frozen", vec![]),
        EventKind::TimedOut => ("timed_out", vec![]),
        EventKind::Sigterm => ("sigterm", vec![]),
        EventKind::Killed => ("killed", vec![]),
        EventKind::OutOfMemory => ("out_of_memory", vec![]),
        EventKind::Exited { .. } => ("exited", vec![]),
        EventKind::ExtensionRegistered { .. } | EventKind::ExtensionNextCalled { .. } => ("extension", vec![]),
        EventKind::CpuLimited { .. } => ("cpu_limited", vec![]),
    };
    let common = [("request", json!(event.request_id)), ("kind", json!(kind))];
    with(base, common.into_iter().chain(more))
}

/// A line of JSON is taken apart: its ids, its level and message, and the other fields.
pub(super) fn line(function: &str, line: &LogLine) -> Value {
    let output = match line.output {
        Output::Stdout => "stdout",
        Output::Stderr => "stderr",
        Output::Platform => "platform",
    };
    let base = json!({ "function": function, "at": ms(line.at), "environment": line.environment, "output": output });
    let text = [("text", json!(line.text))];
    let parsed = line.text.starts_with('{').then(|| serde_json::from_str::<Map<String, Value>>(&line.text).ok()).flatten();
    let Some(mut fields) = parsed else {
        let word = |key: &str| ending(&line.text, key).map_or(Value::Null, |value| json!(value));
        let ids = [("request", word("requestId=")), ("trace", word("traceId=")), ("span", word("spanId="))];
        return with(base, text.into_iter().chain(ids));
    };
    let mut take = |key: &str| fields.remove(key).unwrap_or_default();
    let known = [
        ("request", take("requestId")),
        ("trace", take("traceId")),
        ("span", take("spanId")),
        ("level", take("level")),
        ("message", take("message")),
        ("target", take("target")),
        ("timestamp", take("timestamp")),
    ];
    let base = with(base, known);
    if line.output == Output::Platform {
        let (kind, record) = (take("type"), take("record"));
        let request = record["requestId"].clone();
        return with(base, [("request", request), ("message", kind), ("fields", record), ("text", json!(line.text))]);
    }
    with(base, [("fields", Value::Object(fields)), ("text", json!(line.text))])
}

/// The value after `key` in a line of text, where the library puts its ids.
fn ending<'l>(line: &'l str, key: &str) -> Option<&'l str> {
    let at = line.rfind(key)?;
    line.get(at + key.len()..)?.split_whitespace().next()
}

pub(super) fn call(function: &str, call: &Call) -> Value {
    let base = json!({ "function": function, "at": ms(call.at), "request": call.request_id, "trace": call.trace_id });
    match &call.step {
        Step::Received { bytes, sampled } => {
            with(base, [("step", json!("received")), ("bytes", json!(bytes)), ("sampled", json!(sampled))])
        }
        Step::Responded { bytes, streamed, start } => with(
            base,
            [("step", json!("responded")), ("bytes", json!(bytes)), ("streamed", json!(streamed)), ("response", json!(start))],
        ),
        Step::Failed { failure } => {
            let kind = match failure {
                Failure::Function { error_type, .. } => error_type.as_str(),
                Failure::TimedOut { .. } => "Sandbox.Timedout",
                Failure::Exited(_) => "Runtime.ExitError",
                Failure::OutOfMemory { .. } => "Runtime.OutOfMemory",
                Failure::Throttled => "TooManyRequestsException",
                Failure::TooLarge => "Function.ResponseSizeTooLarge",
            };
            with(base, [("step", json!("failed")), ("error", json!(kind)), ("response", json!(failure.to_string()))])
        }
    }
}

pub(super) fn message(event: &MessageEvent) -> Value {
    let base = json!({ "at": ms(event.at), "queue": event.queue, "message": event.message });
    match &event.kind {
        MessageEventKind::Sent { body, bytes, group, trace_header, visible_at } => with(
            base,
            [
                ("kind", json!("sent")),
                ("body", json!(body)),
                ("bytes", json!(bytes)),
                ("group", json!(group)),
                ("header", json!(trace_header)),
                ("visible", json!(ms(*visible_at))),
            ],
        ),
        MessageEventKind::Received { count, visible_at } => {
            with(base, [("kind", json!("received")), ("count", json!(count)), ("visible", json!(ms(*visible_at)))])
        }
        MessageEventKind::Visible { at } => with(base, [("kind", json!("visible")), ("visible", json!(ms(*at)))]),
        MessageEventKind::Deleted => with(base, [("kind", json!("deleted"))]),
        MessageEventKind::Dead { to } => with(base, [("kind", json!("dead")), ("to", json!(to))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(text: &str) -> Value {
        let at = UNIX_EPOCH + Duration::from_millis(7);
        line("f", &LogLine { at, environment: 1, output: Output::Stdout, text: text.to_owned() })
    }

    #[test]
    fn a_line_of_json_is_taken_apart() {
        let line = logged(r#"{"level":"INFO","message":"placed","requestId":"r","traceId":"t","spanId":"s","sku":"tea"}"#);
        assert_eq!((&line["request"], &line["trace"], &line["span"]), (&json!("r"), &json!("t"), &json!("s")));
        assert_eq!(
            (&line["level"], &line["message"], &line["fields"]),
            (&json!("INFO"), &json!("placed"), &json!({"sku": "tea"}))
        );
    }

    #[test]
    fn a_line_of_text_is_kept_with_its_ids() {
        let line = logged("INFO  orders: placed requestId=r traceId=t spanId=s");
        assert_eq!((&line["request"], &line["trace"], &line["span"]), (&json!("r"), &json!("t"), &json!("s")));
        let line = logged("{ no JSON");
        assert_eq!((&line["text"], &line["request"]), (&json!("{ no JSON"), &Value::Null));
    }
}
