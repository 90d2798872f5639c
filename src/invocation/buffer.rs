//! The spans of one invocation, from their begin until they leave.

use crate::xray::Frame;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};

/// Room for the spans of most invocations, so that it does not grow step by step before the answer.
const USUAL: usize = 16;

/// Spans that wait for an invocation to come, or to come again; more are left out. A background task of an instance that is not
/// asked anything makes them without end.
const WAITING: usize = 10_000;

/// Spans that ended when their invocation was over: they leave with the next one.
#[derive(Debug, Default)]
pub(crate) struct LateSpans(Mutex<Vec<SpanData>>);

impl LateSpans {
    pub(crate) fn keep(&self, span: SpanData) {
        let mut late = lock(&self.0);
        if late.len() < WAITING {
            late.push(span);
        }
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut lock(&self.0))
    }
}

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
    /// Where a span goes that ends when the buffer is closed.
    late: Option<Arc<LateSpans>>,
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
    /// The open span in a slot, unless it was taken away and the slot is another's.
    fn get(&mut self, at: usize, id: SpanId) -> Option<&mut SpanData> {
        self.open.get_mut(at)?.as_mut().filter(|span| span.span_context.span_id() == id)
    }

    fn take_open(&mut self) -> Vec<SpanData> {
        self.free.clear();
        std::mem::take(&mut self.open).into_iter().flatten().collect()
    }
}

impl SpanBuffer {
    /// The buffer of an invocation: what ends after it goes to `late`.
    pub(super) fn new(late: Arc<LateSpans>) -> Self {
        Self(Arc::new(Mutex::new(Buffered { late: Some(late), ..Buffered::default() })))
    }

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
    pub(crate) fn close(&self) -> Vec<SpanData> {
        let mut buffered = self.lock();
        buffered.closed = true;
        std::mem::take(&mut buffered.finished)
    }

    /// Takes a span that was not recorded for this invocation.
    pub(crate) fn adopt(&self, span: SpanData) {
        self.lock().finished.push(span);
    }

    /// Keeps a span that begins, and says where, and whether it is the first here. `own` makes the invocation's own of the first one.
    pub(crate) fn open(&self, span: SpanData, own: impl FnOnce(&SpanData) -> Option<Own>) -> (Slot, bool) {
        let mut buffered = self.lock();
        let id = span.span_context.span_id();
        let was_unknown = buffered.own.is_none();
        if was_unknown {
            buffered.own = own(&span);
        }
        if let Some(at) = buffered.free.pop() {
            buffered.open[at] = Some(span);
            return (Slot { buffer: self.clone(), at, id }, was_unknown);
        }
        if buffered.open.capacity() == 0 {
            buffered.open.reserve(USUAL / 4);
            buffered.finished.reserve(USUAL);
        }
        buffered.open.push(Some(span));
        (Slot { buffer: self.clone(), at: buffered.open.len() - 1, id }, was_unknown)
    }

    /// How many spans have finished since they were last taken.
    pub(crate) fn finished(&self) -> usize {
        self.lock().finished.len()
    }

    /// Changes the invocation's own span, unless it has ended.
    pub(crate) fn change_own(&self, change: impl FnOnce(&mut SpanData)) {
        let mut buffered = self.lock();
        let Some(id) = buffered.own.as_ref().map(|own| own.id) else { return };
        if let Some(span) = buffered.open.iter_mut().flatten().find(|span| span.span_context.span_id() == id) {
            change(span);
        }
    }

    /// Everything in it, for whoever looks through the buffers of all invocations.
    pub(crate) fn take_all(&self) -> (Option<Own>, Vec<SpanData>, Vec<SpanData>) {
        let mut buffered = self.lock();
        (buffered.own.clone(), buffered.take_open(), std::mem::take(&mut buffered.finished))
    }

    pub(crate) fn downgrade(&self) -> WeakSpanBuffer {
        WeakSpanBuffer(Arc::downgrade(&self.0))
    }

    fn lock(&self) -> MutexGuard<'_, Buffered> {
        lock(&self.0)
    }
}

/// A buffer of an invocation that may be gone.
#[derive(Debug)]
pub(crate) struct WeakSpanBuffer(Weak<Mutex<Buffered>>);

impl WeakSpanBuffer {
    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    pub(crate) fn upgrade(&self) -> Option<SpanBuffer> {
        self.0.upgrade().map(SpanBuffer)
    }
}

/// The slot of a span that has begun.
#[derive(Debug)]
pub(crate) struct Slot {
    buffer: SpanBuffer,
    at: usize,
    id: SpanId,
}

impl Slot {
    /// Changes the span, unless its end has been told by somebody else.
    pub(crate) fn change(&self, change: impl FnOnce(&mut SpanData)) {
        if let Some(span) = self.buffer.lock().get(self.at, self.id) {
            change(span);
        }
    }

    /// Ends the span. Gives it back where its buffer is closed and has nowhere to put it.
    pub(crate) fn end(&self, time: SystemTime) -> Option<SpanData> {
        let mut guard = self.buffer.lock();
        let buffered = &mut *guard;
        buffered.get(self.at, self.id)?.end_time = time;
        let span = buffered.open[self.at].take()?;
        buffered.free.push(self.at);
        if buffered.closed {
            let Some(late) = buffered.late.clone() else { return Some(span) };
            drop(guard);
            late.keep(span);
            return None;
        }
        // Of a buffer of init only: an invocation's is bounded by what one invocation does.
        if buffered.own.is_some() || buffered.finished.len() < WAITING {
            buffered.finished.push(span);
        }
        None
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
