//! Exceptions with their chains and stacks.

use std::borrow::Cow;

use opentelemetry::{
    Array, KeyValue, Value,
    trace::{Event, SpanKind, Status},
};

use super::{
    attributes::Slot,
    json::{self, quoted},
    render::{Level, Render, derived_id},
    stack::{self, StackFrame},
};
use crate::xray::hex;

const MAX_EXCEPTIONS: u32 = 16;
const MAX_CHAIN: usize = 8;
const MAX_FRAMES: usize = 100;

/// The details of one error, from an event or a span.
#[derive(Clone, Copy, Default)]
struct Exception<'e> {
    kind: Option<&'e Value>,
    message: Option<&'e Value>,
    stack: Option<&'e Value>,
    /// `tracing-opentelemetry` writes the messages of `source()` into `<field>.chain`, and into the stack trace as an array.
    chain: Option<&'e Value>,
    /// The message for an error without a message.
    name: Option<&'e str>,
}

impl<'e> Exception<'e> {
    fn of_event(event: &'e Event) -> Self {
        let mut exception = Self::of(&event.attributes).unwrap_or_default();
        if exception.message.is_none() && is_logged_error(event) {
            exception.name = Some(event.name.as_ref());
        }
        exception
    }

    fn of(attributes: &'e [KeyValue]) -> Option<Self> {
        let mut found = Self::default();
        for KeyValue { key, value, .. } in attributes {
            match key.as_str() {
                "exception.type" => found.kind = Some(value),
                "exception.message" => found.message = Some(value),
                "exception.stacktrace" if matches!(value, Value::Array(_)) => {
                    found.chain = Some(value);
                }
                "exception.stacktrace" => found.stack = Some(value),
                key if key.ends_with(".chain") && found.chain.is_none() => {
                    found.chain = Some(value);
                }
                _ => {}
            }
        }
        (found.kind.is_some() || found.message.is_some() || found.stack.is_some()).then_some(found)
    }
}

/// True if the event describes an error, regardless of its name.
pub(super) fn is_exception(event: &Event) -> bool {
    event.name == "exception" || has_exception(event) || is_logged_error(event)
}

fn has_exception(event: &Event) -> bool {
    event.attributes.iter().any(|attribute| attribute.key.as_str().starts_with("exception."))
}

/// An event of `tracing::error!`, whose message is the event's name.
fn is_logged_error(event: &Event) -> bool {
    event.attributes.iter().any(|attribute| attribute.key.as_str() == "level" && attribute.value.as_str() == "ERROR")
}

/// The exception contains this attribute of such an event.
pub(super) fn in_exception(event: &Event, attribute: &KeyValue) -> bool {
    match attribute.key.as_str() {
        "level" | "target" => is_logged_error(event),
        key if key.starts_with("exception.") => true,
        key => (key == "error" || key.ends_with(".chain")) && (event.name == "exception" || has_exception(event)),
    }
}

/// The exception contains all of such an event.
pub(super) fn is_only_exception(event: &Event) -> bool {
    let named = event.name == "exception" || is_logged_error(event) && !has_exception(event);
    named && event.attributes.iter().all(|attribute| in_exception(event, attribute))
}

