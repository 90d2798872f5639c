//! One invocation, as its code sees it: the remaining time, the cancellation, and the work after the response.

mod annotation;
mod buffer;
mod deadline;
mod deferred;
mod executions;
mod hooks;
mod lines;
mod log;
#[cfg(feature = "metrics-emf")]
mod measured;
#[cfg(feature = "metrics-emf")]
mod metrics;
mod outcome;
#[cfg(feature = "aws-sdk")]
mod sends;
mod shared;

pub use annotation::AnnotationValue;
pub(crate) use buffer::{LateSpans, Own, Slot, SpanBuffer};
pub(crate) use deadline::Deadline;
pub use deadline::DeadlineExceeded;
pub(crate) use deferred::{Deferred, Work};
pub(crate) use executions::Execution;
use executions::Executions;
pub use hooks::Report;
pub(crate) use hooks::{Done, Hooks, ShutdownHook, Stage};
pub(crate) use log::write_lines;
#[cfg(feature = "metrics-emf")]
pub(crate) use measured::Measured;
pub use outcome::Outcome;
pub(crate) use outcome::error_type;
pub(crate) use shared::Shared;

use crate::{
    clock, context, durable,
    environment::Start,
    export::{Decision, Wanted},
    frozen,
    ids::ProcessIds,
    notice::{self, Data, Warning},
    propagation::{Correlated, Remote},
    settings::Settings,
    xray::{Decided, Frame, Sampled, TraceHeader},
};
use http::HeaderValue;
use opentelemetry::{
    Context, KeyValue, TraceId,
    context::FutureExt as _,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags},
};
use opentelemetry_sdk::trace::{IdGenerator, SpanData};
use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
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

/// The facts of an invocation when it starts.
pub(crate) struct Facts {
    /// Boxed, so that an invocation fits into the allocator's cache.
    pub(crate) context: Box<lambda_runtime::Context>,
    pub(crate) received: Instant,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) header: TraceHeader,
    /// The caller that W3C's fields name.
    pub(crate) remote: Option<Box<Remote>>,
    pub(crate) start: Start,
    /// False if no layer would send its spans.
    pub(crate) traced: bool,
    /// The caller's data that came with the event, unchanged.
    pub(crate) client_context: Option<HeaderValue>,
    pub(crate) identity: Option<HeaderValue>,
    pub(crate) correlation_id: Option<Arc<str>>,
}

impl Facts {
    fn continued(&self, settings: &Settings) -> Option<&SpanContext> {
        self.remote.as_ref().filter(|_| settings.continues_invocations())?.parent.as_ref()
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            context: Box::default(),
            received: clock::now(),
            deadline: None,
            header: TraceHeader::default(),
            remote: None,
            start: Start::Warm,
            traced: true,
            client_context: None,
            identity: None,
            correlation_id: None,
        }
    }
}

/// Facts that become known during an invocation, for its span.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) outcome: Option<Outcome>,
    /// The redacted error that was logged and posted.
    pub(crate) logged: Option<lambda_runtime::Diagnostic>,
    /// The last error of [`Invocation::within`].
    pub(crate) exceeded: Option<DeadlineExceeded>,
    /// The handler's layer has seen it. Without an outcome it had no response.
    pub(crate) handled: bool,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) annotations: Vec<KeyValue>,
    pub(crate) http_status: Option<u16>,
    /// The response says that a durable execution has failed.
    pub(crate) execution_failed: bool,
    /// The event was not a valid request: the caller gets 400.
    #[cfg(feature = "http")]
    pub(crate) request_invalid: bool,
    /// The body of a streamed response broke off, so the caller has only a part of it.
    pub(crate) stream_broken: bool,
    #[cfg(feature = "aws-sdk")]
    pub(crate) sends: sends::Sends,
    /// Errors that were logged outside of any span of `tracing`.
    pub(crate) errors: u32,
    /// Other events that were recorded outside of any.
    pub(crate) events: u32,
    /// The response is being posted, or a stream of it.
    pub(crate) responding: bool,
    /// The environment ended before the outcome was known, and the trace says so. No response may follow.
    pub(crate) cut_off: bool,
    /// The invocation's span contains all of this.
    pub(crate) concluded: bool,
}

