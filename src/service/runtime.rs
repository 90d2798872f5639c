//! Position A: around `lambda_runtime`. It sees the raw event, and the time after the response was posted.
//!
//! This layer neither drops the future below it nor limits its time, because the runtime would then request the next event
//! without a response to this one.

use crate::{
    Invocation,
    after_response::{after_posting, nothing_follows, only_documents_follow, release},
    deadline::{self, Watched},
    environment,
    invocation::{CURRENT, Shared, Work},
    metrics,
    runtime::is_of_loop,
    trace::{self, Recording, Trigger},
};
use bytes::Bytes;
use lambda_runtime::{Error, LambdaInvocation};
use opentelemetry::{
    Context as OtelContext,
    context::{FutureExt as _, WithContext},
};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::task::futures::TaskLocalFuture;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::{Layer, Service};
use tracing::{Instrument, Span, level_filters::LevelFilter};

/// Starts the invocation and its span, and runs the after-response stage once the response was posted.
///
/// It works with every outcome: a response, an error, a panic, an event that could not be decoded. Used alone, without a
/// [`HandlerLayer`](super::HandlerLayer), it traces invocations and runs their background work. The outcome is then not recorded,
/// and no invocation is marked as a fault.
///
/// ```no_run
/// use lambda_lifecycle::{Error, Invocation, LambdaEvent, service::RuntimeLayer, service_fn};
/// use lambda_runtime::Runtime;
/// use serde_json::Value;
///
/// # async fn refresh_cache() {}
/// # async fn main_() -> Result<(), Error> {
/// let handler = service_fn(async |event: LambdaEvent<Value>| {
///     Invocation::current().after_response(refresh_cache());
///     Ok::<_, Error>(event.payload)
/// });
/// Runtime::new(handler).layer(RuntimeLayer::new()).run().await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RuntimeLayer {
    shared: Arc<Shared>,
}

impl RuntimeLayer {
    /// A layer with the settings of the [environment](crate::settings).
    /// [`Lifecycle::runtime_layer`](crate::Lifecycle::runtime_layer) creates a configured one.
    pub fn new() -> Self {
        Self::of(Shared::of_layer())
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Default for RuntimeLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for RuntimeLayer {
    type Service = RuntimeService<S>;

    fn layer(&self, inner: S) -> RuntimeService<S> {
        RuntimeService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// The service of [`RuntimeLayer`].
#[derive(Clone, Debug)]
pub struct RuntimeService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<LambdaInvocation> for RuntimeService<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    type Response = ();
    type Error = Error;
    type Future = RuntimeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut event: LambdaInvocation) -> Self::Future {
        let mut trigger = None;
        let remote = trace::remote(&self.shared.settings, &event.parts.headers, &event.body, &mut trigger);
        let invocation =
            Invocation::begin(&self.shared, &event.context, Some(&event.parts.headers), remote, Some(&event.body), true);
        let recording = Recording::begin(invocation.is_recorded());
        let context = if invocation.is_recorded() {
            trace::begin(&invocation, trigger.unwrap_or_else(|| Trigger::recognize(&event.body)), &event.body)
        } else {
            invocation.context_without_span()
        };
        trace::adopt_init(&invocation, &context);
        if let Some(slept) = invocation.idle() {
            self.shared.hooks.run_thaw(slept);
        }
        // At TRACE, lambda_runtime logs the event, and ends its process if the event is not UTF-8.
        if LevelFilter::current() == LevelFilter::TRACE && std::str::from_utf8(&event.body).is_err() {
            event.body = Bytes::from(String::from_utf8_lossy(&event.body).into_owned());
        }
        // Decoding and the handler's constructor run in this call, and may block too.
        let watched = invocation.wants_watchdog().then(|| deadline::watch(&invocation)).flatten();
        let attached = context.clone().attach();
        // `lambda_runtime` has such a span itself.
        let span = if is_of_loop(&event.parts.extensions) { span(&event.context) } else { Span::none() };
        // No closure more than necessary returns the future, which has kilobytes.
        let (entered, running) = (span.enter(), invocation.running());
        let inner = CURRENT.sync_scope(invocation.clone(), || self.inner.call(event));
        drop((running, entered));
        drop(attached);
        RuntimeFuture {
            inner: CURRENT.scope(invocation.clone(), inner.with_context(context.clone())),
            // On demand, a handler that is running at the end of the environment has exceeded its timeout, so a shutdown only
            // waits for responses.
            in_progress: environment::kind().is_concurrent().then(|| invocation.shared().stages.token()),
            after: None,
            posted: None,
            watched,
            recording,
            ended: false,
            invocation,
            context,
            span,
        }
    }
}

/// The span around an invocation, for the layers of the user's own subscriber. Its name and its fields are those of
/// `lambda_runtime`'s span. Its level is `ERROR`, so that filters by level keep it. The library's subscriber and its recording
/// layer ignore it.
fn span(context: &lambda_runtime::Context) -> Span {
    tracing::error_span!(
        target: "lambda_lifecycle",
        "Lambda runtime invoke",
        requestId = context.request_id,
        xrayTraceId = context.xray_trace_id,
        tenantId = context.tenant_id,
    )
}

pin_project! {
    /// The future of [`RuntimeService`].
    pub struct RuntimeFuture<F> {
        #[pin]
        inner: TaskLocalFuture<Invocation, WithContext<F>>,
        after: Option<Work>,
        posted: Option<Result<(), Error>>,
        // A shutdown waits for it.
        in_progress: Option<TaskTrackerToken>,
        watched: Option<Watched>,
        recording: Recording,
        // The stage after the response is running, or has nothing to do.
        ended: bool,
        invocation: Invocation,
        context: OtelContext,
        span: Span,
    }

    impl<F> PinnedDrop for RuntimeFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            if !this.ended {
                abandon(&this.invocation, &this.context);
            }
        }
    }
}