impl Render<'_> {
    pub(super) fn cause(&mut self) {
        let cause = self.open(quoted!("cause" "{"));
        json::key(self.out, quoted!("exceptions" "["));
        let list = self.out.len();
        let span = self.span;
        let most = if self.level == Level::Bare { 1 } else { MAX_EXCEPTIONS };
        let mut written = 0;
        let (mut last, mut described) = (None, false);
        for exception in span.events.iter().filter(|event| is_exception(event)) {
            let exception = Exception::of_event(exception);
            if written >= most || self.is_over() {
                self.report.left_out += 1;
                continue;
            }
            last = exception.message.or(last);
            described |= matches!((exception.message, &span.status), (Some(message), Status::Error { description })
                if message.as_str() == description.as_ref());
            self.exception(exception, &mut written, most);
        }
        if last.is_none() || self.get(Slot::ExceptionMessage).map(|attribute| &attribute.value) == last {
            if written == 0
                && let Some(exception) = Exception::of(&span.attributes)
            {
                self.exception(exception, &mut written, most);
            }
            for slot in [Slot::ExceptionType, Slot::ExceptionMessage, Slot::ExceptionStack] {
                self.mappings.mark_used(slot);
            }
        }
        if written == 0 {
            self.exception_of_status(&mut written);
        } else if let (false, Status::Error { description }) = (described, &span.status) {
            // Kept for the metadata only if no exception has the same text.
            self.undescribed_status = !description.is_empty() && last.is_none_or(|message| message.as_str() != *description);
        }
        if self.out.len() == list {
            self.out.truncate(cause.start());
            return;
        }
        self.out.push(b']');
        self.close(&cause);
    }

    fn exception_of_status(&mut self, written: &mut u32) {
        let Status::Error { description } = &self.span.status else { return };
        // The HTTP convention's error type is the status code, which has its own field.
        let kind = self.get(Slot::ErrorType).map(|attribute| &attribute.value);
        let kind = kind.filter(|kind| kind.as_str().parse::<u16>().is_err());
        let message = Some(description.as_ref()).filter(|text| !text.is_empty());
        if message.is_none() && kind.is_none() {
            return;
        }
        self.open_exception(written);
        self.exception_text(quoted!("type"), kind);
        if let Some(message) = message {
            self.message(message);
        }
        self.out.push(b'}');
    }

    fn exception(&mut self, exception: Exception, written: &mut u32, most: u32) {
        self.open_exception(written);
        self.exception_text(quoted!("type"), exception.kind);
        self.exception_text(quoted!("message"), exception.message);
        if let Some(name) = exception.name {
            self.message(name);
        }
        if self.level < Level::NoStacks
            && let Some(stack) = exception.stack
        {
            let text = match stack {
                Value::String(text) => Cow::Borrowed(text.as_str()),
                other => other.as_str(),
            };
            self.stack(&text);
        }
        let chain = match exception.chain {
            Some(Value::Array(Array::String(chain))) => chain.as_slice(),
            _ => &[],
        };
        for source in chain.iter().take(MAX_CHAIN) {
            if *written >= most {
                break;
            }
            json::key(self.out, quoted!("cause"));
            json::plain(self.out, &hex::span_id(derived_id(self.span.span_context.span_id(), u64::from(*written))));
            self.out.push(b'}');
            self.open_exception(written);
            self.message(source.as_str());
        }
        if chain.len() > MAX_CHAIN {
            json::key(self.out, quoted!("skipped"));
            json::unsigned(self.out, (chain.len() - MAX_CHAIN) as u64);
            self.report.left_out += 1;
        }
        self.out.push(b'}');
    }

    fn open_exception(&mut self, written: &mut u32) {
        json::comma(self.out);
        self.out.push(b'{');
        json::key(self.out, quoted!("id"));
        json::plain(self.out, &hex::span_id(derived_id(self.span.span_context.span_id(), u64::from(*written))));
        *written += 1;
        if matches!(self.span.span_kind, SpanKind::Client | SpanKind::Producer) {
            json::key(self.out, quoted!("remote"));
            json::boolean(self.out, true);
        }
    }

    fn exception_text(&mut self, field: &'static str, value: Option<&Value>) {
        let Some(value) = value else { return };
        let text = match value {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            other => other.as_str(),
        };
        if field == quoted!("message") {
            self.message(&text);
        } else {
            json::key(self.out, field);
            self.string(&text);
        }
    }

    fn message(&mut self, text: &str) {
        let limit = match self.level {
            Level::Full => 4_000,
            Level::ShortValues | Level::NoMetadata => 1_000,
            Level::Bare => 100,
            _ => 250,
        };
        json::key(self.out, quoted!("message"));
        self.report.cut += u32::from(json::cut_marked(self.out, text, limit));
    }

    fn stack(&mut self, text: &str) {
        let mut frames = stack::frames(text);
        let before = self.out.len();
        json::key(self.out, quoted!("stack" "["));
        let body = self.out.len();
        for frame in frames.by_ref().take(MAX_FRAMES) {
            self.stack_frame(&frame);
            if self.is_over() {
                return;
            }
        }
        if self.out.len() == body {
            let text = text.trim();
            if text.is_empty() {
                self.out.truncate(before);
                return;
            }
            // Not a Rust backtrace, so it is kept whole, as one frame.
            self.out.extend_from_slice(b"{\"label\":");
            self.report.cut += u32::from(json::cut_string(self.out, text, 4_000));
            self.out.push(b'}');
        }
        self.out.push(b']');
        let more = frames.count();
        if more > 0 {
            self.report.cut += 1;
            json::key(self.out, quoted!("truncated"));
            json::unsigned(self.out, more as u64);
        }
    }

    fn stack_frame(&mut self, frame: &StackFrame) {
        json::comma(self.out);
        self.out.push(b'{');
        if let Some(path) = frame.path {
            json::key(self.out, quoted!("path"));
            self.string(path);
        }
        if let Some(line) = frame.line {
            json::key(self.out, quoted!("line"));
            json::unsigned(self.out, u64::from(line));
        }
        json::key(self.out, quoted!("label"));
        self.string(frame.label);
        self.out.push(b'}');
    }
}
