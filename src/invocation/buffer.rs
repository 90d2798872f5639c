//! The spans of one invocation, from their start until they are sent.

use crate::{export::is_for_xray, xray::Frame};
use opentelemetry::{TraceId, trace::SpanId};
use opentelemetry_sdk::trace::SpanData;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};

/// The capacity for the spans of most invocations, so that the buffer rarely grows before the response.
const USUAL: usize = 16;

/// The capacity for open spans: the invocation's own, and one in it. Four would take more than the 1,032 bytes up to which glibc
/// has a cache for each thread.
const OPEN: usize = 2;

/// The most spans that wait for the next invocation; more are dropped. A background task can create spans without end in an
/// environment that gets no events.
const WAITING: usize = 10_000;

/// Spans that ended after their invocation. They are sent with the next one.
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

    /// True if X-Ray gets one of them.
    pub(crate) fn has_some_for_xray(&self) -> bool {
        lock(&self.0).iter().any(is_for_xray)
    }

    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// The spans of one invocation: the open ones, and the finished ones that wait for its response to be posted.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanBuffer(Arc<Mutex<Buffered>>);

#[derive(Debug, Default)]
struct Buffered {
    open: Vec<Option<SpanData>>,
    /// The empty slots of `open`.
    free: Vec<usize>,
    finished: Vec<SpanData>,
    closed: bool,
    /// Takes spans that end after the buffer is closed.
    late: Option<Arc<LateSpans>>,
    /// Set if a shutdown searches this buffer.
    own: Option<Own>,
}

/// The invocation's own span, and the position of its document.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) id: SpanId,
    /// The trace of its spans, which X-Ray shows in the frame's trace.
    pub(crate) trace: TraceId,
    /// The span continues a W3C trace.
    pub(crate) continued: bool,
    pub(crate) frame: Frame,
}

impl Buffered {
    /// The open span in a slot, unless the span was taken and another one uses the slot.
    fn get(&mut self, at: usize, id: SpanId) -> Option<&mut SpanData> {
        self.open.get_mut(at)?.as_mut().filter(|span| span.span_context.span_id() == id)
    }

    /// Prepares a span to be sent with another invocation's. A span of this invocation's trace remains a part of it, although its
    /// parent is Lambda's segment: a remote parent in another trace than the sender's would make it a segment.
    fn make_late(&self, span: &mut SpanData) {
        let is_part = |own: &Own| own.id != span.span_context.span_id() && own.trace == span.span_context.trace_id();
        if self.own.as_ref().is_some_and(is_part) {
            span.parent_span_is_remote = false;
        }
    }

    /// Gives a slot to the next span. The last slot, which spans that end in reverse order use, is removed.
    fn release(&mut self, at: usize) {
        if at + 1 == self.open.len() {
            self.open.truncate(at);
        } else {
            self.open[at] = None;
            self.free.push(at);
        }
    }

    fn take_open(&mut self) -> Vec<SpanData> {
        self.free.clear();
        std::mem::take(&mut self.open).into_iter().flatten().collect()
    }
}

impl SpanBuffer {
    /// The buffer of an invocation, for whose spans `finished` has memory. Spans that end after it are added to `late`.
    pub(super) fn new(late: Arc<LateSpans>, finished: Vec<SpanData>) -> Self {
        Self(Arc::new(Mutex::new(Buffered { late: Some(late), finished, ..Buffered::default() })))
    }

    /// Takes the spans that have finished since the last call.
    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut self.lock().finished)
    }

    /// The invocation's own span, if one has started.
    pub(crate) fn own(&self) -> Option<Own> {
        self.lock().own.clone()
    }

    /// Takes the finished spans, except for one.
    pub(crate) fn take_parts(&self, main: SpanId) -> Vec<SpanData> {
        let mut buffered = self.lock();
        let is_main = |span: &SpanData| span.span_context.span_id() == main;
        let main = buffered.finished.iter().rposition(is_main).map(|at| buffered.finished.remove(at));
        std::mem::replace(&mut buffered.finished, Vec::from_iter(main))
    }

    /// Takes the open spans, and the invocation's own one of them. Their ends are not recorded afterwards.
    pub(crate) fn take_open(&self) -> (Option<Own>, Vec<SpanData>) {
        let mut buffered = self.lock();
        (buffered.own.clone(), buffered.take_open())
    }

    /// Takes the spans that have finished since the last call. Spans that finish later are sent with the next invocation's.
    pub(crate) fn close(&self) -> Vec<SpanData> {
        let mut buffered = self.lock();
        buffered.closed = true;
        let mut finished = std::mem::take(&mut buffered.finished);
        for span in &mut finished {
            buffered.make_late(span);
        }
        finished
    }

    /// Takes a span that was not recorded for this invocation.
    pub(crate) fn adopt(&self, span: SpanData) {
        self.lock().finished.push(span);
    }

    /// Stores a span that starts. Returns its slot, and whether it is the first here. `own` marks the first one as the
    /// invocation's own.
    #[allow(clippy::inline_always, reason = "a span has 400 bytes, and is then copied once instead of twice")]
    #[inline(always)]
    pub(crate) fn open(&self, span: SpanData, own: impl FnOnce(&SpanData) -> Option<Own>) -> (Slot, bool) {
        let mut guard = self.lock();
        let buffered = &mut *guard;
        let at = buffered.free.pop().unwrap_or_else(|| {
            if buffered.open.capacity() == 0 {
                buffered.open.reserve(OPEN);
                buffered.finished.reserve(USUAL);
            }
            buffered.open.push(None);
            buffered.open.len() - 1
        });
        // In one place, so that the span is written there and not moved.
        let span = buffered.open[at].insert(span);
        let was_unknown = buffered.own.is_none();
        if was_unknown {
            buffered.own = own(span);
        }
        (Slot { buffer: self.clone(), at, id: span.span_context.span_id() }, was_unknown)
    }

    /// Makes room for this number of spans, instead of moving them each time that the buffer grows.
    #[cfg(feature = "_batch")]
    pub(crate) fn reserve(&self, spans: usize) {
        self.lock().finished.reserve(spans);
    }

    /// The number of spans that have finished since they were last taken.
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

    /// Takes everything, for callers that search the buffers of all invocations.
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

