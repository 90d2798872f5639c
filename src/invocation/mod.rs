//! One invocation, as its code sees it: the remaining time, the cancellation, and the work after the response.

mod annotation;
mod buffer;
mod deadline;
mod deferred;
mod executions;
mod facts;
mod hooks;
mod lines;
mod log;
#[cfg(feature = "metrics-emf")]
mod measured;
#[cfg(feature = "metrics-emf")]
mod metrics;
mod notes;
mod outcome;
mod result;
#[cfg(feature = "aws-sdk")]
mod sends;
mod shared;
mod trace;

pub use annotation::AnnotationValue;
pub(crate) use buffer::{LateSpans, Own, Slot, SpanBuffer};
pub(crate) use deadline::Deadline;
pub use deadline::DeadlineExceeded;
pub(crate) use deferred::{Deferred, Work};
pub(crate) use executions::Execution;
use executions::Executions;
pub(crate) use facts::Facts;
use facts::parent_of;
pub use hooks::Report;
pub(crate) use hooks::{Done, Hooks, ShutdownHook, Stage};
pub(crate) use log::write_lines;
#[cfg(feature = "metrics-emf")]
pub(crate) use measured::Measured;
pub(crate) use notes::Notes;
pub use outcome::Outcome;
pub(crate) use outcome::error_type;
pub(crate) use shared::Shared;

use crate::{
    clock, context,
    environment::Start,
    export::{Decision, Wanted},
    frozen,
    propagation::Correlated,
};
use http::HeaderValue;
use opentelemetry::{
    Context,
    context::FutureExt as _,
    trace::{SpanContext, TraceContextExt},
};
use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// The open execution spans of durable functions.
pub(crate) static EXECUTIONS: Executions<WeakInvocation> = Executions::new();

tokio::task_local! {
    pub(crate) static CURRENT: Invocation;
}

/// The invocation that the running code belongs to. Cheap to clone.
///
/// Inside a handler, [`Invocation::current`] returns it. A handler of axum can take it as an argument (feature `axum`), and a
/// message handler finds it in its [`Message`](crate::sqs::Message).
///
/// ```
/// use lambda_lifecycle::Invocation;
/// # async fn charge() -> u32 { 1 }
/// # async fn send_receipt() {}
/// # async fn handler() -> Result<u32, lambda_lifecycle::Error> {
/// let invocation = Invocation::current();
/// let charged = invocation.within(charge()).await?;   // DeadlineExceeded instead of a kill
/// invocation.annotate("plan", "gold");                // searchable in the X-Ray console
/// invocation.after_response(send_receipt());          // runs after the response
/// # Ok(charged) }
/// ```
#[derive(Clone)]
pub struct Invocation(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    facts: Facts,
    token: OnceLock<CancellationToken>,
    parent: Option<SpanContext>,
    wanted: Wanted,
    left_out: AtomicU32,
    watched: AtomicBool,
    polled: AtomicBool,
    durable: AtomicBool,
    idle: Option<Duration>,
    spans: SpanBuffer,
    deferred: Deferred<Stage>,
    notes: Mutex<Notes>,
    log: log::LogState,
    #[cfg(feature = "metrics-emf")]
    measured: Option<Box<Measured>>,
}

/// An invocation that may have been dropped.
#[derive(Clone)]
pub(crate) struct WeakInvocation(Weak<Inner>);

impl WeakInvocation {
    pub(crate) fn upgrade(&self) -> Option<Invocation> {
        self.0.upgrade().map(Invocation)
    }
}

impl fmt::Debug for WeakInvocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakInvocation").finish_non_exhaustive()
    }
}

/// While this exists, a thread runs the handler or its layers.
#[must_use]
pub(crate) struct Running<'i>(&'i AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Invocation {
    /// The invocation that is running here.
    ///
    /// It is found in the task. In a task that was spawned without it, it is found in the OpenTelemetry context of an
    /// instrumented span. Outside of any invocation (in a unit test, in the Init phase) it is a detached one: without a deadline,
    /// and with a token that is never cancelled. Never panics.
    pub fn current() -> Self {
        Self::try_current().unwrap_or_else(Self::detached)
    }

    /// The invocation that is running here, `None` outside of any.
    pub fn try_current() -> Option<Self> {
        let of_trace = |context: &Context| EXECUTIONS.of_trace(context.span().span_context())?.upgrade();
        let of_context = || context::map_current(|context| context.get::<Self>().cloned().or_else(|| of_trace(context)));
        CURRENT.try_with(Clone::clone).ok().or_else(of_context)
    }

    fn detached() -> Self {
        Self::new(Shared::detached(), Facts::default())
    }

