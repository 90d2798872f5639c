//! The cases that other projects' tests assert, read from `vectors/vectors.json`.

mod xray_support;

use std::{collections::HashMap, sync::LazyLock};

use lambda_lifecycle::xray::{DaemonAddress, DocumentOptions, Frame, Propagator, Sampled, TraceHeader};
use opentelemetry::{
    Array, KeyValue,
    propagation::TextMapPropagator,
    trace::{SpanId, SpanKind, Status, TraceId},
};
use serde_json::{Value, json};
use xray_support::{exception, link, schema_complaint, span, span_of, translate, translate_with, with_events, with_links};

static VECTORS: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("vectors/vectors.json")).unwrap());

fn cases(group: &str) -> &'static [Value] {
    let cases = VECTORS[group].as_array().unwrap();
    assert!(!cases.is_empty(), "{group} has cases");
    cases
}

fn sampled(text: &Value) -> Sampled {
    match text.as_str() {
        Some("1") => Sampled::Yes,
        Some("0") => Sampled::No,
        _ => Sampled::Unknown,
    }
}

fn attribute((key, value): (&String, &Value)) -> KeyValue {
    let key = key.clone();
    match value {
        Value::String(text) => KeyValue::new(key, text.clone()),
        Value::Number(number) => KeyValue::new(key, number.as_i64().unwrap()),
        Value::Array(texts) => {
            let texts = texts.iter().map(|text| text.as_str().unwrap().to_owned().into()).collect();
            KeyValue::new(key, opentelemetry::Value::Array(Array::String(texts)))
        }
        other => panic!("no attribute: {other}"),
    }
}

fn attributes(case: &Value) -> Vec<KeyValue> {
    case["attrs"].as_object().unwrap().iter().map(attribute).collect()
}

fn kind(case: &Value) -> SpanKind {
    match case["kind"].as_str() {
        Some("client") => SpanKind::Client,
        Some("server") => SpanKind::Server,
        Some("producer") => SpanKind::Producer,
        _ => SpanKind::Internal,
    }
}

#[test]
fn headers_parse_as_in_the_sdks() {
    for case in cases("header_parse") {
        let text = case["in"].as_str().unwrap();
        let header = TraceHeader::parse(text);
        let out = header.to_string();
        if let Some(root) = case.get("root") {
            let root = root.as_str();
            let expected = root.map(|root| TraceId::from_hex(&root[2..].replace('-', "")).unwrap());
            assert_eq!(header.root(), expected, "{text}");
            assert!(root.is_none_or(|root| out.contains(&format!("Root={root}"))), "{out}");
        }
        if let Some(parent) = case.get("parent") {
            assert_eq!(header.parent(), parent.as_str().map(|id| SpanId::from_hex(id).unwrap()), "{text}");
        }
        if case.get("parent_raw").is_some() {
            // AWS's Go SDK keeps the text. A Parent that is not an id is useless, so the library drops the field and reports it.
            assert_eq!((header.parent(), header.ignored()), (None, Some("a malformed Parent")));
        }
        if let Some(expected) = case.get("sampled") {
            assert_eq!(header.sampled(), sampled(expected), "{text}");
            let written = expected.as_str().map(|sampled| format!("Sampled={sampled}"));
            assert_eq!(out.contains("Sampled="), written.is_some(), "{out}");
            assert!(written.is_none_or(|written| out.contains(&written)), "{out}");
        }
        if let Some(lineage) = case.get("lineage") {
            assert_eq!(header.lineage(), lineage.as_str());
        }
        for (key, value) in case["extra"].as_object().into_iter().flatten() {
            assert!(out.ends_with(&format!(";{key}={}", value.as_str().unwrap())), "{out}");
        }
        assert!(!out.contains("Self"), "{out}");
        let again = TraceHeader::parse(&out);
        assert_eq!(again.to_string(), out, "emission is a fixed point");
    }
}

#[test]
fn an_invalid_sampled_is_unknown_and_keeps_the_ids_as_in_the_sdks() {
    let case = cases("header_parse").iter().find(|case| case["src"] == "java_prop").unwrap();
    let header = TraceHeader::parse(case["in"].as_str().unwrap());
    assert_eq!(header.sampled(), Sampled::Unknown);
    assert!(header.root().is_some() && header.parent().is_some() && header.ignored().is_some());
    assert!(!header.to_string().contains("Sampled"), "{header}");
}

