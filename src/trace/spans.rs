//! Where spans are from their begin until they leave: open or finished in their invocation's buffer, or late.

use super::delivery;
use crate::{Invocation, xray::Frame};
use opentelemetry::trace::{SpanContext, SpanId, TraceState};
use opentelemetry_sdk::trace::SpanData;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

/// Spans that wait for an invocation to come, or to come again; more are left out. A background task of an instance that is not
/// asked anything makes them without end.
const WAITING: usize = 10_000;

/// Room for the spans of most invocations, so that it does not grow step by step before the answer.
const USUAL: usize = 16;

/// Spans of one invocation: the open ones, and the finished ones that wait for its response to be posted.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanBuffer(Arc<Mutex<Buffered>>);

#[derive(Debug, Default)]
struct Buffered {
    open: Vec<Option<SpanData>>,
    /// Places in `open` that are empty.
    free: Vec<usize>,
    finished: Vec<SpanData>,
    closed: bool,
    /// Of a buffer that a shutdown looks through.
    own: Option<Own>,
}

/// Which span of an invocation is its own, and where its document stands.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) id: SpanId,
    pub(crate) frame: Frame,
}

impl Buffered {
    /// The open span at a place, unless it was taken away and the place is another's.
    fn get(&mut self, at: usize, id: SpanId) -> Option<&mut SpanData> {
        self.open.get_mut(at)?.as_mut().filter(|span| span.span_context.span_id() == id)
    }

    fn take_open(&mut self) -> Vec<SpanData> {
        self.free.clear();
        std::mem::take(&mut self.open).into_iter().flatten().collect()
    }
}

impl SpanBuffer {
    /// What has finished since the last call.
    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut self.lock().finished)
    }

    /// What has begun and not ended, and which of it is the invocation's own. From here on its end is not recorded.
    pub(crate) fn take_open(&self) -> (Option<Own>, Vec<SpanData>) {
        let mut buffered = self.lock();
        (buffered.own.clone(), buffered.take_open())
    }

    /// What has finished since it was last taken. From here on a finished span goes out with the next invocation's.
    fn close(&self) -> Vec<SpanData> {
        let mut buffered = self.lock();
        buffered.closed = true;
        std::mem::take(&mut buffered.finished)
    }

    /// Takes a span that was not recorded for this invocation.
    pub(crate) fn adopt(&self, span: SpanData) {
        self.lock().finished.push(span);
    }

    /// Keeps a span that begins, and says where, and whether this buffer was not known before. The first of an invocation is its own.
    fn open(&self, span: SpanData, of: Option<&Invocation>) -> (usize, bool) {
        let mut buffered = self.lock();
        let was_unknown = buffered.own.is_none();
        if was_unknown && let Some(invocation) = of {
            let (id, trace) = (span.span_context.span_id(), span.span_context.trace_id());
            buffered.own = Some(Own { id, frame: delivery::frame_of_invocation(invocation, trace) });
        }
        if let Some(at) = buffered.free.pop() {
            buffered.open[at] = Some(span);
            return (at, was_unknown);
        }
        if buffered.open.capacity() == 0 {
            buffered.open.reserve(USUAL / 4);
            buffered.finished.reserve(USUAL);
        }
        buffered.open.push(Some(span));
        (buffered.open.len() - 1, was_unknown)
    }

    /// Ends a span, of which this buffer keeps at most `most`. Gives it back where it is over.
    fn end(&self, at: usize, id: SpanId, time: SystemTime, most: usize) -> Option<SpanData> {
        let mut buffered = self.lock();
        let buffered = &mut *buffered;
        buffered.get(at, id)?.end_time = time;
        let span = buffered.open[at].take()?;
        buffered.free.push(at);
        if buffered.closed {
            return Some(span);
        }
        if buffered.finished.len() < most {
            buffered.finished.push(span);
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, Buffered> {
        lock(&self.0)
    }
}

/// The place of a span that has begun.
#[derive(Debug)]
pub(super) struct Place {
    buffer: SpanBuffer,
    at: usize,
    id: SpanId,
}

impl Place {
    /// Changes the span, unless its end has been told by somebody else.
    pub(super) fn change(&self, change: impl FnOnce(&mut SpanData)) {
        if let Some(span) = self.buffer.lock().get(self.at, self.id) {
            change(span);
        }
    }
}

/// All spans of the process, shared by every thread that makes them, by the flush and by the watchdog.
///
/// Why nothing is lost or sent twice between them: each lock guards one container, none is taken while another is held, none is held
/// across an await or a call of the user's. A span is in one place at a time: open in its buffer, until its end, the watchdog or the
/// shutdown takes it out, which only one of them can; then finished there, or in `late`, until one `take` moves it out. `tests/soak`
/// holds this against sixty-four invocations at a time.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// Buffers of invocations, those that are gone among them.
    known: Mutex<Vec<Weak<Mutex<Buffered>>>>,
    init: SpanBuffer,
    late: Mutex<Vec<SpanData>>,
    /// What spans of init belong to that end when it is over.
    adopter: OnceLock<SpanContext>,
    /// A shutdown has looked through the buffers.
    cut_off: AtomicBool,
}

impl Spans {
    /// Keeps a span that begins in an invocation.
    pub(super) fn open(&self, invocation: &Invocation, span: SpanData) -> Place {
        let (id, buffer) = (span.span_context.span_id(), invocation.spans().clone());
        let (at, was_unknown) = buffer.open(span, Some(invocation));
        if was_unknown {
            let mut known = lock(&self.known);
            // Looked through only as often as their number doubles.
            if known.len() == known.capacity() {
                known.retain(|buffer| buffer.strong_count() > 0);
            }
            known.push(Arc::downgrade(&buffer.0));
        }
        Place { buffer, at, id }
    }

    /// Keeps a span that begins during init.
    pub(super) fn open_in_init(&self, span: SpanData) -> Place {
        let id = span.span_context.span_id();
        let (at, _) = self.init.open(span, None);
        Place { buffer: self.init.clone(), at, id }
    }

    /// Ends a span, which then waits in its invocation's buffer; it is late where the invocation is over.
    pub(super) fn end(&self, place: &Place, time: SystemTime) {
        let of_init = Arc::ptr_eq(&place.buffer.0, &self.init.0);
        let most = if of_init { WAITING } else { usize::MAX };
        match (place.buffer.end(place.at, place.id, time, most), of_init) {
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

    /// Of each invocation which span is its own, what has begun and not ended, and what has ended. From here on no end is recorded.
    pub(crate) fn take_all_open(&self) -> Vec<(Option<Own>, Vec<SpanData>, Vec<SpanData>)> {
        // Before the look: who opens a span after it has seen the lock of `known`, and with it this.
        self.cut_off.store(true, Ordering::Release);
        let known = std::mem::take(&mut *lock(&self.known));
        let take = |buffer: Arc<Mutex<Buffered>>| {
            let mut buffered = lock(&buffer);
            (buffered.own.clone(), buffered.take_open(), std::mem::take(&mut buffered.finished))
        };
        known.iter().filter_map(Weak::upgrade).map(take).collect()
    }

    /// True from the moment of that look on: what begins now may have been overlooked.
    pub(super) fn are_cut_off(&self) -> bool {
        self.cut_off.load(Ordering::Acquire)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
