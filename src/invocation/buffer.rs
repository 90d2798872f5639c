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
    pub(crate) fn open(&self, span: SpanData, own: impl FnOnce(&SpanData) -> Option<Own>) -> (Place, bool) {
        let mut buffered = self.lock();
        let id = span.span_context.span_id();
        let was_unknown = buffered.own.is_none();
        if was_unknown {
            buffered.own = own(&span);
        }
        if let Some(at) = buffered.free.pop() {
            buffered.open[at] = Some(span);
            return (Place { buffer: self.clone(), at, id }, was_unknown);
        }
        if buffered.open.capacity() == 0 {
            buffered.open.reserve(USUAL / 4);
            buffered.finished.reserve(USUAL);
        }
        buffered.open.push(Some(span));
        (Place { buffer: self.clone(), at: buffered.open.len() - 1, id }, was_unknown)
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

/// The place of a span that has begun.
#[derive(Debug)]
pub(crate) struct Place {
    buffer: SpanBuffer,
    at: usize,
    id: SpanId,
}

impl Place {
    /// Changes the span, unless its end has been told by somebody else.
    pub(crate) fn change(&self, change: impl FnOnce(&mut SpanData)) {
        if let Some(span) = self.buffer.lock().get(self.at, self.id) {
            change(span);
        }
    }

    /// Ends the span, of which its buffer keeps at most `most`. Gives it back where the buffer is closed.
    pub(crate) fn end(&self, time: SystemTime, most: usize) -> Option<SpanData> {
        let mut buffered = self.buffer.lock();
        let buffered = &mut *buffered;
        buffered.get(self.at, self.id)?.end_time = time;
        let span = buffered.open[self.at].take()?;
        buffered.free.push(self.at);
        if buffered.closed {
            return Some(span);
        }
        if buffered.finished.len() < most {
            buffered.finished.push(span);
        }
        None
    }

    /// True of a place in this buffer.
    pub(crate) fn is_in(&self, buffer: &SpanBuffer) -> bool {
        Arc::ptr_eq(&self.buffer.0, &buffer.0)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
