//! Shared by all hops: the sender of a message, and its consumer span.

#[cfg(feature = "_batch")]
use crate::context;
use crate::{
    propagation::{Fields, Remote},
    settings::Settings,
    trace::{TRACER, exception},
    xray::TraceHeader,
};
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer},
};
use std::{borrow::Cow, fmt};

/// The call that sent a message. It is never the surrounding span, because a message without a header has no producer to link to.
#[cfg_attr(not(feature = "_batch"), allow(unreachable_pub, reason = "the trait of batches names it"))]
pub struct Producer {
    header: Option<TraceHeader>,
    remote: Option<Box<Remote>>,
    #[cfg_attr(not(feature = "_batch"), allow(dead_code, reason = "only records of batches have traces of their own"))]
    continues: bool,
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    /// Reads the X-Ray header that came with a message, and W3C's fields among its attributes.
    pub(crate) fn read(settings: &Settings, header: Option<&str>, fields: &Fields<'_>) -> Option<Self> {
        let propagators = settings.propagators();
        let header = header.filter(|_| propagators.xray).map(TraceHeader::parse).filter(|header| header.root().is_some());
        let remote = fields.read(propagators);
        let continues = settings.continues_messages();
        (header.is_some() || remote.is_some()).then_some(Self { header, remote, continues })
    }

    #[cfg(feature = "_batch")]
    pub(crate) fn header(&self) -> Option<&TraceHeader> {
        self.header.as_ref()
    }

    #[cfg(feature = "_batch")]
    pub(crate) fn trace_id(&self) -> Option<opentelemetry::TraceId> {
        let of_header = self.header.as_ref().and_then(TraceHeader::root);
        of_header.or_else(|| self.remote.as_ref()?.parent.as_ref().map(SpanContext::trace_id))
    }

    /// The caller that W3C's fields name, if its trace is continued.
    #[cfg(feature = "_batch")]
    pub(crate) fn continued(&self) -> Option<&SpanContext> {
        self.remote.as_ref().filter(|_| self.continues)?.parent.as_ref()
    }

    /// The context of work without a span, with which the caller is sent on. `None` if that is the surrounding context.
    #[cfg(feature = "_batch")]
    pub(crate) fn context_without_span(&self) -> Option<Context> {
        self.remote.as_ref()?;
        let context = self.with_baggage(context::current());
        Some(match self.continued() {
            Some(caller) => context.with_remote_span_context(caller.clone()),
            None => context,
        })
    }

    /// The same context with the sender's baggage.
    #[cfg(feature = "_batch")]
    pub(crate) fn with_baggage(&self, context: Context) -> Context {
        match &self.remote {
            Some(remote) => remote.with_baggage(context),
            None => context,
        }
    }

    /// The calls to link to, at most two.
    pub(crate) fn contexts(&self) -> impl Iterator<Item = SpanContext> {
        let header = self.header.as_ref().and_then(TraceHeader::span_context);
        let same = |other: &SpanContext| {
            header.as_ref().is_some_and(|one| one.trace_id() == other.trace_id() && one.span_id() == other.span_id())
        };
        let other = self.remote.as_ref().and_then(|remote| remote.parent.clone()).filter(|other| !same(other));
        header.into_iter().chain(other)
    }
}

/// A span that ends as a fault if it is dropped: its work panicked, or was dropped at the deadline.
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

/// A span of the consumer that takes messages of `system` from `destination`.
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
