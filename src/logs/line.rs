//! Writes one event as one line.

use super::{
    fields::{Fields, Value},
    records,
    scope::Scope,
};
use crate::{
    Environment, Invocation, cut,
    settings::LogKeys,
    urls,
    xray::{Redaction, Redactor, format_trace_id},
};
use opentelemetry::trace::{SpanId, TraceContextExt};
use std::{borrow::Cow, io::Write as _, sync::Arc};
use tracing::{Event, Level, Metadata};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime, SystemTime as Rfc3339},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

/// Lambda splits a longer line into several events, which are then invalid JSON. The limit is 256 KB, of which each event needs
/// 26 bytes. The API of CloudWatch Logs has accepted 1 MB since April 2025, but a function's output passes through Lambda first.
const LONGEST: usize = 256 * 1024 - 100;

/// The most fields of a line besides the event's own.
const MOST: usize = 256;

/// The fields of every line of an invocation, or of a process.
#[derive(Clone, Copy)]
pub(super) struct Keys<'k> {
    pub(super) redactor: Option<&'k Redactor>,
    pub(super) keys: &'k LogKeys,
}

/// An event, and its origin.
pub(super) struct Origin<'e> {
    pub(super) event: &'e Event<'e>,
    /// For a record of the `log` crate this is the record's.
    pub(super) metadata: &'e Metadata<'e>,
    pub(super) scope: &'e Scope,
    pub(super) place: &'e Place,
    /// True if the line may be written later.
    pub(super) is_kept: bool,
}

/// The invocation of an event, and its place in the trace.
#[derive(Default)]
pub(super) struct Place {
    pub(super) invocation: Option<Invocation>,
    span: Option<SpanId>,
    correlation_id: Option<Arc<str>>,
}

impl Place {
    pub(super) fn of(metadata: &Metadata<'_>, scope: &Scope) -> Self {
        // OpenTelemetry logs some events while it holds its context, which must not be accessed then.
        if metadata.target() == "opentelemetry" || !crate::context::has_context() {
            return Self { invocation: scope.invocation.clone(), ..Self::default() };
        }
        let Some(invocation) = Invocation::try_current().or_else(|| scope.invocation.clone()) else { return Self::default() };
        let span = invocation.is_recorded().then(|| {
            let span = opentelemetry::Context::map_current(|context| context.span().span_context().clone());
            span.is_valid().then(|| span.span_id())
        });
        let correlation_id = invocation.correlation_id();
        Self { invocation: Some(invocation), span: span.flatten(), correlation_id }
    }

    /// The keys that connect lines to an invocation, with their values.
    fn ids(&self) -> Ids<'_> {
        let invocation = self.invocation.as_ref();
        let request = invocation.map(Invocation::request_id).filter(|id| !id.is_empty()).map(Cow::Borrowed);
        let trace = invocation.and_then(|invocation| invocation.received_header().root()).map(format_trace_id).map(Cow::Owned);
        let span = self.span.map(|span| Cow::Owned(span.to_string()));
        [("requestId", request), ("traceId", trace), ("spanId", span)]
    }
}

