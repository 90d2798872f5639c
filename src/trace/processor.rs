//! Between the OpenTelemetry SDK and the documents: which open span belongs to which invocation, and the finished ones.

use super::Scope;
use crate::Invocation;
use opentelemetry::{Context, trace::SpanId};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Finished spans of one invocation, waiting for its response to be posted.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpanBuffer(Arc<Buffered>);

#[derive(Debug, Default)]
struct Buffered {
    spans: Mutex<Vec<SpanData>>,
    closed: AtomicBool,
}

impl SpanBuffer {
    /// What has finished since the last call.
    pub(crate) fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut lock(&self.0.spans))
    }

    /// From here on a finished span goes out with the next invocation's.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
    }

    /// Takes a span that was not recorded for this invocation.
    pub(crate) fn adopt(&self, span: SpanData) {
        lock(&self.0.spans).push(span);
    }

    fn push(&self, span: SpanData) -> Result<(), Box<SpanData>> {
        if self.0.closed.load(Ordering::Acquire) {
            return Err(Box::new(span));
        }
        lock(&self.0.spans).push(span);
        Ok(())
    }
}

/// A span that has begun.
#[derive(Debug)]
struct Open {
    buffer: SpanBuffer,
    /// As it was begun, for the watchdog: later attributes cannot be read.
    begun: Option<Box<SpanData>>,
}

/// The processor's state, shared with the recorder.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    open: Mutex<HashMap<SpanId, Open>>,
    init: SpanBuffer,
    late: Mutex<Vec<SpanData>>,
    pub(crate) init_over: AtomicBool,
}

impl Spans {
    /// Spans that ended before the first invocation, once.
    pub(crate) fn take_init(&self) -> Vec<SpanData> {
        self.init_over.store(true, Ordering::Release);
        self.init.take()
    }

    /// The spans of an invocation that have begun and not ended. From here on their end is not recorded.
    pub(crate) fn take_open_of(&self, invocation: &Invocation) -> Vec<SpanData> {
        let of_it = lock(&self.open).extract_if(|_, span| Arc::ptr_eq(&span.buffer.0, &invocation.spans().0)).collect::<Vec<_>>();
        of_it.into_iter().filter_map(|(_, span)| span.begun).map(|begun| *begun).collect()
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
            Some(invocation) => (invocation.spans().clone(), invocation.is_watched()),
            None if !self.0.init_over.load(Ordering::Acquire) => (self.0.init.clone(), false),
            None => return,
        };
        let begun = watched.then(|| span.exported_data().map(Box::new)).flatten();
        lock(&self.0.open).insert(span.span_context().span_id(), Open { buffer, begun });
    }

    fn on_end(&self, span: SpanData) {
        let Some(open) = lock(&self.0.open).remove(&span.span_context.span_id()) else { return };
        if let Err(span) = open.buffer.push(span) {
            lock(&self.0.late).push(*span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