#[test]
fn lineage_is_opaque_so_valid_and_invalid_ones_travel_unchanged() {
    let lineages = ["valid", "invalid"].into_iter().flat_map(|list| VECTORS["lineage_v2"][list].as_array().unwrap());
    for lineage in lineages.map(|lineage| lineage.as_str().unwrap()) {
        let text = format!("Root=1-66abd797-167a78c02dcfeb4551890716;Parent=ad075ec25766d3f9;Sampled=1;Lineage={lineage}");
        let incoming = HashMap::from([("x-amzn-trace-id".to_owned(), text)]);
        let mut outgoing = HashMap::new();
        Propagator.inject_context(&Propagator.extract(&incoming), &mut outgoing);
        assert_eq!(incoming, outgoing);
    }
}

#[test]
fn a_message_is_sampled_only_if_its_header_says_so() {
    for case in cases("sqs_is_sampled") {
        let header = TraceHeader::parse(case["AWSTraceHeader"].as_str().unwrap());
        assert_eq!(json!(header.sampled() == Sampled::Yes), case["sampled"], "{case}");
        assert!(header.root().is_some(), "{case}");
    }
}

#[test]
fn daemon_addresses_are_read_as_in_the_sdks() {
    for case in cases("daemon_address") {
        let text = case["in"].as_str().unwrap();
        let parsed = DaemonAddress::parse(text);
        if text.starts_with("udp:") && case["error"] == true {
            // An error in Node; the note of the vector asks for leniency.
            assert_eq!(parsed.unwrap().udp(), "127.0.0.1:2000");
        } else if case["error"] == true {
            let message = parsed.unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("host:port"), "{message}");
        } else {
            let address = parsed.unwrap();
            assert_eq!(json!([address.udp(), address.tcp()]), json!([case["udp"], case["tcp"]]));
        }
    }
}

#[test]
fn a_header_that_no_client_would_take_is_not_injected() {
    // smithy's case percent-encodes such a variable; ours parses it, finds no field, and has nothing to send.
    let case = cases("sdk_header_injection").iter().find(|case| case["after"].is_string()).unwrap();
    let header = TraceHeader::parse(case["env"]["_X_AMZN_TRACE_ID"].as_str().unwrap());
    assert!(header.is_empty() && header.ignored().is_some());
    assert_eq!(header.to_string(), "");
}

#[test]
fn names_keep_what_is_allowed() {
    for case in cases("segment_name") {
        assert_eq!(translate(&span(case["in"].as_str().unwrap()))["name"], case["out"]);
    }
}

#[test]
fn annotation_keys_are_made_fit() {
    for case in cases("annotation_key") {
        let key = case["in"].as_str().unwrap();
        let options = DocumentOptions::new().annotations([key]);
        let span = span_of(SpanKind::Internal, [KeyValue::new(key, "v")]);
        let document = translate_with(options, &span, &Frame::of(&span)).0;
        assert_eq!(document["annotations"], json!({ case["out"].as_str().unwrap(): "v" }));
    }
}

#[test]
fn flags_follow_the_http_status_then_the_spans_own() {
    for case in cases("status_to_flags") {
        let status = case["http"].as_i64().map(|status| KeyValue::new("http.response.status_code", status));
        let mut span = span_of(SpanKind::Client, status);
        if case["status"] == "Error" {
            span.status = Status::error("");
        }
        if case["exception_event"] == true {
            let attributes = vec![KeyValue::new("exception.type", "Oops"), KeyValue::new("exception.message", "boom")];
            span = with_events(span, vec![exception(attributes)]);
        }
        let document = translate(&span);
        for flag in ["fault", "error", "throttle"] {
            if let Some(expected) = case.get(flag) {
                assert_eq!(document.get(flag).unwrap_or(&json!(false)), expected, "{flag} of {case}");
            }
        }
        if let Some(number) = case["cause_exceptions"].as_u64() {
            assert_eq!(document["cause"]["exceptions"].as_array().unwrap().len() as u64, number);
        }
        if case.get("cause") == Some(&Value::Null) {
            assert_eq!(document["cause"], Value::Null);
        }
    }
}

#[test]
fn http_blocks_have_url_and_client_of_both_generations() {
    for case in cases("http_url") {
        let request = &translate(&span_of(kind(case), attributes(case)))["http"]["request"];
        for field in ["url", "client_ip", "x_forwarded_for"] {
            if let Some(expected) = case.get(field) {
                assert_eq!(&request[field], expected, "{field} of {case}");
            }
        }
    }
}

#[test]
fn aws_blocks_have_the_names_that_the_console_reads() {
    for case in cases("aws") {
        let document = translate(&span_of(kind(case), attributes(case)));
        assert_eq!(document["aws"], case["aws"], "{case}");
        for field in ["name", "namespace"] {
            if let Some(expected) = case.get(field) {
                assert_eq!(&document[field], expected, "{case}");
            }
        }
    }
}

