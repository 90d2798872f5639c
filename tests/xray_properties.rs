//! Whatever a span holds, its document is valid; whatever a header holds, it can be handed on.

mod xray_support;

use std::time::{Duration, UNIX_EPOCH};

use lambda_lifecycle::xray::{
    DaemonAddress, Document, DocumentOptions, DocumentWriter, Frame, MAX_DOCUMENT, Redaction, TraceHeader,
};
use opentelemetry::{
    Array, InstrumentationScope, KeyValue, Value,
    trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use proptest::{collection::vec, prelude::*};
use xray_support::assert_valid;

/// Keys that mean something beside arbitrary ones.
const KEYS: &[&str] = &[
    "http.request.method",
    "http.method",
    "http.response.status_code",
    "http.status_code",
    "url.full",
    "http.url",
    "url.path",
    "url.query",
    "url.scheme",
    "http.target",
    "http.host",
    "http.scheme",
    "user_agent.original",
    "client.address",
    "network.peer.address",
    "net.peer.ip",
    "server.address",
    "server.port",
    "net.peer.name",
    "net.peer.port",
    "peer.service",
    "rpc.system",
    "rpc.system.name",
    "rpc.service",
    "rpc.method",
    "aws.operation",
    "aws.region",
    "aws.request_id",
    "aws.sqs.queue.url",
    "aws.queue_url",
    "aws.dynamodb.table_names",
    "aws.table_name",
    "aws.s3.bucket",
    "aws.error.code",
    "db.system.name",
    "db.system",
    "db.namespace",
    "db.query.text",
    "db.user",
    "db.connection_string",
    "messaging.system",
    "messaging.destination.name",
    "error.type",
    "exception.type",
    "exception.message",
    "exception.stacktrace",
    "error.chain",
    "user.id",
    "aws.log.group.names",
    "aws.xray.annotations",
    "annotation.a",
    "annotation.b.c",
    "AWS.reserved",
    "AWS.",
    "",
    "http.response.body.size",
    "aws.retries",
    "default",
    "truncated",
];

const VALUES: &[&str] = &[
    "aws-api",
    "SQS",
    "SQS/SendMessage",
    "postgresql",
    "https://u@h:1/p?q#f",
    "://",
    "http://[::1]:8/",
    "500",
    "429",
    "-1",
    "//",
    "ThrottlingException",
    "",
    ".",
    "a&b&&",
    "0: f\n at x:1:2\n 1: g\n",
    "annotation.a",
    "\u{0}\"\\\u{2028}\u{ffff}😀",
    "1e400",
];

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::sample::select(KEYS).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => (0..400_u32).prop_map(|at| format!("annotation.{at}")),
        1 => ("[a-zA-Z.]{1,3}", 1..700_usize).prop_map(|(text, times)| text.repeat(times)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => any::<String>(),
        6 => proptest::sample::select(VALUES).prop_map(str::to_owned),
        2 => (any::<char>(), 0..3_000_usize).prop_map(|(character, times)| character.to_string().repeat(times)),
        1 => (proptest::sample::select(vec!['a', '\u{1}', 'ü', '😀', '"']), 3_000..70_000_usize)
            .prop_map(|(character, times)| character.to_string().repeat(times)),
        1 => (0..300_usize, any::<char>()).prop_map(|(frames, odd)| {
            let frame = |at| format!("{at:4}: shop::{odd}::f{at}\n             at /src/{odd}/lib.rs:{at}:7\n");
            (0..frames).map(frame).collect()
        }),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        2 => any::<i64>().prop_map(Value::from),
        1 => (0..700_i64).prop_map(Value::from),
        2 => any::<f64>().prop_map(Value::from),
        1 => vec(text(), 0..6).prop_map(|texts| Value::Array(Array::String(texts.into_iter().map(Into::into).collect()))),
        1 => vec(any::<f64>(), 0..300).prop_map(|numbers| Value::Array(Array::F64(numbers))),
        1 => vec(any::<i64>(), 0..30).prop_map(|numbers| Value::Array(Array::I64(numbers))),
        1 => vec(any::<bool>(), 0..30).prop_map(|bits| Value::Array(Array::Bool(bits))),
    ]
}

