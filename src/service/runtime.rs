//! Position A: around `lambda_runtime`. Sees the raw event, and the moment after the response was posted.
//!
//! Nothing here drops or bounds the future below it: the runtime would ask for the next event with this one unanswered.

use crate::{
    Invocation, Report,
    after_response::{self, Done, Work, hooks},
    clock,
    deadline::{self, Watched},
    environment,
    invocation::CURRENT,
    trace::{self, Recorder},
};
use bytes::Bytes;
use lambda_runtime::{Error, LambdaInvocation};
use opentelemetry::{
    Context as OtelContext, KeyValue,
    context::{FutureExt as _, WithContext},
    trace::{SpanBuilder, SpanId, SpanKind, TraceContextExt, Tracer},
};
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::task::futures::TaskLocalFuture;
use tower::{Layer, Service};
use tracing::level_filters::LevelFilter;

/// Begins the invocation and its span, and runs the after-response stage once the response was posted.
///
/// It works whatever becomes of the handler: an answer, an error, a panic, an event that never decoded.
#[derive(Clone, Debug, Default)]
pub struct RuntimeLayer(());

impl RuntimeLayer {
    /// A layer with the stages' defaults.
    pub fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for RuntimeLayer {
    type Service = RuntimeService<S>;

    fn layer(&self, inner: S) -> RuntimeService<S> {
        RuntimeService { inner }
    }
}

/// The service [`RuntimeLayer`] makes.
#[derive(Clone, Debug)]
pub struct RuntimeService<S> {
    inner: S,
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
        let invocation = Invocation::begin(&event.context, trace::foreign_parent(&event.parts.headers, &event.body));
        trace::set_recording(invocation.is_recorded());
        let context = if invocation.is_recorded() {
            trace::begin(&invocation, &event.body)
        } else {
            trace::context_without_span(&invocation)
        };
        trace::adopt_init(&invocation, &context);
        if let Some(slept) = invocation.idle() {
            hooks().run_thaw(slept);
        }
        // At TRACE lambda_runtime logs the event, and gives up its process when that is not UTF-8.
        if LevelFilter::current() == LevelFilter::TRACE && std::str::from_utf8(&event.body).is_err() {
            event.body = Bytes::from(String::from_utf8_lossy(&event.body).into_owned());
        }
        // Decoding and the handler's constructor run in this call, and may block as well.
        let watched = invocation.is_watched().then(|| deadline::watch(&invocation));
        let attached = context.clone().attach();
        let inner = CURRENT.sync_scope(invocation.clone(), || self.inner.call(event));
        drop(attached);
        RuntimeFuture {
            inner: CURRENT.scope(invocation.clone(), inner.with_context(context.clone())),
            after: None,
            posted: None,
            watched,
            invocation,
            context,
        }
    }
}

pin_project! {
    /// The future of [`RuntimeService`].
    pub struct RuntimeFuture<F> {
        #[pin]
        inner: TaskLocalFuture<Invocation, WithContext<F>>,
        after: Option<Work>,
        posted: Option<Result<(), Error>>,
        watched: Option<Watched>,
        invocation: Invocation,
        context: OtelContext,
    }
}

impl<F: Future<Output = Result<(), Error>>> Future for RuntimeFuture<F> {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.posted.is_none() {
            *this.posted = Some(ready!(this.inner.poll(cx)));
            *this.watched = None;
            if nothing_follows(this.invocation) {
                return Poll::Ready(this.posted.take().unwrap_or(Ok(())));
            }
            let stage = after_posting(this.invocation.clone(), this.context.clone());
            let stage: Work = Box::pin(CURRENT.scope(this.invocation.clone(), stage.with_context(this.context.clone())));
            if environment::kind().is_concurrent() {
                // Nothing is frozen here, so nothing needs to be waited for: the worker asks for its next event.
                after_response::stages().spawn(stage);
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

/// True where the stage after the response has nothing to do, which is not worth a task: of an invocation that is not recorded, on time, side by
/// side with others. Elsewhere it is no task, and remembers when it ended.
fn nothing_follows(invocation: &Invocation) -> bool {
    let bare = !invocation.is_recorded() && hooks().after.is_empty() && !trace::has_exporters();
    bare && environment::kind().is_concurrent()
        && invocation.deadline().is_none_or(|kill| clock::now() <= kill)
        && invocation.deferred().close_if_empty()
}

/// What comes between the post and the next event: the invocation's spans leave first, so that nothing that comes after can
/// lose them; then the background work; then its spans.
async fn after_posting(invocation: Invocation, context: OtelContext) {
    let posted = clock::now();
    let recorded = invocation.is_recorded();
    if invocation.deadline().is_some_and(|kill| posted > kill) {
        // Only where timeouts are not enforced: elsewhere this process would be gone.
        crate::logs::error(format_args!("the answer came after the deadline: the caller has an error instead"));
        invocation.annotate("late_answer", true);
    }
    if recorded {
        trace::finish(&context, &invocation);
        trace::deliver(&invocation, context.span().span_context().span_id()).await;
    }
    // An exporter that hangs must not cost the work its time.
    let ((), done) = tokio::join!(trace::export(&invocation), background_work(&invocation, &context));
    if !hooks().after.is_empty() {
        let report = Report {
            outcome: invocation.notes().outcome.clone(),
            finished: done.finished,
            panicked: done.panicked,
            unfinished: done.unfinished,
            after_response: clock::now().saturating_duration_since(posted),
            invocation: invocation.clone(),
        };
        let until = invocation.timing().map(|deadline| deadline.after_response(clock::now()));
        hooks().run_after(&report, &context, until).await;
    }
    // What hooks, or tasks of the handler's, have stored meanwhile.
    while !invocation.deferred().close_if_empty() {
        if background_work(&invocation, &context).await.unfinished > 0 {
            after_response::leave(&invocation, &context);
        }
    }
    if recorded {
        // What hooks, or tasks of the handler's, have ended meanwhile.
        trace::deliver(&invocation, SpanId::INVALID).await;
        trace::export(&invocation).await;
        Recorder::start().spans.close(&invocation);
    }
    after_response::rest();
}

/// Runs the work that was stored for after the response, in a span of its own.
async fn background_work(invocation: &Invocation, context: &OtelContext) -> Done {
    let recorded = invocation.is_recorded();
    let mut done = Done::default();
    if !invocation.deferred().is_empty() {
        let span = recorded.then(|| {
            let span = SpanBuilder::from_name("after response").with_kind(SpanKind::Internal);
            Recorder::start().tracer.build_with_context(span, context)
        });
        let work = match span {
            Some(span) => context.with_span(span),
            None => context.clone(),
        };
        done = after_response::run(invocation, &work).await;
        if recorded {
            let span = work.span();
            for (key, count) in
                [("work.finished", done.finished), ("work.panicked", done.panicked), ("work.unfinished", done.unfinished)]
            {
                span.set_attribute(KeyValue::new(key, i64::try_from(count).unwrap_or(i64::MAX)));
            }
            if done.panicked + done.unfinished > 0 {
                span.set_status(opentelemetry::trace::Status::error("unfinished work after the response"));
            }
            // The invocation's own document is on its way already.
            for annotation in invocation.notes().annotations.drain(..) {
                span.set_attribute(annotation);
            }
            span.end();
            let id = span.span_context().span_id();
            trace::deliver(invocation, id).await;
        }
    }
    done
}
