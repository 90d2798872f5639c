//! OTLP in datagrams to the daemon, as AWS's distributions of OpenTelemetry send it: `T1S` or `T1U`, then base64 of an
//! `ExportTraceServiceRequest`.

use super::Link;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as AnyKind},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use serde_json::{Map, Value, json};

/// A span that came as OTLP. Times are seconds since the epoch.
#[derive(Clone, Debug)]
pub struct OtlpSpan {
    /// It came as `T1S`: its trace is sampled. Otherwise it came as `T1U`.
    pub sampled: bool,
    /// The trace in X-Ray's form, as in `1-5759e988-bd862e3fe1be46a994272793`.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub id: String,
    /// `None` of a root.
    pub parent_id: Option<String>,
    /// Its name.
    pub name: String,
    /// Its kind, as in `SERVER`.
    pub kind: String,
    /// When it began.
    pub start: f64,
    /// When it ended.
    pub end: f64,
    /// Its attributes.
    pub attributes: Map<String, Value>,
    /// How many attributes its sender left out.
    pub dropped_attributes: u32,
    /// Its events.
    pub events: Vec<OtlpEvent>,
    /// How many events its sender left out.
    pub dropped_events: u32,
    /// Its links.
    pub links: Vec<Link>,
    /// How many links its sender left out.
    pub dropped_links: u32,
    /// The description of its status, if that is an error.
    pub error: Option<String>,
    /// W3C's trace flags.
    pub trace_flags: u8,
    /// The name of its instrumentation scope.
    pub scope: String,
    /// The attributes of its resource.
    pub resource: Map<String, Value>,
}

/// An event of an [`OtlpSpan`].
#[derive(Clone, Debug)]
pub struct OtlpEvent {
    /// Its name.
    pub name: String,
    /// Its attributes.
    pub attributes: Map<String, Value>,
}

/// The spans of a datagram without its header line; `None` where it is no OTLP.
pub(super) fn spans(body: &[u8]) -> Option<Result<Vec<OtlpSpan>, Vec<String>>> {
    let (sampled, text) = match (body.strip_prefix(b"T1S"), body.strip_prefix(b"T1U")) {
        (Some(text), _) => (true, text),
        (_, Some(text)) => (false, text),
        _ => return None,
    };
    Some(decode(sampled, text))
}

fn decode(sampled: bool, text: &[u8]) -> Result<Vec<OtlpSpan>, Vec<String>> {
    let message = STANDARD.decode(text).map_err(|error| vec![format!("OTLP that is not base64: {error}")])?;
    let request = ExportTraceServiceRequest::decode(&*message)
        .map_err(|error| vec![format!("OTLP that is not an ExportTraceServiceRequest: {error}")])?;
    let (mut spans, mut reasons) = (Vec::new(), Vec::new());
    for of_resource in request.resource_spans {
        let resource = attributes(of_resource.resource.map(|resource| resource.attributes).unwrap_or_default());
        for of_scope in of_resource.scope_spans {
            let scope = of_scope.scope.map(|scope| scope.name).unwrap_or_default();
            for span in of_scope.spans {
                reasons.extend(faults(&span).map(|fault| format!("OTLP: the span `{}` {fault}", span.name)));
                spans.push(OtlpSpan::read(span, sampled, scope.clone(), resource.clone()));
            }
        }
    }
    if spans.is_empty() {
        reasons.push("OTLP without a span".to_owned());
    }
    if reasons.is_empty() { Ok(spans) } else { Err(reasons) }
}

fn faults(span: &Span) -> impl Iterator<Item = &'static str> + use<> {
    let is_id = |bytes: &[u8], length: usize| bytes.len() == length && bytes.iter().any(|byte| *byte != 0);
    let checks = [
        (is_id(&span.trace_id, 16), "has an invalid trace id"),
        (is_id(&span.span_id, 8), "has an invalid id"),
        (span.parent_span_id.is_empty() || is_id(&span.parent_span_id, 8), "has an invalid parent"),
        (!span.name.is_empty(), "has no name"),
        (span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0, "has no duration"),
    ];
    checks.into_iter().filter(|(is_right, _)| !is_right).map(|(_, fault)| fault)
}

impl OtlpSpan {
    fn read(span: Span, sampled: bool, scope: String, resource: Map<String, Value>) -> Self {
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        let kind = span.kind().as_str_name().trim_start_matches("SPAN_KIND_").to_owned();
        let error = span.status.filter(|status| status.code() == StatusCode::Error).map(|status| status.message);
        let events =
            span.events.into_iter().map(|event| OtlpEvent { name: event.name, attributes: attributes(event.attributes) });
        let links = span.links.into_iter().map(|link| Link {
            trace_id: trace_id(&link.trace_id),
            id: hexadecimal(&link.span_id),
            attributes: attributes(link.attributes),
        });
        Self {
            sampled,
            trace_id: trace_id(&span.trace_id),
            id: hexadecimal(&span.span_id),
            parent_id: Some(span.parent_span_id).filter(|id| !id.is_empty()).map(|id| hexadecimal(&id)),
            name: span.name,
            kind,
            start: seconds(span.start_time_unix_nano),
            end: seconds(span.end_time_unix_nano),
            attributes: attributes(span.attributes),
            dropped_attributes: span.dropped_attributes_count,
            events: events.collect(),
            dropped_events: span.dropped_events_count,
            links: links.collect(),
            dropped_links: span.dropped_links_count,
            error,
            trace_flags: span.flags as u8,
            scope,
            resource,
        }
    }

    /// The segment document that shows this span: a separate segment for a server, a subsegment for other spans with a parent.
    pub(super) fn document(&self) -> Value {
        let mut document = json!({
            "trace_id": self.trace_id, "id": self.id, "name": self.name, "start_time": self.start, "end_time": self.end,
            "metadata": { "default": self.attributes },
        });
        if let Some(parent) = &self.parent_id {
            document["parent_id"] = json!(parent);
            if self.kind != SpanKind::Server.as_str_name().trim_start_matches("SPAN_KIND_") {
                document["type"] = json!("subsegment");
            }
        }
        if self.error.is_some() {
            document["fault"] = json!(true);
        }
        document
    }
}

fn attributes(attributes: Vec<KeyValue>) -> Map<String, Value> {
    attributes.into_iter().map(|attribute| (attribute.key, attribute.value.map(value).unwrap_or_default())).collect()
}

fn value(any: AnyValue) -> Value {
    match any.value {
        Some(AnyKind::StringValue(text)) => json!(text),
        Some(AnyKind::BoolValue(on)) => json!(on),
        Some(AnyKind::IntValue(number)) => json!(number),
        Some(AnyKind::DoubleValue(number)) => json!(number),
        Some(AnyKind::ArrayValue(array)) => array.values.into_iter().map(value).collect(),
        Some(AnyKind::KvlistValue(list)) => Value::Object(attributes(list.values)),
        Some(AnyKind::BytesValue(bytes)) => json!(STANDARD.encode(bytes)),
        _ => Value::Null,
    }
}

fn trace_id(bytes: &[u8]) -> String {
    let digits = hexadecimal(bytes);
    match digits.split_at_checked(8) {
        Some((epoch, rest)) => format!("1-{epoch}-{rest}"),
        None => digits,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
