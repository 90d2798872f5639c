//! `RUSTC_BOOTSTRAP=1 cargo fuzz run document`: any span has a document that is JSON and fits.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use arbitrary::{Result, Unstructured};
use lambda_lifecycle::xray::{DocumentOptions, DocumentWriter, Frame, MAX_DOCUMENT, Redaction};
use libfuzzer_sys::fuzz_target;
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, Value,
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// One key for every field of a document, beside arbitrary ones.
const KEYS: &[&str] = &[
    "http.request.method", "http.response.status_code", "url.full", "url.path", "url.query", "http.target", "http.host",
    "user_agent.original", "client.address", "net.peer.ip", "server.address", "server.port", "peer.service", "rpc.system",
    "rpc.service", "rpc.method", "aws.operation", "aws.request_id", "aws.sqs.queue.url", "aws.dynamodb.table_names",
    "aws.error.code", "db.system", "db.namespace", "db.query.text", "messaging.destination.name", "error.type",
    "exception.type", "exception.message", "exception.stacktrace", "error.chain", "user.id", "aws.log.group.names",
    "aws.xray.annotations", "annotation.a", "http.response.body.size", "aws.retries", "chosen.key",
];

fn text(bytes: &mut Unstructured) -> Result<String> {
    let text: &str = bytes.arbitrary()?;
    let times = if bytes.ratio(1, 8)? { bytes.int_in_range(0..=2_000)? } else { 1 };
    Ok(if text.len() * times > 200_000 { text.to_owned() } else { text.repeat(times) })
}

fn texts(bytes: &mut Unstructured) -> Result<Vec<opentelemetry::StringValue>> {
    (0..bytes.int_in_range(0..=5)?).map(|_| text(bytes).map(Into::into)).collect()
}

fn value(bytes: &mut Unstructured) -> Result<Value> {
    Ok(match bytes.int_in_range(0..=8)? {
        0 => Value::Bool(bytes.arbitrary()?),
        1 => Value::I64(bytes.arbitrary()?),
        2 => Value::F64(bytes.arbitrary()?),
        3 => Value::Array(Array::String(texts(bytes)?)),
        4 => Value::Array(Array::F64(bytes.arbitrary()?)),
        5 => Value::String("aws-api".into()),
        _ => Value::from(text(bytes)?),
    })
}

fn attributes(bytes: &mut Unstructured, most: usize) -> Result<Vec<KeyValue>> {
    let pair = |bytes: &mut Unstructured| {
        let key = if bytes.ratio(1, 4)? { text(bytes)? } else { (*bytes.choose(KEYS)?).to_owned() };
        Ok(KeyValue::new(key, value(bytes)?))
    };
    (0..bytes.int_in_range(0..=most)?).map(|_| pair(bytes)).collect()
}

fn context(bytes: &mut Unstructured) -> Result<SpanContext> {
    let (trace, span): (u128, u64) = bytes.arbitrary()?;
    Ok(SpanContext::new(TraceId::from(trace), SpanId::from(span), TraceFlags::SAMPLED, false, TraceState::NONE))
}

fn span(bytes: &mut Unstructured) -> Result<SpanData> {
    let kinds = [SpanKind::Client, SpanKind::Server, SpanKind::Producer, SpanKind::Consumer, SpanKind::Internal];
    let time = |nanos| UNIX_EPOCH + Duration::from_nanos(nanos);
    let mut span = SpanData {
        span_context: context(bytes)?,
        parent_span_id: SpanId::from(bytes.arbitrary::<u64>()?),
        parent_span_is_remote: false,
        span_kind: bytes.choose(&kinds)?.clone(),
        name: text(bytes)?.into(),
        start_time: time(bytes.arbitrary()?),
        end_time: time(bytes.arbitrary()?),
        attributes: attributes(bytes, 80)?,
        dropped_attributes_count: bytes.arbitrary()?,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if bytes.arbitrary()? { Status::error(text(bytes)?) } else { Status::Unset },
        instrumentation_scope: InstrumentationScope::default(),
    };
    for _ in 0..bytes.int_in_range(0..=6)? {
        let name = if bytes.arbitrary()? { "exception".to_owned() } else { text(bytes)? };
        span.events.events.push(Event::new(name, time(bytes.arbitrary()?), attributes(bytes, 6)?, 0));
    }
    for _ in 0..bytes.int_in_range(0..=25)? {
        span.links.links.push(Link::new(context(bytes)?, attributes(bytes, 3)?, 0));
    }
    Ok(span)
}

fn redact(key: &str, value: &str) -> Redaction {
    match (key.len() + value.len()) % 4 {
        0 => Redaction::Remove,
        1 => Redaction::Replace("\u{1}\"".repeat(value.len() % 300).into()),
        _ => Redaction::Keep,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = Unstructured::new(bytes);
    let Ok((redacted, choice)) = bytes.arbitrary::<(bool, u8)>() else { return };
    let Ok(span) = span(&mut bytes) else { return };
    let options = DocumentOptions::new().annotations(["chosen.key", "url.full"]).log_groups(["group"]).sdk("s", "1");
    let options = if redacted { options.redact(redact) } else { options };
    let frame = Frame::of(&span);
    let frame = if choice & 1 == 0 { frame } else { frame.invocation().left_out(u32::from(choice)) };
    let frame = if choice & 2 == 0 { frame } else { frame.in_progress() };
    let mut out = Vec::new();
    let written = DocumentWriter::new(options).write(&span, &frame, &mut out);
    assert!(written.len == out.len() && out.len() <= MAX_DOCUMENT);
    let document: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    let name = document["name"].as_str().expect("a name").chars().count();
    assert!((1..=200).contains(&name));
    assert!(document["annotations"].as_object().is_none_or(|all| all.len() <= 50));
});
