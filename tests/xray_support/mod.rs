//! Shared by the X-Ray tests: spans by hand, documents as JSON, the official schema.
#![allow(dead_code, clippy::pedantic)]

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lambda_lifecycle::xray::{Document, DocumentOptions, DocumentWriter, Frame};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use serde_json::Value;

pub(crate) const TRACE: u128 = 0x581c_f771_a006_6491_27e3_7190_3a2d_e979;

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = include_str!("../vectors/xray-segmentdocument-schema-v1.0.0.json");
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
});

/// Fails with the schema's complaint and the document.
pub(crate) fn assert_valid(document: &Value) {
    if let Err(error) = SCHEMA.validate(document) {
        panic!("{error} at {} in {document:#}", error.instance_path());
    }
}

pub(crate) fn schema_complaint(document: &Value) -> Option<String> {
    SCHEMA.validate(document).err().map(|error| format!("{error} at {}", error.instance_path()))
}

pub(crate) fn millis(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

/// A local span of 178 ms below another one.
pub(crate) fn span(name: &str) -> SpanData {
    SpanData {
        span_context: context(TRACE, 0x5399_5c3f_42cd_8ad8),
        parent_span_id: SpanId::from(0xdefd_fd99_12dc_5a56),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: name.to_owned().into(),
        start_time: millis(1_478_293_361_271),
        end_time: millis(1_478_293_361_449),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

pub(crate) fn span_of(kind: SpanKind, attributes: impl IntoIterator<Item = KeyValue>) -> SpanData {
    SpanData { span_kind: kind, attributes: attributes.into_iter().collect(), ..span("call") }
}

pub(crate) fn context(trace: u128, id: u64) -> SpanContext {
    SpanContext::new(TraceId::from(trace), SpanId::from(id), TraceFlags::SAMPLED, true, TraceState::NONE)
}

pub(crate) fn link(trace: u128, id: u64, attributes: Vec<KeyValue>) -> Link {
    Link::new(context(trace, id), attributes, 0)
}

pub(crate) fn with_links(mut span: SpanData, links: Vec<Link>) -> SpanData {
    span.links.links = links;
    span
}

pub(crate) fn with_events(mut span: SpanData, events: Vec<Event>) -> SpanData {
    span.events.events = events;
    span
}

pub(crate) fn exception(attributes: Vec<KeyValue>) -> Event {
    Event::new("exception", millis(1_478_293_361_300), attributes, 0)
}

/// Writes a document, checks it against the schema, and gives it back as JSON.
pub(crate) fn translate_with(options: DocumentOptions, span: &SpanData, frame: &Frame) -> (Value, Document) {
    let mut bytes = Vec::new();
    let document = DocumentWriter::new(options).write(span, frame, &mut bytes);
    assert_eq!(document.len, bytes.len());
    let json = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&bytes)));
    assert_valid(&json);
    (json, document)
}

pub(crate) fn translate(span: &SpanData) -> Value {
    translate_with(DocumentOptions::new(), span, &Frame::of(span)).0
}
