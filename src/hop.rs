//! What every hop has in common: who sent it, and the span of what becomes of it here.

use crate::{
    trace::{TRACER, exception},
    xray::TraceHeader,
};
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer},
};
use std::borrow::Cow;

/// The call that sent a message. Never the surrounding span: a message without a header has no producer to link to.
pub(crate) struct Producer {
    header: TraceHeader,
    /// From a W3C `traceparent`, where it names another call than the header.
    other: Option<SpanContext>,
}

impl Producer {
    /// Reads the X-Ray header that came with a message, and the W3C `traceparent` among its attributes.
    pub(crate) fn read(header: Option<&str>, traceparent: Option<&str>) -> Option<Self> {
        let header = header.map(TraceHeader::parse).filter(|header| header.root().is_some());
        let w3c = traceparent.and_then(TraceHeader::from_traceparent);
        match (header, w3c) {
            (Some(header), w3c) => {
                let same =
                    |other: &SpanContext| header.root() == Some(other.trace_id()) && header.parent() == Some(other.span_id());
                let other = w3c.and_then(|w3c| w3c.span_context()).filter(|other| !same(other));
                Some(Self { header, other })
            }
            (None, Some(header)) => Some(Self { header, other: None }),
            (None, None) => None,
        }
    }

    #[cfg(feature = "sqs")]
    pub(crate) fn header(&self) -> &TraceHeader {
        &self.header
    }

    #[cfg(feature = "sqs")]
    pub(crate) fn trace_id(&self) -> Option<opentelemetry::TraceId> {
        self.header.root()
    }

    /// Where links go: the calls it names, at most two.
    pub(crate) fn contexts(&self) -> impl Iterator<Item = SpanContext> {
        self.header.span_context().into_iter().chain(self.other.clone())
    }
}

/// A span that ends as a fault when nobody ends it: its work panicked, or was dropped at the deadline.
pub(crate) struct OpenSpan(Context);

impl OpenSpan {
    /// The context to do the work in.
    pub(crate) fn context(&self) -> &Context {
        &self.0
    }

    /// Ends the span, with the type and the message of an error if there is one.
    pub(crate) fn end(mut self, failure: Option<(&str, &str)>) {
        end(&std::mem::take(&mut self.0), failure);
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if self.0.has_active_span() {
            let failure = if std::thread::panicking() {
                ("Lifecycle.Panic", "panicked")
            } else {
                ("Lifecycle.Unfinished", "not finished before the deadline")
            };
            end(&self.0, Some(failure));
        }
    }
}

fn end(context: &Context, failure: Option<(&str, &str)>) {
    let span = context.span();
    if let Some((kind, message)) = failure {
        span.add_event("exception", exception(kind.to_owned(), message.to_owned()));
        span.set_status(Status::error(kind.to_owned()));
    }
    span.end();
}

pub(crate) fn begin(span: SpanBuilder, parent: &Context) -> OpenSpan {
    OpenSpan(parent.with_span(TRACER.build_with_context(span, parent)))
}

/// A span of the side that takes messages of `system` from `destination`.
pub(crate) fn consumer(
    name: impl Into<Cow<'static, str>>,
    system: &'static str,
    destination: &Value,
    more: impl IntoIterator<Item = KeyValue>,
) -> SpanBuilder {
    let mut attributes = Vec::with_capacity(8);
    attributes.push(KeyValue::new("messaging.system", system));
    attributes.push(KeyValue::new("messaging.operation.type", "process"));
    attributes.push(KeyValue::new("messaging.destination.name", destination.clone()));
    attributes.extend(more);
    SpanBuilder::from_name(name).with_kind(SpanKind::Consumer).with_attributes(attributes)
}
