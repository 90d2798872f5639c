//! The position of an invocation in a trace, its spans and their destinations.

use super::{Facts, Invocation, Own, Shared, Slot, SpanBuffer};
use crate::{
    export::{Decision, Wanted},
    ids::ProcessIds,
    xray::{Decided, Frame, Sampled, TraceHeader},
};
use opentelemetry::{
    Context, TraceId,
    trace::{SpanContext, SpanId, TraceContextExt},
};
use opentelemetry_sdk::trace::{IdGenerator, SpanData};
use std::sync::{Arc, atomic::Ordering};

impl Invocation {
    /// One of no event, whose spans are for X-Ray but not announced.
    pub(crate) fn for_warm_up(shared: &Arc<Shared>) -> Self {
        let header = TraceHeader::default().with_root(ProcessIds.new_trace_id());
        let decision = Decision { wanted: Wanted { unsampled: true, ..Wanted::default() }, ..Decision::default() };
        Self::decided(Arc::clone(shared), Facts { header, ..Facts::default() }, None, decision)
    }

    /// True if a destination gets this invocation's spans.
    pub(crate) fn is_recorded(&self) -> bool {
        self.0.wanted.anywhere()
    }

    /// The destinations of its spans.
    pub(crate) fn wanted(&self) -> Wanted {
        self.0.wanted
    }

    /// Counts a span that is not recorded, because it could not be sent.
    pub(crate) fn leave_out_span(&self) {
        self.0.left_out.fetch_add(1, Ordering::Relaxed);
    }

    /// How many spans were not recorded since this was last asked.
    pub(crate) fn take_left_out(&self) -> u32 {
        self.0.left_out.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn received_header(&self) -> &TraceHeader {
        &self.0.facts.header
    }

    /// The remote parent of the invocation's span.
    pub(crate) fn parent(&self) -> Option<&SpanContext> {
        self.0.parent.as_ref()
    }

    pub(crate) fn parent_id(&self) -> Option<SpanId> {
        self.0.facts.header.parent()
    }

    /// The caller that W3C's fields name, if its trace is continued.
    pub(crate) fn continued(&self) -> Option<&SpanContext> {
        self.0.facts.continued(&self.0.shared.settings)
    }

    /// The caller that W3C's fields name, if its trace is not continued.
    pub(crate) fn linked(&self) -> Option<&SpanContext> {
        self.0.facts.remote.as_ref()?.parent.as_ref().filter(|_| self.continued().is_none())
    }

    /// The OpenTelemetry context of this invocation, without a local span. Lambda's header is still sent on.
    pub(crate) fn context_without_span(&self) -> Context {
        let mut context = Context::new().with_value(self.clone());
        if let Some(remote) = &self.0.facts.remote {
            context = remote.with_baggage(context);
        }
        let Some(parent) = self.parent() else { return context };
        let header = self.received_header();
        let decision = if parent.is_sampled() { Sampled::Yes } else { Sampled::No };
        if header.sampled() != decision || header.root() != Some(parent.trace_id()) {
            context = context.with_value(Decided(header.clone()));
        }
        context.with_remote_span_context(parent.clone())
    }

    pub(crate) fn spans(&self) -> &SpanBuffer {
        &self.0.spans
    }

    /// Stores a span that starts in this invocation. The first one is its own.
    #[allow(clippy::inline_always, reason = "a span has 400 bytes, and is then copied once instead of twice")]
    #[inline(always)]
    pub(crate) fn open_span(&self, span: SpanData) -> Slot {
        let (open, first) = self.0.spans.open(span, |span| Some(self.own_of(span)));
        if first {
            self.make_known_with_its_span();
        }
        open
    }

    #[inline(never)]
    fn own_of(&self, span: &SpanData) -> Own {
        let (id, trace) = (span.span_context.span_id(), span.span_context.trace_id());
        Own { id, trace, continued: self.continued().is_some(), frame: self.frame(trace) }
    }

    #[inline(never)]
    fn make_known_with_its_span(&self) {
        if !self.is_known_at_once() {
            self.0.shared.register(self);
        }
    }

    /// The position of its document: below Lambda's segment, in the X-Ray header's trace, regardless of its spans' `trace`.
    pub(crate) fn frame(&self, trace: TraceId) -> Frame {
        let trace = self.received_header().root().unwrap_or(trace);
        Frame::under(trace, self.parent_id().unwrap_or(SpanId::INVALID)).invocation()
    }

    /// Ends the invocation. Its spans that have not been sent are sent with the next one's.
    pub(crate) fn close_spans(&self) {
        if self.continued().is_some()
            && let Some(own) = self.0.spans.own()
        {
            self.0.shared.destinations.documents().remember(own.trace, own.id, own.frame);
        }
        for span in self.0.spans.close() {
            self.0.shared.late.keep(span);
        }
    }
}
