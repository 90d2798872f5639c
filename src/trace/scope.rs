//! A part of an invocation with a trace of its own, or with none: the work of one message.

use crate::{Invocation, context, export::Wanted, xray::TraceHeader};
use opentelemetry::trace::TraceContextExt;

/// What differs from the invocation, as a value of the OpenTelemetry context.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// The destinations of its spans. Where there is none, the header is handed on as it is.
    pub(crate) wanted: Wanted,
    /// Stands for the invocation's.
    pub(crate) header: TraceHeader,
}

/// True where spans are kept: in a traced invocation, unless this part of it is excepted.
pub(crate) fn is_recorded(invocation: &Invocation) -> bool {
    invocation.is_recorded() && context::map_current(|context| context.get::<Scope>().is_none_or(|scope| scope.wanted.anywhere()))
}

/// The header for a call from here: the caller is the active span, or whoever came before where nothing is recorded.
pub(crate) fn outgoing_header(invocation: &Invocation) -> TraceHeader {
    context::map_current(|context| {
        let (recorded, came) = match context.get::<Scope>() {
            Some(scope) => (scope.wanted.anywhere(), &scope.header),
            None => (invocation.is_recorded(), invocation.received_header()),
        };
        let span = context.span();
        let active = span.span_context();
        let ours = recorded && active.is_valid() && Some(active.trace_id()) == came.root();
        // Whether X-Ray records the trace stays Lambda's decision, whoever else records this part of it.
        if ours { came.with_parent(active.span_id(), came.sampled()) } else { came.clone() }
    })
}

impl Invocation {
    /// The `x-amzn-trace-id` to send with a call from here: its parent is the span that is active now.
    ///
    /// `None` outside an invocation and where Lambda gave no trace.
    pub fn trace_header(&self) -> Option<TraceHeader> {
        Some(outgoing_header(self)).filter(|header| header.root().is_some())
    }
}