fn attributes(most: usize) -> impl Strategy<Value = Vec<KeyValue>> {
    vec((key(), value()).prop_map(|(key, value)| KeyValue::new(key, value)), 0..most)
}

/// Many and hardly anything else: over the limit, and over the size with nothing but annotations to shed.
fn annotations() -> impl Strategy<Value = Vec<KeyValue>> {
    let value = |most: usize| {
        let character = proptest::sample::select(vec!['a', '\u{1}', '😀']);
        (character, 0..most).prop_map(|(character, times)| character.to_string().repeat(times))
    };
    proptest::sample::select(vec![10, 1_200]).prop_flat_map(move |most| {
        vec((0..90_u32, value(most)).prop_map(|(at, value)| KeyValue::new(format!("annotation.{at}"), value)), 0..160)
    })
}

fn event() -> impl Strategy<Value = Event> {
    let name = prop_oneof![Just("exception".to_owned()), text()];
    (name, any::<u32>(), attributes(6))
        .prop_map(|(name, at, attributes)| Event::new(name, UNIX_EPOCH + Duration::from_secs(u64::from(at)), attributes, 0))
}

fn link() -> impl Strategy<Value = Link> {
    (any::<u128>(), any::<u64>(), attributes(4)).prop_map(|(trace, span, attributes)| {
        let flags = TraceFlags::SAMPLED;
        Link::new(SpanContext::new(TraceId::from(trace), SpanId::from(span), flags, true, TraceState::NONE), attributes, 0)
    })
}

fn time() -> impl Strategy<Value = std::time::SystemTime> {
    let nanos = |nanos: u64| Duration::from_nanos(nanos);
    prop_oneof![
        any::<u64>().prop_map(move |after| UNIX_EPOCH + nanos(after)),
        any::<u32>().prop_map(move |before| UNIX_EPOCH - nanos(u64::from(before))),
    ]
}

fn kind() -> impl Strategy<Value = SpanKind> {
    let kinds = [SpanKind::Client, SpanKind::Server, SpanKind::Producer, SpanKind::Consumer, SpanKind::Internal];
    proptest::sample::select(kinds.to_vec())
}

prop_compose! {
    fn span()(
        ids in (any::<u128>(), prop_oneof![9 => any::<u64>(), 1 => Just(0)], prop_oneof![9 => any::<u64>(), 1 => Just(0)]),
        kind in kind(),
        name in text(),
        start in time(),
        end in time(),
        attributes in prop_oneof![6 => attributes(12), 2 => attributes(160), 1 => annotations()],
        dropped in any::<u32>(),
        events in prop_oneof![Just(Vec::new()), vec(event(), 0..8)],
        links in prop_oneof![Just(Vec::new()), vec(link(), 0..30)],
        status in prop_oneof![Just(Status::Unset), Just(Status::Ok), text().prop_map(Status::error)],
    ) -> SpanData {
        let context = SpanContext::new(TraceId::from(ids.0), SpanId::from(ids.1), TraceFlags::SAMPLED, false, TraceState::NONE);
        let mut span = SpanData {
            span_context: context,
            parent_span_id: SpanId::from(ids.2),
            parent_span_is_remote: false,
            span_kind: kind,
            name: name.into(),
            start_time: start,
            end_time: end,
            attributes,
            dropped_attributes_count: dropped,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: InstrumentationScope::default(),
        };
        span.events.events = events;
        span.links.links = links;
        span
    }
}

fn redactor(key: &str, value: &str) -> Redaction {
    match (key.len() + value.len()) % 4 {
        0 => Redaction::Remove,
        1 => Redaction::Replace("\u{1}replaced\"".repeat(value.len() % 300).into()),
        _ => Redaction::Keep,
    }
}

fn frame(span: &SpanData, choice: u8) -> Frame {
    let frame = Frame::of(span);
    let frame = if choice & 1 == 0 { frame } else { frame.invocation().left_out(u32::from(choice)) };
    let frame = if choice & 2 == 0 { frame } else { frame.in_progress() };
    if choice & 4 == 0 { frame } else { frame.segment() }
}

