//! One event as one line.

use crate::{Invocation, xray::format_trace_id};
use opentelemetry::trace::{SpanId, TraceContextExt};
use std::{
    fmt::{self, Write as _},
    io::Write as _,
};
use tracing::{
    Event,
    field::{Field, Visit},
};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime as Rfc3339},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

/// The ids by which a line finds its invocation and its place in the trace.
#[derive(Default)]
struct Ids {
    request: Option<String>,
    trace: Option<String>,
    span: Option<SpanId>,
}

impl Ids {
    fn of(event: &Event<'_>) -> Self {
        // OpenTelemetry says some things while it holds its context, which must not be asked for then.
        if event.metadata().target() == "opentelemetry" || !crate::trace::has_context() {
            return Self::default();
        }
        let Some(invocation) = Invocation::try_current() else { return Self::default() };
        let span = opentelemetry::Context::map_current(|context| context.span().span_context().clone());
        Self {
            request: Some(invocation.request_id().to_owned()).filter(|id| !id.is_empty()),
            trace: invocation.received_header().root().map(format_trace_id),
            span: (invocation.is_recorded() && span.is_valid()).then(|| span.span_id()),
        }
    }
}

impl Format {
    pub(super) fn write(self, line: &mut Vec<u8>, event: &Event<'_>) {
        let ids = Ids::of(event);
        match self {
            Self::Text => text(line, event, &ids),
            Self::Json => json(line, event, &ids),
        }
        line.push(b'\n');
    }
}

/// `LEVEL target: message key=value requestId=… traceId=… spanId=…`; CloudWatch keeps the time of each line itself.
fn text(line: &mut Vec<u8>, event: &Event<'_>, ids: &Ids) {
    let metadata = event.metadata();
    let mut fields = Fields::default();
    event.record(&mut fields);
    let _ = write!(line, "{:5} {}: ", metadata.level(), metadata.target());
    push_one_line(line, &fields.message);
    for (key, value) in &fields.rest {
        let _ = write!(line, " {key}=");
        push_one_line(line, &value.to_string());
    }
    if let Some(request) = &ids.request {
        let _ = write!(line, " requestId={request}");
    }
    if let Some(trace) = &ids.trace {
        let _ = write!(line, " traceId={trace}");
    }
    if let Some(span) = &ids.span {
        let _ = write!(line, " spanId={span}");
    }
}

/// A line break inside an event would make two log events of it.
fn push_one_line(line: &mut Vec<u8>, text: &str) {
    let text = text.trim_end();
    for (index, part) in text.split(['\n', '\r']).enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        line.extend_from_slice(part.as_bytes());
    }
}

fn json(line: &mut Vec<u8>, event: &Event<'_>, ids: &Ids) {
    let metadata = event.metadata();
    let mut fields = Fields::default();
    event.record(&mut fields);
    let mut timestamp = String::with_capacity(32);
    let _ = Rfc3339.format_time(&mut Writer::new(&mut timestamp));
    let mut pairs = serde_json::Serializer::new(line);
    // Writing JSON into memory cannot fail: keys and values are strings, numbers and booleans.
    let _ = write_json(&mut pairs, &timestamp, metadata, &fields, ids);
}

fn write_json(
    out: &mut serde_json::Serializer<&mut Vec<u8>>,
    timestamp: &str,
    metadata: &tracing::Metadata<'_>,
    fields: &Fields,
    ids: &Ids,
) -> Result<(), serde_json::Error> {
    use serde::ser::{SerializeMap, Serializer};
    let mut map = out.serialize_map(None)?;
    map.serialize_entry("timestamp", timestamp)?;
    map.serialize_entry("level", metadata.level().as_str())?;
    map.serialize_entry("message", fields.message.trim_end())?;
    map.serialize_entry("target", metadata.target())?;
    if let Some(request) = &ids.request {
        map.serialize_entry("requestId", request)?;
    }
    if let Some(trace) = &ids.trace {
        map.serialize_entry("traceId", trace)?;
    }
    if let Some(span) = &ids.span {
        map.serialize_entry("spanId", &span.to_string())?;
    }
    if !fields.rest.is_empty() {
        map.serialize_entry(
            "fields",
            &fields.rest.iter().map(|(key, value)| (*key, value)).collect::<std::collections::BTreeMap<_, _>>(),
        )?;
    }
    map.end()
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Signed(number) => number.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(truth) => truth.fmt(f),
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else {
            self.rest.push((field.name(), Value::Text(format!("{value:?}"))));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.rest.push((field.name(), Value::Text(value.to_owned())));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.rest.push((field.name(), Value::Signed(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.rest.push((field.name(), Value::Unsigned(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.rest.push((field.name(), Value::Float(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.rest.push((field.name(), Value::Bool(value)));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.rest.push((field.name(), Value::Text(value.to_string())));
    }
}