impl Notes {
    /// The outcome in one word.
    pub(crate) fn outcome_word(&self) -> Option<&'static str> {
        match &self.outcome {
            Some(outcome) => Some(outcome.as_str()),
            // The response could not be made or sent.
            None if self.handled => Some("no_response"),
            // Without the handler's layer the outcome is unknown, and it is not guessed.
            None => None,
        }
    }
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

    /// The OpenTelemetry context of this invocation, without a local span. Lambda's header is still sent on.
    pub(crate) fn context_without_span(&self) -> Context {
        let mut context = Context::new().with_value(self.clone());
        if let Some(remote) = &self.0.facts.remote {
            context = remote.with_baggage(context);
        }
        let Some(parent) = self.parent() else { return context };
        let header = self.received_header();
        let decision = if parent.is_sampled() { Sampled::Yes } else { Sampled::No };
        if header.sampled() != decision || header.root() != Some(parent.trace_id()) {
            context = context.with_value(Decided(header.clone()));
        }
        context.with_remote_span_context(parent.clone())
    }

    /// True if a destination gets this invocation's spans.
    pub(crate) fn is_recorded(&self) -> bool {
        self.0.wanted.anywhere()
    }

    /// The destinations of its spans.
    pub(crate) fn wanted(&self) -> Wanted {
        self.0.wanted
    }

    /// The caller that W3C's fields name, if its trace is continued.
    pub(crate) fn continued(&self) -> Option<&SpanContext> {
        self.0.facts.continued(&self.0.shared.settings)
    }

    /// The caller that W3C's fields name, if its trace is not continued.
    pub(crate) fn linked(&self) -> Option<&SpanContext> {
        self.0.facts.remote.as_ref()?.parent.as_ref().filter(|_| self.continued().is_none())
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

    /// Notes the status of the durable execution that the response has, if it is one.
    pub(crate) fn note_execution(&self, response: &str) {
        if !self.0.durable.load(Ordering::Relaxed) {
            return;
        }
        if let Some(status) = durable::status(response) {
            let mut notes = self.notes();
            notes.execution_failed = status == "FAILED";
            notes.annotations.push(KeyValue::new("annotation.durable_status", status));
        }
    }

    /// True outside of any invocation.
    pub(crate) fn is_detached(&self) -> bool {
        self.0.facts.context.request_id.is_empty()
    }

    pub(crate) fn received_header(&self) -> &TraceHeader {
        &self.0.facts.header
    }

    /// The remote parent of the invocation's span.
    pub(crate) fn parent(&self) -> Option<&SpanContext> {
        self.0.parent.as_ref()
    }

    pub(crate) fn parent_id(&self) -> Option<SpanId> {
        self.0.facts.header.parent()
    }

    pub(crate) fn timing(&self) -> Option<Deadline> {
        self.0.facts.deadline
    }

    /// The error for work of this invocation that was cut off. If the handler returns an error that wraps it, the outcome is
    /// `deadline_exceeded`.
    pub(crate) fn exceed(&self) -> DeadlineExceeded {
        let exceeded = self.exceeded();
        self.notes().exceeded = Some(exceeded.clone());
        exceeded
    }

    pub(crate) fn exceeded(&self) -> DeadlineExceeded {
        DeadlineExceeded::new(clock::now().saturating_duration_since(self.0.facts.received))
    }

    /// True for an error that is, or wraps, the [`DeadlineExceeded`] that this invocation returned. A user's error need not be
    /// `'static`, so its `Debug` output is searched: it shows the parts of an error, through `anyhow`, boxes and enums alike.
    pub(crate) fn is_deadline_exceeded(&self, error: &dyn fmt::Debug) -> bool {
        let has_exceeded = self.notes().exceeded.is_some();
        has_exceeded && DeadlineExceeded::is_in(&format!("{error:?}"))
    }

    /// The outcome of an invocation whose handler returned this error.
    pub(crate) fn failure_of<E: Into<lambda_runtime::Diagnostic> + fmt::Debug>(&self, error: E) -> Outcome {
        let is_deadline = self.is_deadline_exceeded(&error);
        let outcome = Outcome::failed(error.into());
        match outcome {
            Outcome::Failed(diagnostic) if is_deadline => Outcome::exceeded_with(diagnostic.error_message),
            outcome => outcome,
        }
    }

    /// Logs the failure once, and returns the error to post.
    pub(crate) fn log_failure(&self, outcome: &Outcome) -> lambda_runtime::Diagnostic {
        let diagnostic = outcome.diagnostic().cloned().unwrap_or_else(|| lambda_runtime::Diagnostic {
            error_type: "Lifecycle.Failed".to_owned(),
            error_message: outcome.as_str().to_owned(),
        });
        let diagnostic = self.0.shared.settings.redacted(diagnostic);
        let data = Data { error_type: Some(&diagnostic.error_type), ..Data::error(&diagnostic.error_message) };
        // The line of the error would do the same, but the log's filter may leave it out.
        self.release_lines();
        notice::log(Warning::InvocationFailed, Data { outcome: Some(outcome.as_str()), ..data });
        self.notes().logged = Some(diagnostic.clone());
        diagnostic
    }

    /// The error of a message's handler, for Lambda.
    pub(crate) fn diagnostic_of<E: Into<lambda_runtime::Error>>(&self, error: E) -> lambda_runtime::Diagnostic {
        let error = error.into();
        let error_type = self.error_type_of::<E>(&error).to_owned();
        lambda_runtime::Diagnostic { error_type, error_message: error.to_string() }
    }

    /// The searchable type of an error that was an `E`.
    pub(crate) fn error_type_of<E>(&self, error: &lambda_runtime::Error) -> &'static str {
        if self.is_deadline_exceeded(error) { outcome::DEADLINE_EXCEEDED } else { error_type::<E>() }
    }

    pub(crate) fn is_overdue(&self) -> bool {
        self.0.facts.deadline.is_some_and(|deadline| clock::now() >= deadline.hard)
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        self.0.token.get_or_init(CancellationToken::new)
    }

    pub(crate) fn spans(&self) -> &SpanBuffer {
        &self.0.spans
    }

    /// Stores a span that starts in this invocation. The first one is its own.
    pub(crate) fn open_span(&self, span: SpanData) -> Slot {
        let (open, first) = self.0.spans.open(span, |span| {
            let (id, trace) = (span.span_context.span_id(), span.span_context.trace_id());
            Some(Own { id, trace, continued: self.continued().is_some(), frame: self.frame(trace) })
        });
        if first && !self.is_known_at_once() {
            self.0.shared.register(self);
        }
        open
    }

    /// The position of its document: below Lambda's segment, in the X-Ray header's trace, regardless of its spans' `trace`.
    pub(crate) fn frame(&self, trace: TraceId) -> Frame {
        let trace = self.received_header().root().unwrap_or(trace);
        Frame::under(trace, self.parent_id().unwrap_or(SpanId::INVALID)).invocation()
    }

    /// Ends the invocation. Its spans that have not been sent are sent with the next one's.
    pub(crate) fn close_spans(&self) {
        if self.continued().is_some()
            && let Some(own) = self.0.spans.own()
        {
            self.0.shared.destinations.documents().remember(own.trace, own.id, own.frame);
        }
        for span in self.0.spans.close() {
            self.0.shared.late.keep(span);
        }
    }

    pub(crate) fn deferred(&self) -> &Deferred<Stage> {
        &self.0.deferred
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The first outcome counts. Later ones are consequences of it, or of the environment's end.
    pub(crate) fn set_outcome(&self, outcome: Outcome) {
        let mut notes = self.notes();
        if !notes.cut_off {
            notes.outcome.get_or_insert(outcome);
        }
    }

    /// Called before a response is posted; a stream has no outcome yet. Returns false if the trace already says that the end of
    /// the environment cut this invocation off. It must not respond then.
    pub(crate) fn begin_response(&self, outcome: Option<Outcome>) -> bool {
        #[cfg(feature = "metrics-emf")]
        self.mark_handled();
        let mut notes = self.notes();
        if notes.cut_off {
            return false;
        }
        notes.responding = true;
        notes.outcome = notes.outcome.take().or(outcome);
        let is_fault = notes.execution_failed || notes.http_status.is_some_and(|status| status >= 500);
        drop(notes);
        if is_fault {
            self.release_lines();
        }
        true
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.notes().cut_off
    }

    pub(crate) fn downgrade(&self) -> WeakInvocation {
        WeakInvocation(Arc::downgrade(&self.0))
    }

    /// Records that the response did not reach the caller. Returns false if the invocation had failed before, which remains its
    /// outcome.
    pub(crate) fn set_undelivered(&self, outcome: Outcome) -> bool {
        let mut notes = self.notes();
        let counts = notes.outcome.as_ref().is_none_or(|outcome| outcome.diagnostic().is_none());
        if counts {
            notes.outcome = Some(outcome);
        }
        counts
    }

    /// The reason why the invocation failed, if it is known by now.
    pub(crate) fn failure(&self) -> Option<lambda_runtime::Diagnostic> {
        self.notes().outcome.as_ref().and_then(Outcome::diagnostic).cloned()
    }

    #[cfg(feature = "http")]
    pub(crate) fn note(&self, attribute: KeyValue) {
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

/// The remote parent of an invocation's span. With exporters, it has the decision of their sampler, for outgoing calls with a
/// `traceparent`.
///
/// A Root without a Parent is not a valid context, and the SDK would start another trace. So a parent is made up, which no
/// destination names.
fn parent_of(header: &TraceHeader, continued: Option<SpanContext>, decision: &Decision) -> Option<SpanContext> {
    let Decision { wanted, has_exporters, trace_state, .. } = decision;
    if let Some(caller) = continued {
        if !has_exporters {
            return Some(caller);
        }
        let flags = wanted.flags(caller.trace_flags());
        return Some(SpanContext::new(caller.trace_id(), caller.span_id(), flags, true, trace_state.clone()));
    }
    let came = header.span_context();
    if !has_exporters && (came.is_some() || !wanted.anywhere()) {
        return came;
    }
    let parent = header.parent().unwrap_or_else(|| ProcessIds.new_span_id());
    Some(SpanContext::new(header.root()?, parent, wanted.flags(TraceFlags::default()), true, trace_state.clone()))
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
