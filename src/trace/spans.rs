//! All spans of the process: the buffers of its invocations, those of init, and what ends after its invocation.

use crate::{
    Invocation,
    invocation::{Own, Place, SpanBuffer, WeakInvocation, WeakSpanBuffer, lock},
    xray::Frame,
};
use opentelemetry::{
    TraceId,
    trace::{SpanContext, SpanId, TraceState},
};
use opentelemetry_sdk::trace::SpanData;
use std::{
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

static INIT_OVER: AtomicBool = AtomicBool::new(false);

/// True until the first invocation.
pub(crate) fn is_in_init() -> bool {
    !INIT_OVER.load(Ordering::Acquire)
}

/// Ends init; true for the first caller.
pub(super) fn end_init() -> bool {
    !INIT_OVER.swap(true, Ordering::AcqRel)
}

/// Spans that wait for an invocation to come, or to come again; more are left out. A background task of an instance that is not
/// asked anything makes them without end.
const WAITING: usize = 10_000;

/// All spans of the process, shared by every thread that makes them, by the flush and by the watchdog.
///
/// Why nothing is lost or sent twice between them: each lock guards one container, none is held across an await or a call of the user's, and none
/// is taken while another is held, but for a buffer's, which may be taken while an invocation's notes are held, never the other way round. A span is in one place at a time: open in its buffer, until its end, the watchdog or the
/// shutdown takes it out, which only one of them can; then finished there, or in `late`, until one `take` moves it out. `tests/soak`
/// holds this against sixty-four invocations at a time.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// Invocations that are recorded, those that are gone among them.
    known: Mutex<Vec<Known>>,
    init: SpanBuffer,
    late: Mutex<Vec<SpanData>>,
    /// What spans of init belong to that end when it is over.
    adopter: OnceLock<SpanContext>,
    /// A shutdown has looked through the buffers.
    cut_off: AtomicBool,
}

/// An invocation with its buffer, which lives on while there are spans of the invocation.
#[derive(Debug)]
struct Known {
    invocation: WeakInvocation,
    buffer: WeakSpanBuffer,
}

impl Spans {
    /// Keeps a span that begins in an invocation.
    pub(super) fn open(&self, invocation: &Invocation, span: SpanData) -> Place {
        let buffer = invocation.spans();
        let (place, was_unknown) = buffer.open(span, |span| {
            let (id, trace) = (span.span_context.span_id(), span.span_context.trace_id());
            Some(Own { id, frame: frame_of_invocation(invocation, trace) })
        });
        if was_unknown {
            let mut known = lock(&self.known);
            // Looked through only as often as their number doubles.
            if known.len() == known.capacity() {
                known.retain(|known| !known.buffer.is_gone());
            }
            known.push(Known { invocation: invocation.downgrade(), buffer: buffer.downgrade() });
        }
        place
    }

    /// Keeps a span that begins during init.
    pub(super) fn open_in_init(&self, span: SpanData) -> Place {
        self.init.open(span, |_| None).0
    }

    /// Ends a span, which then waits in its invocation's buffer; it is late where the invocation is over.
    pub(super) fn end(&self, place: &Place, time: SystemTime) {
        let of_init = place.is_in(&self.init);
        let most = if of_init { WAITING } else { usize::MAX };
        match (place.end(time, most), of_init) {
            (None, _) => {}
            (Some(span), false) => self.keep_late(span),
            (Some(span), true) => {
                if let Some(adopter) = self.adopter.get() {
                    self.keep_late(under(adopter, span));
                }
            }
        }
    }

    /// Spans that ended before the first invocation, once.
    pub(crate) fn take_init(&self) -> Vec<SpanData> {
        self.init.close()
    }

    /// Spans of init that end from here on belong to this one. Without it they are dropped.
    pub(crate) fn adopt_rest_of_init(&self, adopter: SpanContext) {
        let _ = self.adopter.set(adopter);
    }

    /// The invocation is over: what of it has not been sent goes with the next one.
    pub(crate) fn close(&self, invocation: &Invocation) {
        for span in invocation.spans().close() {
            self.keep_late(span);
        }
    }

    fn keep_late(&self, span: SpanData) {
        let mut late = lock(&self.late);
        if late.len() < WAITING {
            late.push(span);
        }
    }

    /// The invocations whose spans have not all been sent, each with its buffer, and once only.
    pub(super) fn take_known(&self) -> impl Iterator<Item = (Option<Invocation>, SpanBuffer)> + use<> {
        // Before the look: who opens a span after it has seen the lock of `known`, and with it this.
        self.cut_off.store(true, Ordering::Release);
        let known = std::mem::take(&mut *lock(&self.known));
        known.into_iter().filter_map(|known| Some((known.invocation.upgrade(), known.buffer.upgrade()?)))
    }

    /// True from the moment of that look on: what begins now may have been overlooked.
    pub(super) fn are_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
    }

    /// How many spans have ended after their invocation was over.
    pub(super) fn late(&self) -> usize {
        lock(&self.late).len()
    }

    /// Spans that ended after their invocation was over.
    pub(crate) fn take_late(&self) -> Vec<SpanData> {
        std::mem::take(&mut lock(&self.late))
    }
}

/// The same span as a child of `adopter`, in its trace.
pub(super) fn under(adopter: &SpanContext, mut span: SpanData) -> SpanData {
    let own = &span.span_context;
    span.span_context = SpanContext::new(adopter.trace_id(), own.span_id(), own.trace_flags(), false, TraceState::NONE);
    span.parent_span_id = adopter.span_id();
    span
}

/// Where the document of an invocation stands: below Lambda's segment, or as one of its own.
pub(super) fn frame_of_invocation(invocation: &Invocation, trace: TraceId) -> Frame {
    let parent = invocation.parent_id().unwrap_or(SpanId::INVALID);
    let frame = Frame::under(trace, parent).invocation();
    if invocation.is_foreign() { frame.segment() } else { frame }
}