impl Format {
    /// `outside` applies to lines outside of an invocation. Inside of one, its lifecycle's settings apply, which may differ from
    /// those of the lifecycle that set the subscriber.
    pub(super) fn write(self, line: &mut Vec<u8>, origin: &Origin<'_>, outside: Keys<'_>) {
        let &Origin { event, metadata, scope, place, is_kept } = origin;
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.named.retain(|(key, _)| !records::is_metadata(key));
        let settings = place.invocation.as_ref().map(|invocation| &invocation.shared().settings);
        let keys = settings.map_or(outside, |settings| Keys { redactor: settings.redactor.as_ref(), keys: &settings.log_keys });
        let mut parts = Parts { message: Cow::Owned(fields.message), own: fields.named.len(), fields: Vec::with_capacity(16) };
        parts.fields.extend(fields.named.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)));
        if is_kept {
            parts.fields.push((Cow::Borrowed("buffered"), Value::Bool(true)));
            // CloudWatch's time of the line says when it was written.
            if let Self::Text = self {
                parts.fields.push((Cow::Borrowed("timestamp"), Value::text(now())));
            }
        }
        let of_invocation = place.invocation.as_ref().and_then(|invocation| invocation.log().keys());
        if let Some(id) = &place.correlation_id {
            parts.fields.push((Cow::Borrowed("correlationId"), Value::Text(Cow::Borrowed(id))));
        }
        parts.add_context(scope, of_invocation.as_deref().map_or(&[], Vec::as_slice), place.invocation.as_ref(), keys.keys);
        if *metadata.level() <= Level::WARN {
            parts.cut_urls();
        }
        if let Some(redactor) = keys.redactor.or(outside.redactor) {
            parts.redact(redactor);
        }
        let (begin, ids) = (line.len(), place.ids());
        self.write_parts(line, metadata, &ids, &parts);
        if line.len() - begin > LONGEST {
            line.truncate(begin);
            parts.shorten();
            self.write_parts(line, metadata, &ids, &parts);
        }
        line.push(b'\n');
    }

    fn write_parts(self, line: &mut Vec<u8>, metadata: &Metadata<'_>, ids: &Ids<'_>, parts: &Parts<'_>) {
        match self {
            Self::Text => text(line, metadata, ids, parts),
            // Writing JSON into memory cannot fail: keys and values are strings, numbers and booleans.
            Self::Json => drop(json(line, metadata, ids, parts)),
        }
    }
}

type Ids<'i> = [(&'static str, Option<Cow<'i, str>>); 3];

/// `LEVEL target: message key=value requestId=… traceId=… spanId=…`. CloudWatch stores the time of each line itself.
fn text(line: &mut Vec<u8>, metadata: &Metadata<'_>, ids: &Ids<'_>, parts: &Parts<'_>) {
    let level = match *metadata.level() {
        Level::ERROR => "ERROR ",
        Level::WARN => "WARN  ",
        Level::INFO => "INFO  ",
        Level::DEBUG => "DEBUG ",
        Level::TRACE => "TRACE ",
    };
    for part in [level, metadata.target(), ": "] {
        line.extend_from_slice(part.as_bytes());
    }
    push_one_line(line, &parts.message);
    for (at, (key, value)) in parts.fields.iter().enumerate() {
        // All of the event's own fields are shown.
        if is_id(ids, key, value) || (at >= parts.own && parts.is_overridden(at)) {
            continue;
        }
        line.push(b' ');
        push_one_line(line, key);
        line.push(b'=');
        match value {
            Value::Text(text) => push_value(line, text),
            // Writing into memory cannot fail.
            number => drop(serde_json::to_writer(&mut *line, number)),
        }
    }
    for (key, id) in ids {
        if let Some(id) = id {
            for part in [" ", key, "="] {
                line.extend_from_slice(part.as_bytes());
            }
            push_one_line(line, id);
        }
    }
}

/// Quoted if the value would be ambiguous.
fn push_value(line: &mut Vec<u8>, text: &str) {
    // Most values need no search by letters.
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
        return line.extend_from_slice(text.as_bytes());
    }
    let text = text.trim_end();
    if !text.is_empty() && !text.contains(|letter: char| letter.is_whitespace() || letter == '"') {
        return push_one_line(line, text);
    }
    line.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\']) {
        push_untrimmed(line, &rest[..at]);
        line.extend_from_slice(&[b'\\', rest.as_bytes()[at]]);
        rest = &rest[at + 1..];
    }
    push_untrimmed(line, rest);
    line.push(b'"');
}

/// A line break in an event would split it into two log events, and other control characters would affect the terminal that shows
/// it.
fn push_one_line(line: &mut Vec<u8>, text: &str) {
    push_untrimmed(line, text.trim_end());
}

fn push_untrimmed(line: &mut Vec<u8>, mut rest: &str) {
    if rest.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return line.extend_from_slice(rest.as_bytes());
    }
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

/// The time as RFC 3339 writes it.
fn now() -> String {
    let mut now = String::with_capacity(32);
    // Writing into memory cannot fail.
    let _ = Rfc3339.format_time(&mut Writer::new(&mut now));
    now
}

