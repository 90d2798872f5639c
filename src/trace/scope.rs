//! A part of an invocation with a separate trace, or without one: the work of one message.

#[cfg(feature = "_batch")]
use crate::xray::Decided;
use crate::{Invocation, context, export::Wanted, propagation::Fields, xray::TraceHeader};
use opentelemetry::{
    Context,
    trace::{SpanContext, TraceContextExt},
};

/// The differences from the invocation, as a value of the OpenTelemetry context.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// The destinations of its spans. If there are none, the header is sent on unchanged.
    pub(crate) wanted: Wanted,
    /// Used in place of the invocation's.
    pub(crate) header: TraceHeader,
}

impl Scope {
    /// The same context for this part of the invocation.
    #[cfg(feature = "_batch")]
    pub(crate) fn within(self, context: &Context) -> Context {
        context.with_value(Decided(self.header.clone())).with_value(self)
    }
}

/// True if spans are stored: in a traced invocation, unless this part of it is excluded.
pub(crate) fn is_recorded(invocation: &Invocation) -> bool {
    invocation.is_recorded() && context::map_current(|context| context.get::<Scope>().is_none_or(|scope| scope.wanted.anywhere()))
}

/// X-Ray's header for a call from here. The caller is the span of the `call`, or else the active span. If neither is recorded, it
/// is the original caller.
pub(crate) fn outgoing_header(invocation: &Invocation, call: Option<&SpanContext>) -> TraceHeader {
    context::map_current(|context| {
        let (recorded, came, trace) = match context.get::<Scope>() {
            Some(scope) => (scope.wanted.anywhere(), &scope.header, scope.header.root()),
            None => (invocation.is_recorded(), invocation.received_header(), invocation.parent().map(SpanContext::trace_id)),
        };
        let span = context.span();
        let active = call.unwrap_or_else(|| span.span_context());
        let ours = recorded && active.is_valid() && Some(active.trace_id()) == trace;
        // Lambda decides whether X-Ray records the trace, even if an exporter records this part of it.
        if ours { came.with_parent(active.span_id(), came.sampled()) } else { came.clone() }
    })
}

/// W3C's fields for a call from here, whose span is `call` if it has one.
pub(crate) fn outgoing_fields(invocation: &Invocation, call: Option<&SpanContext>) -> Fields<'static> {
    let propagators = invocation.shared().settings.propagators();
    let mut fields = if propagators.has_w3c() {
        context::map_current(|context: &Context| Fields::outgoing(propagators, context, call))
    } else {
        Fields::default()
    };
    fields.correlation = invocation.correlation_id().map(|id| String::from(&*id).into());
    fields
}

impl Invocation {
    /// The `x-amzn-trace-id` to send with a call from here: its parent is the active span.
    ///
    /// `None` outside of an invocation, and if Lambda sent no trace.
    pub fn trace_header(&self) -> Option<TraceHeader> {
        Some(outgoing_header(self, None)).filter(|header| header.root().is_some())
    }
}
