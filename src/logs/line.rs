//! One event as one line.

use crate::{
    Invocation, cut, urls,
    xray::{Redaction, Redactor, format_trace_id, non_finite},
};
use opentelemetry::trace::{SpanId, TraceContextExt};
use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    io::Write as _,
};
use tracing::{
    Event, Level,
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

/// Lambda splits a longer line into several events, of which none is JSON any more: 256 KB, of which each event needs 26 bytes.
const LONGEST: usize = 256 * 1024 - 100;

/// The ids by which a line finds its invocation and its place in the trace.
#[derive(Default)]
struct Ids {
    request: Option<String>,
    trace: Option<String>,
    span: Option<SpanId>,
    /// Of the invocation's lifecycle, which need not be the one that set the subscriber.
    redactor: Option<Redactor>,
}

impl Ids {
    fn of(event: &Event<'_>) -> Self {
        // OpenTelemetry says some things while it holds its context, which must not be asked for then.
        if event.metadata().target() == "opentelemetry" || !crate::context::has_context() {
            return Self::default();
        }
        let Some(invocation) = Invocation::try_current() else { return Self::default() };
        let span = opentelemetry::Context::map_current(|context| context.span().span_context().clone());
        Self {
            request: Some(invocation.request_id().to_owned()).filter(|id| !id.is_empty()),
            trace: invocation.received_header().root().map(format_trace_id),
            span: (invocation.is_recorded() && span.is_valid()).then(|| span.span_id()),
            redactor: invocation.shared().settings.redactor.clone(),
        }
    }
}

impl Format {
    pub(super) fn write(self, line: &mut Vec<u8>, event: &Event<'_>, redactor: Option<&Redactor>) {
        let (ids, mut fields) = (Ids::of(event), Fields::default());
        event.record(&mut fields);
        if *event.metadata().level() <= Level::WARN {
            fields.cut_urls();
        }
        if let Some(redactor) = ids.redactor.as_ref().or(redactor) {
            fields.redact(redactor);
        }
        let begin = line.len();
        self.write_fields(line, event, &ids, &fields);
        if line.len() - begin > LONGEST {
            line.truncate(begin);
            fields.shorten();
            self.write_fields(line, event, &ids, &fields);
        }
        line.push(b'\n');
    }

    fn write_fields(self, line: &mut Vec<u8>, event: &Event<'_>, ids: &Ids, fields: &Fields) {
        match self {
            Self::Text => text(line, event, ids, fields),
            Self::Json => json(line, event, ids, fields),
        }
    }
}

/// `LEVEL target: message key=value requestId=… traceId=… spanId=…`; CloudWatch keeps the time of each line itself.
fn text(line: &mut Vec<u8>, event: &Event<'_>, ids: &Ids, fields: &Fields) {
    let metadata = event.metadata();
    let _ = write!(line, "{:5} {}: ", metadata.level(), metadata.target());
    push_one_line(line, &fields.message);
    for (key, value) in &fields.rest {
        let _ = write!(line, " {key}=");
        match value {
            Value::Text(text) => push_one_line(line, text),
            // Writing into memory cannot fail.
            number => drop(serde_json::to_writer(&mut *line, number)),
        }
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

/// A line break inside an event would make two log events of it, and other control characters would steer the terminal that shows it.
fn push_one_line(line: &mut Vec<u8>, text: &str) {
    let mut rest = text.trim_end();
    while let Some(at) = rest.find(|letter: char| letter.is_control() && letter != '\t') {
        line.extend_from_slice(&rest.as_bytes()[..at]);
        let mut letters = rest[at..].chars();
        match letters.next() {
            None | Some('\n' | '\r') => line.push(b' '),
            // Writing into memory cannot fail.
            Some(control) => drop(write!(line, "{}", control.escape_default())),
        }
        rest = letters.as_str();
    }
    line.extend_from_slice(rest.as_bytes());
}

fn json(line: &mut Vec<u8>, event: &Event<'_>, ids: &Ids, fields: &Fields) {
    let metadata = event.metadata();
    let mut timestamp = String::with_capacity(32);
    let _ = Rfc3339.format_time(&mut Writer::new(&mut timestamp));
    let mut pairs = serde_json::Serializer::new(line);
    // Writing JSON into memory cannot fail: keys and values are strings, numbers and booleans.
    let _ = write_json(&mut pairs, &timestamp, metadata, fields, ids);
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
        map.serialize_entry("fields", &Rest(&fields.rest))?;
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

/// Fields as a JSON object. The last of a name counts.
struct Rest<'a>(&'a [(&'static str, Value)]);

impl serde::Serialize for Rest<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_last = |(at, (key, _)): &(usize, &(&str, Value))| self.0[at + 1..].iter().all(|(later, _)| later != key);
        serializer.collect_map(self.0.iter().enumerate().filter(is_last).map(|(_, (key, value))| (key, value)))
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Cuts texts to their share of the longest line, however many of their bytes JSON has to escape.
    fn shorten(&mut self) {
        // What a text is cut to, and its mark and its key with it.
        const ESCAPED: usize = 6;
        const BESIDE: usize = 100;
        let texts = self.rest.iter_mut().filter_map(|(_, value)| match value {
            Value::Text(text) => Some(text),
            _ => None,
        });
        let texts: Vec<_> = texts.chain([&mut self.message]).collect();
        let share = (LONGEST / 2 / ESCAPED / texts.len()).saturating_sub(BESIDE);
        for text in texts {
            cut::shorten(text, share);
        }
    }

    /// Errors quote the URLs they are about, with credentials and query.
    fn cut_urls(&mut self) {
        let cut = |text: &mut String| {
            if let Cow::Owned(shorter) = urls::without_secrets(text) {
                *text = shorter;
            }
        };
        cut(&mut self.message);
        for (_, value) in &mut self.rest {
            if let Value::Text(text) = value {
                cut(text);
            }
        }
    }

    /// Shows the message as `message`, and each field by its name; numbers and booleans as text.
    fn redact(&mut self, redactor: &Redactor) {
        match redactor.ask("message", &self.message) {
            Redaction::Keep => {}
            Redaction::Replace(other) => self.message = other.into_owned(),
            Redaction::Remove => self.message.clear(),
        }
        self.rest.retain_mut(|(key, value)| {
            let text = match &*value {
                Value::Text(text) => Cow::Borrowed(text.as_str()),
                number => Cow::Owned(serde_json::to_string(number).unwrap_or_default()),
            };
            match redactor.ask(key, &text) {
                Redaction::Keep => true,
                Redaction::Replace(other) => {
                    *value = Value::Text(other.into_owned());
                    true
                }
                Redaction::Remove => false,
            }
        });
    }
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
        // JSON has no word for those that are not finite.
        let value = non_finite(value).map_or(Value::Float(value), |word| Value::Text(word.to_owned()));
        self.rest.push((field.name(), value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.rest.push((field.name(), Value::Bool(value)));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.rest.push((field.name(), Value::Text(value.to_string())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::{Arc, Mutex};
    use tracing::Subscriber;
    use tracing_subscriber::{Layer, layer::SubscriberExt};

    struct Lines(Format, Arc<Mutex<Vec<u8>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
            self.0.write(&mut self.1.lock().expect("not poisoned"), event, None);
        }
    }

    fn line(format: Format, log: impl Fn()) -> String {
        let line = Arc::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Lines(format, Arc::clone(&line))), log);
        String::from_utf8(std::mem::take(&mut *line.lock().expect("not poisoned"))).expect("text")
    }

    fn log() {
        tracing::info!(target: "orders", price = 1.5, tax = f64::NAN, rest = f64::NEG_INFINITY, by = "tea\nbag", by = -3, "sold");
    }

    #[test]
    fn a_line_of_text_has_every_field() {
        let expected = "INFO  orders: sold price=1.5 tax=NaN rest=-inf by=tea bag by=-3\n";
        assert_eq!(line(Format::Text, log), expected);
    }

    #[test]
    fn a_line_of_text_has_no_control_character() {
        let controls: String = (0..=0x9f_u8).map(char::from).filter(|letter| letter.is_control() && *letter != '\t').collect();
        let line = line(Format::Text, || tracing::info!(target: "orders", a = %controls, "{controls}\u{1b}[2J ä"));
        let (text, end) = line.split_at(line.len() - 1);
        assert_eq!(end, "\n");
        assert!(!text.contains(|letter: char| letter.is_control() && letter != '\t'), "{text:?}");
        assert!(text.contains("\\u{1b}[2J ä") && text.contains("\\u{0}"), "{text:?}");
    }

    #[test]
    fn a_line_is_no_longer_than_a_log_event_and_still_json() {
        for text in ["x", "\u{1}", "\"", "€"] {
            let text = text.repeat(1_000_000);
            for format in [Format::Text, Format::Json] {
                let line = line(format, || tracing::error!(target: "orders", a = text.as_str(), b = 1, "{text}"));
                assert!(line.len() <= LONGEST && line.len() > LONGEST / 20, "{} bytes", line.len());
                assert_eq!(line.matches("… (cut, ").count(), 2);
                assert_eq!(line.matches('\n').count(), 1);
                if let Format::Json = format {
                    serde_json::from_str::<serde_json::Value>(&line).expect("JSON");
                }
            }
        }
    }

    #[test]
    fn a_json_line_has_no_field_twice_and_no_number_json_has_no_word_for() {
        let line = line(Format::Json, log);
        let parsed: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(parsed["fields"], json!({ "price": 1.5, "tax": "NaN", "rest": "-inf", "by": -3 }));
        assert_eq!((line.matches("\"by\"").count(), line.matches('\n').count()), (1, 1), "{line}");
    }
}