fn json(line: &mut Vec<u8>, metadata: &Metadata<'_>, ids: &Ids<'_>, parts: &Parts<'_>) -> Result<(), serde_json::Error> {
    use serde::ser::{SerializeMap, Serializer};
    let timestamp = now();
    let mut out = serde_json::Serializer::new(line);
    let mut map = out.serialize_map(None)?;
    map.serialize_entry("timestamp", &timestamp)?;
    map.serialize_entry("level", metadata.level().as_str())?;
    map.serialize_entry("message", parts.message.trim_end())?;
    map.serialize_entry("target", metadata.target())?;
    for (key, id) in ids {
        if let Some(id) = id {
            map.serialize_entry(key, id)?;
        }
    }
    let is_taken = |key: &str| {
        matches!(key, "timestamp" | "level" | "message" | "target" | "fields")
            || ids.iter().any(|(known, id)| *known == key && id.is_some())
    };
    let mut nested = Vec::new();
    for (at, (key, value)) in parts.fields.iter().enumerate() {
        if parts.is_overridden(at) || is_id(ids, key, value) {
            continue;
        }
        if is_taken(key) {
            nested.push((key, value));
        } else {
            map.serialize_entry(key, value)?;
        }
    }
    if !nested.is_empty() {
        map.serialize_entry("fields", &Nested(&nested))?;
    }
    map.end()
}

/// Fields with names that the line itself uses.
struct Nested<'a, 'v>(&'a [(&'a Cow<'v, str>, &'a Value<'v>)]);

impl serde::Serialize for Nested<'_, '_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// True for a field that repeats one of the line's ids.
fn is_id(ids: &Ids<'_>, key: &str, value: &Value<'_>) -> bool {
    let same = |id: &Cow<'_, str>| matches!(value, Value::Text(text) if text == id);
    ids.iter().any(|(known, id)| *known == key && id.as_ref().is_some_and(same))
}

/// The parts of a line besides its ids.
struct Parts<'v> {
    message: Cow<'v, str>,
    /// The event's own, then those of its spans from the inside out, then the invocation's keys and those of the process.
    fields: Vec<(Cow<'v, str>, Value<'v>)>,
    /// The number of the event's own fields.
    own: usize,
}

impl<'v> Parts<'v> {
    fn add_context(
        &mut self,
        scope: &'v Scope,
        of_invocation: &'v [opentelemetry::KeyValue],
        invocation: Option<&'v Invocation>,
        keys: &'v LogKeys,
    ) {
        let of_spans = scope.fields.iter().flat_map(|fields| fields.iter());
        let of_spans = of_spans.map(|(key, value)| (Cow::Borrowed(*key), value.borrow()));
        let keyed = |pair: &'v opentelemetry::KeyValue| (Cow::Borrowed(pair.key.as_str()), Value::of_otel(&pair.value));
        let mut context = of_spans.chain(of_invocation.iter().map(keyed)).chain(keys.own.iter().map(keyed));
        self.fields.extend(context.by_ref().take(MOST));
        let omitted = context.count();
        if omitted > 0 {
            self.fields.push((Cow::Borrowed("omitted_fields"), Value::Unsigned(omitted as u64)));
        }
        if let Some(tenant) = invocation.and_then(Invocation::tenant_id) {
            self.fields.push((Cow::Borrowed("tenantId"), Value::Text(Cow::Borrowed(tenant))));
        }
        if keys.standard {
            self.add_standard(invocation);
        }
    }

    /// Adds Powertools' standard keys.
    fn add_standard(&mut self, invocation: Option<&'v Invocation>) {
        let environment = Environment::current();
        let mut add = |key, value| self.fields.push((Cow::Borrowed(key), value));
        let text = |text: &'v str| Value::Text(Cow::Borrowed(text));
        add("function_name", text(&environment.function_name));
        add("function_version", text(&environment.function_version));
        add("function_memory_size", Value::Unsigned(environment.memory_size.into()));
        if let Some(invocation) = invocation {
            add("function_arn", text(invocation.invoked_function_arn()));
            add("cold_start", Value::Bool(invocation.is_cold_start()));
        }
        if let Some(service) = &environment.service {
            add("service", text(service));
        }
    }

    /// True if an earlier field has the same name. Of the event's own fields, the last one of a name counts.
    fn is_overridden(&self, at: usize) -> bool {
        let (key, _) = &self.fields[at];
        let others = if at < self.own { &self.fields[at + 1..self.own] } else { &self.fields[..at] };
        others.iter().any(|(other, _)| other == key)
    }

