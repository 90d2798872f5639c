//! Records events outside of any `tracing` span, which are usually errors, in the active span of OpenTelemetry's context. That is
//! mostly the invocation's own.

use crate::{Invocation, context::has_context};
use opentelemetry::{
    Array, Context as OtelContext, KeyValue, StringValue, Value,
    trace::{Event as OtelEvent, TraceContextExt},
};
use std::{error::Error, fmt, time::SystemTime};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

/// The most errors that one invocation records this way. Its document has room for sixteen exceptions, and counts the others.
const MOST: u32 = 128;

/// The most other events, if they are recorded.
const MOST_OTHERS: u32 = 1_000;

/// The most characters of one text.
const LONGEST: usize = 4_000;

/// The most causes of one error.
const CHAIN: usize = 32;

/// Used together with the layer that records spans, and with the same filter.
pub(super) struct ErrorsWithoutSpan;

impl<S> Layer<S> for ErrorsWithoutSpan
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let explicit = event.parent().and_then(|id| context.span(id));
        let current = || event.is_contextual().then(|| context.lookup_current()).flatten();
        let span: Option<SpanRef<'_, S>> = explicit.or_else(current);
        if span.is_none() {
            record(event);
        }
    }
}

/// Adds an event to the active span.
pub(crate) fn record(event: &Event<'_>) {
    let target = event.metadata().target();
    // The library's own errors are in the span already, as the outcome.
    if !has_context() || target.split("::").next() == Some("lambda_lifecycle") {
        return;
    }
    let Some(invocation) = Invocation::try_current().filter(Invocation::is_recorded) else {
        return add(event, target);
    };
    let mut notes = invocation.notes();
    let is_error = *event.metadata().level() == Level::ERROR;
    let (count, most) = if is_error { (&mut notes.errors, MOST) } else { (&mut notes.events, MOST_OTHERS) };
    *count = count.saturating_add(1);
    let is_over = *count > most;
    drop(notes);
    if is_over {
        invocation.spans().change_own(|span| span.events.dropped_count = span.events.dropped_count.saturating_add(1));
    } else {
        add(event, target);
    }
}

fn add(event: &Event<'_>, target: &str) {
    let mut error = Recorded {
        name: String::new(),
        attributes: vec![text("level", event.metadata().level().as_str()), text("target", target)],
    };
    event.record(&mut error);
    let Recorded { mut name, attributes } = error;
    if name.is_empty() {
        event.metadata().name().clone_into(&mut name);
    }
    // The context is read first, and changed when it is no longer borrowed.
    let context = OtelContext::current();
    if context.has_active_span() && context.span().is_recording() {
        context.span().add_event(name, attributes);
    } else if let Some(invocation) = Invocation::try_current() {
        let event = OtelEvent::new(name, SystemTime::now(), attributes, 0);
        invocation.spans().change_own(|span| super::tracer::add_event(span, event));
    }
}

/// The event in the form that `tracing-opentelemetry` gives events in a span.
struct Recorded {
    name: String,
    attributes: Vec<KeyValue>,
}

impl Recorded {
    fn add(&mut self, key: &'static str, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(key, value));
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

fn text(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, value.to_owned())
}

impl Visit for Recorded {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.name = cut(value),
            name => self.add(name, cut(value)),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let message = cut(&value.to_string());
        let mut chain: Vec<StringValue> = Vec::new();
        let mut next = value.source();
        while let Some(error) = next.filter(|_| chain.len() < CHAIN) {
            chain.push(cut(&error.to_string()).into());
            next = error.source();
        }
        self.add("exception.message", message.clone());
        self.add("exception.stacktrace", Value::Array(Array::String(chain)));
        self.add(field.name(), message);
    }
}