impl<F: Future<Output = Result<(), Error>>> Future for RuntimeFuture<F> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        if this.posted.is_none() {
            let inner = this.inner;
            let posted = this.invocation.polling(|| inner.poll(cx));
            if this.in_progress.is_none() && (posted.is_ready() || this.invocation.notes().responding) {
                *this.in_progress = Some(this.invocation.shared().stages.token());
            }
            *this.posted = Some(ready!(posted));
            *this.watched = None;
            *this.ended = true;
            metrics::posted(this.invocation);
            if nothing_follows(this.invocation) {
                return Poll::Ready(this.posted.take().unwrap_or(Ok(())));
            }
            let stage = after_posting(this.invocation.clone(), this.context.clone());
            let mut stage: Work = Box::pin(CURRENT.scope(this.invocation.clone(), stage.with_context(this.context.clone())));
            if environment::kind().is_concurrent() {
                // This environment is never frozen, so the worker need not wait: it requests its next event. Where only documents
                // follow, they are usually sent at once, which takes less time than a task, and than freeing the spans on another
                // thread.
                if !only_documents_follow(this.invocation) || stage.as_mut().poll(cx).is_pending() {
                    this.invocation.shared().stages.spawn(stage.in_current_span());
                }
            } else {
                *this.after = Some(stage);
            }
        }
        if let Some(after) = this.after {
            ready!(after.as_mut().poll(cx));
        }
        Poll::Ready(this.posted.take().unwrap_or(Ok(())))
    }
}

/// A user's layer has dropped the invocation. Its spans are sent with the next one's, and its work starts now.
fn abandon(invocation: &Invocation, context: &OtelContext) {
    metrics::posted(invocation);
    metrics::finished(invocation, &metrics::Spent::default());
    if invocation.is_recorded() {
        trace::finish(context, invocation);
        invocation.close_spans();
    }
    // After a shutdown nothing is started any more.
    if !invocation.shared().is_cut_off() {
        release(invocation);
    }
}
