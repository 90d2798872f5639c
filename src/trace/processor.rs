//! Between the OpenTelemetry SDK and the documents: which open span belongs to which invocation, and the finished ones.

use super::{Scope, is_in_init};
use crate::Invocation;
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceState},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

/// Spans that wait for an invocation to come, or to come again; more are left out. A background task of an instance that is not
/// asked anything makes them without end.
const WAITING: usize = 10_000;

/// Finished spans of one invocation, waiting for its response to be posted.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanBuffer(Arc<Mutex<Buffered>>);

#[derive(Debug, Default)]
struct Buffered {
    spans: Vec<SpanData>,
    closed: bool,
}

impl SpanBuffer {
    /// What has finished since the last call.
    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut lock(&self.0).spans)
    }

    /// What has finished since it was last taken. From here on a finished span goes out with the next invocation's.
    fn close(&self) -> Vec<SpanData> {
        let mut buffered = lock(&self.0);
        buffered.closed = true;
        std::mem::take(&mut buffered.spans)
    }

    /// Takes a span that was not recorded for this invocation.
    pub(crate) fn adopt(&self, span: SpanData) {
        lock(&self.0).spans.push(span);
    }

    fn push(&self, span: SpanData, most: usize) -> Result<(), Box<SpanData>> {
        let mut buffered = lock(&self.0);
        if buffered.closed {
            return Err(Box::new(span));
        }
        if buffered.spans.len() < most {
            buffered.spans.push(span);
        }
        Ok(())
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A span that has begun.
#[derive(Debug)]
struct Open {
    buffer: SpanBuffer,
    /// As it was begun, for the watchdog: later attributes cannot be read.
    begun: Option<Box<SpanData>>,
}

/// The processor's state, shared by every thread that makes spans, by the flush and by the watchdog.
///
/// Why nothing is lost or sent twice between them: each lock guards one container, none is taken while another is held, none is held
/// across an await or a call of the user's. A span is in one place at a time: in `open`, until its end, the watchdog or the shutdown
/// removes it, which only one of them can; then in its buffer, or in `late`, until one `take` moves it out. `tests/soak` holds this
/// against sixty-four invocations at a time.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    open: Mutex<HashMap<SpanId, Open>>,
    init: SpanBuffer,
    late: Mutex<Vec<SpanData>>,
    /// What spans of init belong to that end when it is over.
    adopter: OnceLock<SpanContext>,
}

impl Spans {
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

    /// The spans of an invocation that have begun and not ended. From here on their end is not recorded.
    pub(crate) fn take_open_of(&self, invocation: &Invocation) -> Vec<SpanData> {
        let of_it = lock(&self.open).extract_if(|_, span| span.buffer.is(invocation.spans())).collect::<Vec<_>>();
        of_it.into_iter().filter_map(|(_, span)| span.begun).map(|begun| *begun).collect()
    }

    /// All spans that have begun and not ended, and what has ended of their invocations. From here on their end is not recorded.
    pub(crate) fn take_all_open(&self) -> (Vec<SpanData>, Vec<SpanData>) {
        let open = std::mem::take(&mut *lock(&self.open));
        let finished = open.values().flat_map(|span| span.buffer.take()).collect();
        (open.into_values().filter_map(|span| span.begun).map(|begun| *begun).collect(), finished)
    }

    /// Spans that ended after their invocation was over.
    pub(crate) fn take_late(&self) -> Vec<SpanData> {
        std::mem::take(&mut lock(&self.late))
    }
}

/// Hands every recorded span to its invocation. Spans of no invocation are kept during init only.
#[derive(Clone, Debug, Default)]
pub(crate) struct InvocationProcessor(pub(crate) Arc<Spans>);

impl SpanProcessor for InvocationProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        use opentelemetry::trace::Span as _;
        if context.get::<Scope>().is_some_and(|scope| !scope.recorded) {
            return;
        }
        let (buffer, watched) = match context.get::<Invocation>() {
            // Work that outlives an invocation nobody traces, in one that is traced.
            Some(invocation) if !invocation.is_recorded() => return,
            Some(invocation) => (invocation.spans().clone(), invocation.is_watched()),
            None if is_in_init() => (self.0.init.clone(), false),
            None => return,
        };
        let begun = watched.then(|| span.exported_data().map(Box::new)).flatten();
        lock(&self.0.open).insert(span.span_context().span_id(), Open { buffer, begun });
    }

    fn on_end(&self, span: SpanData) {
        let Some(open) = lock(&self.0.open).remove(&span.span_context.span_id()) else { return };
        let of_init = open.buffer.is(&self.0.init);
        match open.buffer.push(span, if of_init { WAITING } else { usize::MAX }) {
            Ok(()) => {}
            Err(span) if of_init => {
                if let Some(adopter) = self.0.adopter.get() {
                    self.0.keep_late(under(adopter, *span));
                }
            }
            Err(span) => self.0.keep_late(*span),
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
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