fn check(bytes: &[u8], written: Document, start: usize) -> Result<(), TestCaseError> {
    let document = &bytes[start..];
    prop_assert_eq!(document.len(), written.len);
    prop_assert!(written.len <= MAX_DOCUMENT, "{} bytes", written.len);
    let parsed: serde_json::Value = serde_json::from_slice(document)
        .map_err(|error| TestCaseError::fail(format!("{error}: {}", String::from_utf8_lossy(document))))?;
    assert_valid(&parsed);
    prop_assert!(parsed.get("end_time").is_some() != (parsed["in_progress"] == true));
    prop_assert!(parsed["end_time"].as_f64().is_none_or(|end| end >= parsed["start_time"].as_f64().unwrap()));
    let reserved =
        |object: &serde_json::Value| object.as_object().is_some_and(|all| all.keys().any(|key| key.starts_with("AWS.")));
    prop_assert!(!reserved(&parsed["metadata"]["default"]));
    prop_assert!(parsed["annotations"].as_object().is_none_or(|all| all.len() <= 50));
    prop_assert!(parsed["links"].as_array().is_none_or(|all| all.len() <= 20));
    prop_assert!(written.report.truncated == 0 || parsed["metadata"]["lambda_lifecycle"]["truncated"].is_array());
    let flags = written.flags;
    for (name, set) in [("fault", flags.fault), ("error", flags.error), ("throttle", flags.throttle)] {
        prop_assert_eq!(parsed[name] == true, set);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_span_becomes_a_valid_document(spans in vec((span(), any::<u8>()), 1..4), redacted in any::<bool>()) {
        let options = DocumentOptions::new().annotations(KEYS.iter().step_by(5).copied()).log_groups(["g"]).sdk("s", "1");
        let options = if redacted { options.redact(redactor) } else { options };
        // One writer and one buffer for all, as in use: nothing of one span may show in the next.
        let (mut writer, mut bytes) = (DocumentWriter::new(options.clone()), Vec::new());
        for (span, choice) in &spans {
            let (start, frame) = (bytes.len(), frame(span, *choice));
            let written = writer.write(span, &frame, &mut bytes);
            check(&bytes, written, start)?;
            let mut alone = Vec::new();
            DocumentWriter::new(options.clone()).write(span, &frame, &mut alone);
            prop_assert_eq!(&bytes[start..], alone);
        }
    }

    #[test]
    fn any_text_is_a_header_that_can_be_handed_on(
        text in prop_oneof![
            any::<String>(),
            "(?s)((Root|Parent|Sampled|Lineage|Self|[a-zA-Z]{0,3})[= ]{0,2}(1-[0-9a-fA-F]{8}-[0-9a-f]{24}|[0-9a-f]{16}|[01?2]|.{0,9});? ?){0,8}",
        ],
    ) {
        let header = TraceHeader::parse(&text);
        let out = header.to_string();
        prop_assert!(out.len() <= 900 && out.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{}", out);
        let again = TraceHeader::parse(&out);
        prop_assert_eq!(again.ignored(), None, "{}", out);
        prop_assert_eq!(again.to_string(), out);
        prop_assert_eq!(
            (again.root(), again.parent(), again.sampled(), again.lineage()),
            (header.root(), header.parent(), header.sampled(), header.lineage())
        );
        if let Some(traceparent) = header.to_traceparent() {
            let back = TraceHeader::from_traceparent(&traceparent).unwrap();
            prop_assert_eq!((back.root(), back.parent()), (header.root(), header.parent()));
        }
        let _ = TraceHeader::from_traceparent(&text);
    }

    #[test]
    fn any_text_is_an_address_or_a_typed_error(text in prop_oneof![any::<String>(), "(udp|tcp)?:?[a-z0-9.:\\[\\]]{0,9}:[0-9]{0,5} ?"]) {
        if let Ok(address) = DaemonAddress::parse(&text) {
            let again = DaemonAddress::parse(&address.to_string()).unwrap();
            prop_assert_eq!(again, address);
        }
    }
}