/// A buffer of an invocation that may have been dropped.
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

/// The slot of a started span.
#[derive(Debug)]
pub(crate) struct Slot {
    buffer: SpanBuffer,
    at: usize,
    id: SpanId,
}

impl Slot {
    /// Changes the span, unless its end was reported already.
    pub(crate) fn change(&self, change: impl FnOnce(&mut SpanData)) {
        if let Some(span) = self.buffer.lock().get(self.at, self.id) {
            change(span);
        }
    }

    /// Forgets the span, as if it had never started.
    pub(crate) fn discard(&self) {
        let mut buffered = self.buffer.lock();
        if buffered.get(self.at, self.id).is_some() {
            buffered.release(self.at);
        }
    }

    /// Ends the span. If its buffer is closed and has no place for late spans, `homeless` gets it.
    pub(crate) fn end(&self, time: SystemTime, homeless: impl FnOnce(SpanData)) {
        let mut guard = self.buffer.lock();
        let buffered = &mut *guard;
        if let Some(span) = buffered.get(self.at, self.id) {
            span.end_time = time;
        } else {
            return;
        }
        if buffered.closed {
            let Some(mut span) = buffered.open[self.at].take() else { return };
            buffered.release(self.at);
            buffered.make_late(&mut span);
            let late = buffered.late.clone();
            drop(guard);
            match late {
                Some(late) => late.keep(span),
                None => homeless(span),
            }
            return;
        }
        // Only the buffer of the Init phase is limited. An invocation's size is limited by its work.
        if buffered.own.is_some() || buffered.finished.len() < WAITING {
            // Moved from place to place, as a span has hundreds of bytes.
            buffered.finished.extend(buffered.open[self.at].take());
        }
        buffered.release(self.at);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::{
        InstrumentationScope,
        trace::{SpanContext, SpanKind, Status, TraceFlags, TraceId, TraceState},
    };
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

    /// A span whose parent is another service's, or Lambda's.
    fn span(trace: u128, id: u64) -> SpanData {
        SpanData {
            span_context: SpanContext::new(TraceId::from(trace), SpanId::from(id), TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: SpanId::from(7),
            parent_span_is_remote: true,
            span_kind: SpanKind::Internal,
            name: "span".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder("test").build(),
        }
    }

    #[test]
    fn a_late_span_is_elsewhere_only_where_its_trace_is_not_its_invocation_s() {
        let late = Arc::<LateSpans>::default();
        let buffer = SpanBuffer::new(Arc::clone(&late), Vec::new());
        let own = |_: &SpanData| {
            let frame = Frame::under(TraceId::from(1), SpanId::from(7)).invocation();
            Some(Own { id: SpanId::from(1), trace: TraceId::from(1), continued: false, frame })
        };
        let open = |trace, id| buffer.open(span(trace, id), own).0;
        let (own_span, before, message, after) = (open(1, 1), open(1, 2), open(2, 3), open(1, 4));
        for span in [&own_span, &before, &message] {
            span.end(SystemTime::UNIX_EPOCH, |_| panic!("it has a place"));
        }
        for span in buffer.close() {
            late.keep(span);
        }
        after.end(SystemTime::UNIX_EPOCH, |_| panic!("it has a place"));
        let elsewhere: Vec<_> =
            late.take().iter().map(|span| (span.span_context.span_id(), span.parent_span_is_remote)).collect();
        let id = SpanId::from;
        assert_eq!(elsewhere, [(id(1), true), (id(2), false), (id(3), true), (id(4), false)]);
    }

    #[test]
    fn spans_end_in_any_order_and_their_places_are_used_again() {
        let buffer = SpanBuffer::default();
        let open = |id| buffer.open(span(1, id), |_| None).0;
        let end = |slot: &Slot| slot.end(SystemTime::UNIX_EPOCH, |_| panic!("it has a place"));
        let (one, two, three) = (open(1), open(2), open(3));
        end(&two);
        end(&three);
        // In the places of both.
        let (four, five) = (open(4), open(5));
        // They have ended, and others are in their places.
        end(&two);
        three.discard();
        five.change(|span| span.dropped_attributes_count = 5);
        end(&one);
        four.discard();
        let six = open(6);
        end(&six);
        end(&five);
        let finished: Vec<_> =
            buffer.take().iter().map(|span| (span.span_context.span_id(), span.dropped_attributes_count)).collect();
        let id = SpanId::from;
        assert_eq!(finished, [(id(2), 0), (id(3), 0), (id(1), 0), (id(6), 0), (id(5), 5)]);
        assert_eq!(buffer.take_open().1.len(), 0);
    }
}