    fn texts(&mut self) -> impl Iterator<Item = &mut Cow<'v, str>> {
        let of_fields = self.fields.iter_mut().filter_map(|(_, value)| match value {
            Value::Text(text) => Some(text),
            _ => None,
        });
        of_fields.chain([&mut self.message])
    }

    /// Shortens texts to their share of the longest line, even if JSON has to escape all their bytes.
    fn shorten(&mut self) {
        // The factor by which escaping can lengthen a text, and the bytes of its key and of the mark of the cut.
        const ESCAPED: usize = 6;
        const BESIDE: usize = 100;
        let share = (LONGEST / 2 / ESCAPED / self.texts().count()).saturating_sub(BESIDE);
        for text in self.texts().filter(|text| text.len() > share) {
            cut::shorten(text.to_mut(), share);
        }
    }

    /// Errors quote the URLs that they concern, with credentials and query.
    fn cut_urls(&mut self) {
        for text in self.texts() {
            if let Cow::Owned(shorter) = urls::without_secrets(text) {
                *text = Cow::Owned(shorter);
            }
        }
    }

    /// Calls the redactor for the message as `message`, and for each field by its name. It gets numbers and booleans as text.
    fn redact(&mut self, redactor: &Redactor) {
        match redactor.ask("message", &self.message) {
            Redaction::Keep => {}
            Redaction::Replace(other) => self.message = other,
            Redaction::Remove => self.message = Cow::Borrowed(""),
        }
        let (mut at, own) = (0, self.own);
        self.fields.retain_mut(|(key, value)| {
            let text = match &*value {
                Value::Text(text) => Cow::Borrowed(text.as_ref()),
                number => Cow::Owned(serde_json::to_string(number).unwrap_or_default()),
            };
            let decided = redactor.ask(key, &text);
            at += 1;
            match decided {
                Redaction::Keep => true,
                Redaction::Replace(other) => {
                    *value = Value::Text(other);
                    true
                }
                Redaction::Remove => {
                    self.own -= usize::from(at <= own);
                    false
                }
            }
        });
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
            let keys = LogKeys::default();
            let outside = Keys { redactor: None, keys: &keys };
            let (scope, place, metadata) = (Scope::default(), Place::default(), event.metadata());
            let origin = Origin { event, metadata, scope: &scope, place: &place, is_kept: false };
            self.0.write(&mut self.1.lock().expect("not poisoned"), &origin, outside);
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
        let expected = "INFO  orders: sold price=1.5 tax=NaN rest=-inf by=\"tea bag\" by=-3\n";
        assert_eq!(line(Format::Text, log), expected);
    }

    #[test]
    fn a_value_of_text_has_its_ends() {
        let written = line(
            Format::Text,
            || tracing::info!(target: "orders", a = "x=y", b = r#"C:\ say "hi" "#, c = "", d = r"C:\x", "sold"),
        );
        assert_eq!(written, "INFO  orders: sold a=x=y b=\"C:\\\\ say \\\"hi\\\"\" c=\"\" d=C:\\x\n");
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
    fn a_field_with_a_name_of_the_line_itself_is_not_lost() {
        let line =
            line(Format::Json, || tracing::info!(target: "orders", level = 3, fields = "all", requestId = "other", "sold"));
        let parsed: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&parsed["level"], &parsed["message"]), (&json!("INFO"), &json!("sold")));
        assert_eq!(parsed["fields"], json!({ "level": 3, "fields": "all" }));
        // Outside of an invocation the line has no request id from the library.
        assert_eq!(parsed["requestId"], "other");
    }

    #[test]
    fn a_json_line_has_no_field_twice_and_no_number_json_has_no_word_for() {
        let line = line(Format::Json, log);
        let parsed: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let own = json!({ "price": parsed["price"], "tax": parsed["tax"], "rest": parsed["rest"], "by": parsed["by"] });
        assert_eq!(own, json!({ "price": 1.5, "tax": "NaN", "rest": "-inf", "by": -3 }));
        assert_eq!((line.matches("\"by\"").count(), line.matches('\n').count()), (1, 1), "{line}");
    }
}