    pub(crate) fn new(shared: Arc<Shared>, mut facts: Facts) -> Self {
        let traced = facts.traced && shared.settings.trace;
        let continued = facts.continued(&shared.settings).cloned();
        let decision =
            if traced { shared.destinations.decide(&mut facts.header, continued.as_ref()) } else { Decision::default() };
        Self::decided(shared, facts, continued, decision)
    }

    fn decided(shared: Arc<Shared>, facts: Facts, continued: Option<SpanContext>, decision: Decision) -> Self {
        let parent = parent_of(&facts.header, continued, &decision);
        let notes = Notes { attributes: decision.attributes, ..Notes::default() };
        let late = Arc::clone(&shared.late);
        let finished = if decision.wanted.anywhere() { shared.destinations.spare() } else { Vec::new() };
        #[cfg(feature = "metrics-emf")]
        let measured = shared.settings.metrics.is_on().then(Box::default);
        Self(Arc::new(Inner {
            shared,
            facts,
            token: OnceLock::new(),
            parent,
            wanted: decision.wanted,
            left_out: AtomicU32::new(0),
            watched: AtomicBool::new(false),
            polled: AtomicBool::new(false),
            durable: AtomicBool::new(false),
            idle: frozen::time(),
            spans: SpanBuffer::new(late, finished),
            deferred: Deferred::default(),
            notes: Mutex::new(notes),
            log: log::LogState::default(),
            #[cfg(feature = "metrics-emf")]
            measured,
        }))
    }

    /// The configuration of its lifecycle.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Lambda's id of this invocation; empty for a detached one.
    pub fn request_id(&self) -> &str {
        &self.0.facts.context.request_id
    }

    /// The function's ARN as the caller specified it, with an alias if the caller used one.
    pub fn invoked_function_arn(&self) -> &str {
        &self.0.facts.context.invoked_function_arn
    }

    /// The tenant of this invocation, in functions with tenant isolation.
    pub fn tenant_id(&self) -> Option<&str> {
        self.0.facts.context.tenant_id.as_deref()
    }

    /// The correlation id of the running work, where [`Builder::correlation_id`](crate::Builder::correlation_id) says where it is: that of a
    /// message in the handler of a message, or else that of the event.
    ///
    /// ```
    /// # let invocation = lambda_lifecycle::Invocation::current();
    /// let id: Option<std::sync::Arc<str>> = invocation.correlation_id();
    /// ```
    pub fn correlation_id(&self) -> Option<Arc<str>> {
        self.0.shared.settings.correlation_id.as_ref()?;
        let of_context = context::map_current(|context| context.get::<Correlated>().map(|Correlated(id)| Arc::clone(id)));
        of_context.or_else(|| self.0.facts.correlation_id.clone())
    }

    /// The client context as the caller sent it, usually JSON.
    ///
    /// `lambda_runtime::Context` contains it only in the format of the AWS Mobile SDK. Tracers, and tools that keep functions
    /// warm, send other formats: nested values, or text that is not JSON.
    ///
    /// ```
    /// # let invocation = lambda_lifecycle::Invocation::current();
    /// let context: Option<serde_json::Value> =
    ///     invocation.client_context().and_then(|json| serde_json::from_slice(json).ok());
    /// ```
    pub fn client_context(&self) -> Option<&[u8]> {
        self.0.facts.client_context.as_ref().map(HeaderValue::as_bytes)
    }

    /// The Cognito identity of the caller as Lambda sent it, usually JSON.
    pub fn cognito_identity(&self) -> Option<&[u8]> {
        self.0.facts.identity.as_ref().map(HeaderValue::as_bytes)
    }

    /// The time for which this environment was frozen between its last invocation and this one. `None` in its first, and on
    /// Managed Instances, which are never frozen.
    pub fn idle(&self) -> Option<Duration> {
        self.0.idle
    }

    /// True for the one invocation that waited for its environment to be created. False after a SnapStart restore, which is not a
    /// cold start: see [`is_restored`](Self::is_restored).
    pub fn is_cold_start(&self) -> bool {
        self.0.facts.start == Start::Cold
    }

    /// True for the first invocation after a SnapStart restore. Connections that were opened before the snapshot are dead then.
    pub fn is_restored(&self) -> bool {
        self.0.facts.start == Start::Restored
    }

