//! Where X-Ray shows a span: in the invocation's own trace, or in that of an invocation that is over.

use crate::xray::Frame;
use opentelemetry::{TraceId, trace::SpanId};
use opentelemetry_sdk::trace::SpanData;
use std::collections::VecDeque;

/// Continued invocations whose spans may still end when they are over.
const REMEMBERED: usize = 256;

/// The main span of a group that is sent together, and the trace that the others belong to. The main span's document has the
/// number of spans that were left out.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    /// The trace of the invocation's spans. X-Ray shows them in the frame's trace, which differs if a W3C parent is continued.
    pub(crate) here: Option<TraceId>,
    /// The invocation continues a W3C trace, so its parent is known without X-Ray's header.
    pub(crate) continued: bool,
    /// [`SpanId::INVALID`] if the main span is not in this group.
    pub(crate) main: SpanId,
    /// The position of the invocation's own document.
    pub(crate) frame: Frame,
    /// Spans of the invocation that were not recorded, because they could not have been sent.
    pub(crate) not_recorded: u32,
}

impl Sending {
    /// The invocation's own span, if its parent was made up.
    pub(in crate::export) fn rootless(&self) -> Option<SpanId> {
        (self.frame.parent_id() == SpanId::INVALID && !self.continued).then_some(self.main)
    }
}

/// Invocations that continued a W3C trace, the newest last: the trace of their spans, their own span, and the position of its document.
#[derive(Debug, Default)]
pub(super) struct Continued(VecDeque<(TraceId, SpanId, Frame)>);

impl Continued {
    pub(super) fn remember(&mut self, trace: TraceId, own: SpanId, frame: Frame) {
        if self.0.len() >= REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((trace, own, frame));
    }

    /// The position of a span of another trace. A message's work in its producer's trace does not belong to this function's segment. The work of an
    /// earlier invocation does.
    pub(super) fn frame(&self, span: &SpanData) -> Frame {
        let (trace, id) = (span.span_context.trace_id(), span.span_context.span_id());
        let is_of =
            |(continued, own, _): &&(TraceId, SpanId, Frame)| *continued == trace && (*own == id || !span.parent_span_is_remote);
        match self.0.iter().rev().find(is_of) {
            Some((_, own, frame)) if *own == id => frame.clone(),
            Some((.., frame)) => Frame::under(frame.trace_id(), span.parent_span_id),
            None if span.parent_span_is_remote => Frame::of(span).segment(),
            None => Frame::of(span),
        }
    }
}
