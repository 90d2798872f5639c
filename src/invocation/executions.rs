//! The open execution spans of durable functions.
//!
//! The durable execution SDK runs branches and `.spawn()`ed operations in its own tasks, which know no invocation. Only the request id on the
//! SDK's spans, and then the trace, connect them to theirs. So the table is the process's.

use crate::durable::IS_REPLAY;
use opentelemetry::{
    KeyValue, Value,
    trace::{SpanContext, SpanId},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

type Open<I> = HashMap<SpanId, (Arc<Execution>, I)>;

/// The open execution spans, each with its invocation.
pub(crate) struct Executions<I> {
    open: Mutex<Option<Open<I>>>,
    /// Their number, so that other functions take no lock.
    count: AtomicUsize,
}

/// An open execution span: of the handler, or of a branch of it.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) context: SpanContext,
    request_id: String,
    replays: AtomicBool,
    /// It is inside of another one.
    nested: bool,
}

impl<I: Clone> Executions<I> {
    pub(super) const fn new() -> Self {
        Self { open: Mutex::new(None), count: AtomicUsize::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open<I>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn open(&self, invocation: I, context: SpanContext, request_id: String, replays: bool) -> Arc<Execution> {
        let mut open = self.lock();
        let executions = open.get_or_insert_default();
        let nested = executions.values().any(|(other, _)| other.request_id == request_id);
        let execution = Arc::new(Execution { context, request_id, replays: AtomicBool::new(replays), nested });
        if executions.insert(execution.context.span_id(), (Arc::clone(&execution), invocation)).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        execution
    }

    pub(crate) fn close(&self, execution: &Execution) {
        if self.lock().as_mut().and_then(|executions| executions.remove(&execution.context.span_id())).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The one whose span this is.
    pub(crate) fn of_span(&self, span: SpanId) -> Option<Arc<Execution>> {
        self.lock().as_ref()?.get(&span).map(|(execution, _)| Arc::clone(execution))
    }

    /// The handler's execution in the invocation with this request id, and that invocation.
    pub(crate) fn of_request(&self, request_id: &str) -> Option<(Arc<Execution>, I)> {
        let open = self.lock();
        let mut executions = open.as_ref()?.values();
        executions.find(|(execution, _)| !execution.nested && execution.request_id == request_id).cloned()
    }

    /// An invocation in whose trace a span is.
    pub(super) fn of_trace(&self, span: &SpanContext) -> Option<I> {
        if self.is_empty() || !span.is_valid() {
            return None;
        }
        let open = self.lock();
        let mut executions = open.as_ref()?.values();
        executions
            .find(|(execution, _)| execution.context.trace_id() == span.trace_id())
            .map(|(_, invocation)| invocation.clone())
    }
}

impl Execution {
    /// Follows the field that the SDK changes when the first new operation begins.
    pub(crate) fn observe(&self, attribute: &KeyValue) {
        if let (IS_REPLAY, Value::Bool(replays)) = (attribute.key.as_str(), &attribute.value) {
            self.replays.store(*replays, Ordering::Relaxed);
        }
    }

    /// True while results that are already recorded are returned in it.
    pub(crate) fn replays(&self) -> bool {
        self.replays.load(Ordering::Relaxed)
    }

    /// True for a branch in which nothing new happened.
    pub(crate) fn is_repeated(&self) -> bool {
        self.nested && self.replays()
    }
}
