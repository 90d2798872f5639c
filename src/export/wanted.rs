//! The destinations of a span.

use opentelemetry::trace::{SpanContext, TraceFlags};
use opentelemetry_sdk::trace::SpanData;

/// Marks in the trace flags of a span's data, in bits that no specification uses. The span's context as the user sees it has none
/// of them.
const XRAY: u8 = 0x80;
const EXPORTERS: u8 = 0x40;
const UNSAMPLED: u8 = 0x20;
const MARKS: u8 = XRAY | EXPORTERS | UNSAMPLED;

/// The destinations of an invocation's spans, decided once, when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// X-Ray, as Lambda decided.
    pub(crate) xray: bool,
    /// X-Ray as OTLP, which includes what Lambda did not sample.
    pub(crate) unsampled: bool,
    /// The user's exporters, as their sampler decided.
    pub(crate) exporters: bool,
    /// The sampled flag of the spans' contexts, which W3C's `traceparent` carries: the sampler's decision if there are exporters,
    /// otherwise Lambda's.
    pub(crate) sampled: bool,
    /// Only the invocation's own span is recorded, because its other spans could not be sent.
    pub(crate) own_only: bool,
}

impl Wanted {
    /// The destinations if there is only X-Ray.
    pub(crate) fn by_xray(xray: bool) -> Self {
        Self { xray, unsampled: false, exporters: false, sampled: xray, own_only: false }
    }

    /// True if spans are recorded.
    pub(crate) fn anywhere(self) -> bool {
        self.to_xray() || self.exporters
    }

    /// True if X-Ray gets spans, sampled or not.
    pub(crate) fn to_xray(self) -> bool {
        self.xray || self.unsampled
    }

    /// The same without sampling for X-Ray, for a part of an invocation.
    #[cfg(feature = "_batch")]
    pub(crate) fn without_xray(self) -> Self {
        Self { xray: false, sampled: self.exporters, ..self }
    }

    /// The flags of a span's context below a parent with these.
    pub(crate) fn flags(self, parent: TraceFlags) -> TraceFlags {
        TraceFlags::new(parent.to_u8() & !MARKS).with_sampled(self.sampled)
    }

    /// The context that the data of a span with this context has.
    pub(crate) fn marked(self, context: &SpanContext) -> SpanContext {
        let (xray, exporters) = (u8::from(self.xray) * XRAY, u8::from(self.exporters) * EXPORTERS);
        let unsampled = u8::from(self.unsampled && !self.xray) * UNSAMPLED;
        with_flags(context, self.flags(context.trace_flags()).to_u8() | xray | exporters | unsampled)
    }

    /// Marks a span for its destinations.
    pub(crate) fn mark(self, span: &mut SpanData) {
        span.span_context = self.marked(&span.span_context);
    }
}

/// True for a span that X-Ray gets.
pub(crate) fn is_for_xray(span: &SpanData) -> bool {
    span.span_context.trace_flags().to_u8() & (XRAY | UNSAMPLED) != 0
}

/// True for a span whose trace X-Ray samples.
#[cfg(feature = "otlp-udp")]
pub(super) fn is_sampled(span: &SpanData) -> bool {
    span.span_context.trace_flags().to_u8() & XRAY != 0
}

/// True for a span that the user's exporters get.
pub(super) fn is_for_exporters(span: &SpanData) -> bool {
    span.span_context.trace_flags().to_u8() & EXPORTERS != 0
}

/// Removes the marks from a span that is sent.
pub(crate) fn unmark(span: &mut SpanData) {
    let flags = span.span_context.trace_flags().to_u8() & !MARKS;
    span.span_context = with_flags(&span.span_context, flags);
}

fn with_flags(context: &SpanContext, flags: u8) -> SpanContext {
    let (trace, span) = (context.trace_id(), context.span_id());
    SpanContext::new(trace, span, TraceFlags::new(flags), context.is_remote(), context.trace_state().clone())
}