    /// The time when the platform ends this invocation. `None` without a plausible deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.facts.deadline.map(|deadline| deadline.kill)
    }

    /// Time until the platform ends this invocation: [`Duration::MAX`] without a deadline.
    pub fn remaining(&self) -> Duration {
        self.deadline().map_or(Duration::MAX, |at| at.saturating_duration_since(clock::now()))
    }

    /// Cancelled shortly before the deadline, while there is still time to stop in order and to respond.
    ///
    /// Pass it to functions that take a token, or give parts of the work a [child of it](CancellationToken::child_token).
    pub fn cancellation_token(&self) -> CancellationToken {
        self.token().clone()
    }

    /// True from the moment the token is cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.token.get().is_some_and(CancellationToken::is_cancelled)
            || self.0.facts.deadline.is_some_and(|deadline| clock::now() >= deadline.soft)
    }

    /// Runs `future` until the token is cancelled.
    ///
    /// # Errors
    /// [`DeadlineExceeded`] when the time was over first; the future is then dropped.
    pub async fn within<F: Future>(&self, future: F) -> Result<F::Output, DeadlineExceeded> {
        let finished = self.token().run_until_cancelled(future).await;
        finished.ok_or_else(|| self.exceed())
    }

    /// Spawns a task that keeps this invocation and the current span.
    ///
    /// A bare `tokio::spawn` loses both: its spans would belong to nothing. For work that continues after the response, use
    /// [`after_response`](Self::after_response).
    ///
    /// # Panics
    /// Outside a Tokio runtime, as `tokio::spawn` does.
    #[track_caller]
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(CURRENT.scope(self.clone(), future).with_current_context().in_current_span())
    }

    /// The context from `lambda_runtime` for this event.
    pub fn lambda_context(&self) -> &lambda_runtime::Context {
        &self.0.facts.context
    }

    /// True if metrics are enabled.
    #[cfg(feature = "metrics-emf")]
    pub(crate) fn is_measured(&self) -> bool {
        self.0.measured.is_some()
    }

    #[cfg(not(feature = "metrics-emf"))]
    #[allow(clippy::unused_self, reason = "the same call with and without the feature")]
    fn is_measured(&self) -> bool {
        false
    }

    /// True if it is registered when it begins. If it is only recorded, it is registered with its span.
    fn is_known_at_once(&self) -> bool {
        self.is_measured() || self.keeps_lines()
    }

    /// Registers it for the watchdog and for a shutdown, if they have something to write for it.
    pub(crate) fn make_known(&self) {
        if self.is_known_at_once() {
            self.0.shared.register(self);
        }
        // The shutdown may have collected the invocations before.
        if self.0.shared.is_cut_off() {
            self.release_lines();
        }
    }

    /// True if the watchdog may have to report it, which needs an invocation that is recorded, measured or keeps log lines.
    pub(crate) fn wants_watchdog(&self) -> bool {
        (self.is_recorded() || self.is_known_at_once()) && self.0.facts.deadline.is_some() && self.0.shared.settings.watchdog
    }

    /// True until the response was posted, or the watchdog has reported that it is missing.
    pub(crate) fn is_watched(&self) -> bool {
        self.0.watched.load(Ordering::Relaxed)
    }

    /// True while a thread is running the handler or its layers.
    pub(crate) fn is_polled(&self) -> bool {
        self.0.polled.load(Ordering::Relaxed)
    }

    /// Runs a part of the invocation, and marks it as running for the watchdog.
    pub(crate) fn polling<T>(&self, poll: impl FnOnce() -> T) -> T {
        let _running = self.running();
        poll()
    }

    /// Marks the invocation as running for the watchdog, until the result is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        self.0.polled.store(true, Ordering::Relaxed);
        Running(&self.0.polled)
    }

    pub(crate) fn set_watched(&self, watched: bool) {
        self.0.watched.store(watched, Ordering::Relaxed);
    }

    /// Marks it as an invocation of a durable execution.
    pub(crate) fn set_durable(&self) {
        self.0.durable.store(true, Ordering::Relaxed);
    }

    /// True outside of any invocation.
    pub(crate) fn is_detached(&self) -> bool {
        self.0.facts.context.request_id.is_empty()
    }

    pub(crate) fn timing(&self) -> Option<Deadline> {
        self.0.facts.deadline
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.0.facts.deadline.is_some_and(|deadline| clock::now() >= deadline.hard)
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        self.0.token.get_or_init(CancellationToken::new)
    }

    pub(crate) fn deferred(&self) -> &Deferred<Stage> {
        &self.0.deferred
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn downgrade(&self) -> WeakInvocation {
        WeakInvocation(Arc::downgrade(&self.0))
    }

    #[cfg(feature = "http")]
    pub(crate) fn note(&self, attribute: opentelemetry::KeyValue) {
        self.notes().attributes.push(attribute);
    }

    /// The state of its log.
    pub(crate) fn log(&self) -> &log::LogState {
        &self.0.log
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invocation")
            .field("request_id", &self.request_id())
            .field("remaining", &self.remaining())
            .field("cold_start", &self.is_cold_start())
            .finish_non_exhaustive()
    }
}