#[test]
fn log_groups_are_named_once_each() {
    for case in cases("cloudwatch_logs") {
        let groups = case["resource"]["aws.log.group.names"].as_str().unwrap();
        let span = span("invocation");
        let options = DocumentOptions::new().log_groups(groups.split('&'));
        let document = translate_with(options, &span, &Frame::of(&span).invocation()).0;
        assert_eq!(document["aws"]["cloudwatch_logs"], case["aws.cloudwatch_logs"]);
        let spans_own = span_of(SpanKind::Internal, [KeyValue::new("aws.log.group.names", groups.to_owned())]);
        assert_eq!(translate(&spans_own)["aws"]["cloudwatch_logs"], case["aws.cloudwatch_logs"]);
    }
}

#[test]
fn links_are_written_as_services_write_them() {
    for case in cases("links") {
        let out = &case["out"];
        let trace = out["trace_id"].as_str().unwrap()[2..].replace('-', "");
        let trace = u128::from_str_radix(&trace, 16).unwrap();
        let id = u64::from_str_radix(out["id"].as_str().unwrap(), 16).unwrap();
        let attributes = out["attributes"].as_object().into_iter().flatten().map(|(key, value)| match value.as_f64() {
            Some(number) => KeyValue::new(key.clone(), number),
            None => attribute((key, value)),
        });
        let span = with_links(span("send"), vec![link(trace, id, attributes.collect())]);
        assert_eq!(translate(&span)["links"], json!([out]));
    }
}

#[test]
fn segments_and_subsegments_are_told_apart() {
    for case in cases("segment_vs_subsegment") {
        let mut span = span_of(kind(case), []);
        let parent = span.parent_span_id;
        if case["parent"] == "absent" {
            span.parent_span_id = SpanId::INVALID;
        }
        let frame = match case["lambda"].as_bool() {
            Some(true) => Frame::under(span.span_context.trace_id(), parent),
            // A server span with a parent is a segment or a subsegment, depending on where it runs, which the caller states.
            _ if case["kind"] == "server" => Frame::of(&span).segment(),
            _ => Frame::of(&span),
        };
        let document = translate_with(DocumentOptions::new(), &span, &frame).0;
        assert_eq!(document["type"], case["type"], "{case}");
        assert_eq!(document.get("parent_id").is_some(), case["parent"] != "absent");
    }
}

/// The recorded documents are other programs' output. They show that the schema the other tests lean on does judge.
#[test]
fn the_schema_judges_recorded_documents_as_x_ray_did() {
    for text in [
        include_str!("vectors/indepSubsegment.txt"),
        include_str!("vectors/minInProgress.txt"),
        include_str!("vectors/serverSample.txt"),
        include_str!("vectors/awsValidAwsFields.txt"),
    ] {
        let document = serde_json::from_str(text).unwrap();
        assert_eq!(schema_complaint(&document), None);
    }
    let dotted_annotation = serde_json::from_str(include_str!("vectors/ddbSample.txt")).unwrap();
    assert!(schema_complaint(&dotted_annotation).is_some(), "dots in annotation keys are against the schema");
    let links: Value = serde_json::from_str(include_str!("vectors/traceWithLinks01.json")).unwrap();
    for segment in links["Segments"].as_array().unwrap() {
        assert_eq!(schema_complaint(segment), None);
    }
}

/// A span with the facts of AWS's recorded document gives that document.
#[test]
fn a_recorded_subsegment_is_reproduced() {
    let mut expected: Value = serde_json::from_str(include_str!("vectors/indepSubsegment.txt")).unwrap();
    expected.as_object_mut().unwrap().remove("traced");
    let span = span_of(
        SpanKind::Client,
        [
            KeyValue::new("server.address", "api.example.com"),
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("url.full", "https://api.example.com/health"),
            KeyValue::new("http.response.status_code", 200),
            KeyValue::new("http.response.body.size", 861),
        ],
    );
    let mut document = translate(&span);
    let metadata = document.as_object_mut().unwrap().remove("metadata").unwrap();
    assert_eq!(document, expected);
    assert_eq!(metadata, json!({"otel": {"name": "call"}}));
}

#[test]
fn a_recorded_in_progress_document_is_reproduced() {
    let mut expected: Value = serde_json::from_str(include_str!("vectors/minInProgress.txt")).unwrap();
    expected.as_object_mut().unwrap().remove("Dummy");
    let mut span = span("LongOperation");
    span.span_context = xray_support::context(0x5f18_7253_6a10_6696_d56b_1f4e_f9eb_a2ed, 0x5cc4_a447_f5d4_d696);
    span.parent_span_id = SpanId::INVALID;
    span.start_time = std::time::UNIX_EPOCH + std::time::Duration::from_micros(1_595_437_651_680_097);
    let document = translate_with(DocumentOptions::new(), &span, &Frame::of(&span).in_progress()).0;
    assert_eq!(document, expected);
}
