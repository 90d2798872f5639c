//! Helpers for tests: an invocation for unit tests, with paused time and readable spans.
//!
//! Needs the feature `testing`. To test a whole function with real processes, use the sandbox, `lambda-lifecycle-sandbox`.
//!
//! | to test | call |
//! |---|---|
//! | a function that the handler calls | [`TestInvocation::run`] |
//! | a whole service with an event as JSON, such as `sqs::batch(..)` | [`TestInvocation::call`] |
//! | an HTTP service (feature `http`) | `TestInvocation::serve`, or `serve_streaming` |
//! | the work after the response | [`TestInvocation::respond`], after one of these |
//!
//! ```
//! use lambda_lifecycle::Invocation;
//! use std::time::Duration;
//!
//! #[tracing::instrument(skip_all)]
//! async fn handler() -> &'static str {
//!     let invocation = Invocation::current();
//!     invocation.annotate("plan", "gold");
//!     invocation.after_response(async { tracing::info_span!("send mail").in_scope(|| ()) });
//!     match invocation.within(std::future::pending::<()>()).await {
//!         Ok(()) => "done",
//!         Err(_) => "out of time",
//!     }
//! }
//!
//! # fn main() { tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
//! // In a test: #[tokio::test(start_paused = true)], so that three seconds pass at once.
//! let test = Invocation::test().timeout(Duration::from_secs(3)).begin();
//! assert_eq!(test.run(handler()).await, Ok("out of time"));
//! assert!(test.invocation().is_cancelled());
//! assert_eq!(test.annotation("plan"), Some("gold".into()));
//!
//! test.respond().await;
//! assert_eq!(test.spans().iter().map(|span| span.name.as_ref()).collect::<Vec<_>>(), ["handler", "send mail"]);
//! # }) }
//! ```

mod call;
#[cfg(feature = "sqs")]
mod events;
#[cfg(feature = "http")]
mod http;

#[cfg(feature = "sqs")]
pub use events::sqs_event;
#[cfg(feature = "http")]
pub use http::HttpEvent;

use crate::{
    Invocation, Lifecycle, Outcome, after_response,
    deadline::Alarm,
    export::unmark,
    ids,
    invocation::{CURRENT, Deadline, DeadlineExceeded, Facts, Shared},
    xray::{Sampled, TraceHeader},
};
use opentelemetry::{Context, TraceId, Value, context::FutureExt as _, trace::SpanId};
use opentelemetry_sdk::trace::{IdGenerator, SpanData};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};
use tracing_subscriber::layer::SubscriberExt;

impl Invocation {
    /// An invocation for unit tests: see [`testing`](crate::testing).
    pub fn test() -> TestBuilder {
        TestBuilder::default()
    }
}

/// Options of an invocation for tests. Made by [`Invocation::test`].
#[derive(Clone, Debug)]
#[must_use = "an invocation for a test does nothing until it is started"]
pub struct TestBuilder {
    timeout: Option<Duration>,
    request_id: String,
    tenant: Option<String>,
    sampled: bool,
}

impl Default for TestBuilder {
    fn default() -> Self {
        Self { timeout: Some(Duration::from_secs(3)), request_id: "test".to_owned(), tenant: None, sampled: true }
    }
}

impl TestBuilder {
    /// The function's timeout. Default: 3 s, like Lambda's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// No deadline at all.
    pub fn without_deadline(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// The request id. Default: `test`.
    pub fn request_id(mut self, id: impl Into<String>) -> Self {
        self.request_id = id.into();
        self
    }

    /// The tenant. Default: none.
    pub fn tenant_id(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Whether spans are recorded. Default: yes.
    pub fn sampled(mut self, sampled: bool) -> Self {
        self.sampled = sampled;
        self
    }

    /// Starts the invocation and its time. Sets a global subscriber if the process has none, because without one no span of
    /// `tracing` is recorded.
    pub fn begin(self) -> TestInvocation {
        if !tracing::dispatcher::has_been_set() {
            // Another test may set one at the same moment.
            let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Lifecycle::tracing_layer()));
        }
        let ids = ids::ProcessIds;
        let sampled = if self.sampled { Sampled::Yes } else { Sampled::No };
        let (root, parent): (TraceId, SpanId) = (ids.new_trace_id(), ids.new_span_id());
        let mut context = lambda_runtime::Context::default();
        context.request_id = self.request_id;
        context.tenant_id = self.tenant;
        let received = crate::clock::now();
        let deadline = self.timeout.map(|timeout| Deadline::after(timeout, received, None, None));
        let header = TraceHeader::new(root, Some(parent), sampled);
        let facts = Facts { context: Box::new(context), received, deadline, header, ..Facts::default() };
        let invocation = Invocation::new(Shared::with_defaults(), facts);
        let context = invocation.context_without_span();
        TestInvocation { invocation, context, spans: Mutex::default() }
    }
}

/// An invocation under test.
#[derive(Debug)]
pub struct TestInvocation {
    invocation: Invocation,
    context: Context,
    spans: Mutex<Vec<SpanData>>,
}

impl TestInvocation {
    /// The invocation, as a handler sees it.
    pub fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// Runs a handler inside the invocation, with its token and its deadline. The token is cancelled at the soft deadline, and
    /// the handler can run until the hard deadline.
    ///
    /// # Errors
    /// [`DeadlineExceeded`] when the handler had not ended by then. It is dropped, because Lambda's caller would have its
    /// response.
    pub async fn run<F: Future>(&self, handler: F) -> Result<F::Output, DeadlineExceeded> {
        let mut handler = pin!(CURRENT.scope(self.invocation.clone(), handler.with_context(self.context.clone())));
        let mut alarm = Alarm::new(self.invocation.timing());
        poll_fn(|cx| match handler.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => {
                let hard = alarm.poll_hard(cx, || self.invocation.token().cancel());
                hard.map(|()| Err(self.invocation.exceeded()))
            }
        })
        .await
    }

    /// Runs the stage after the response: the work that was stored for it, without a time limit.
    pub async fn respond(&self) {
        after_response::run(&self.invocation, &self.context).await;
    }

    /// The spans that have ended so far, in that order.
    pub fn spans(&self) -> Vec<SpanData> {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ended = self.invocation.spans().take();
        ended.iter_mut().for_each(unmark);
        spans.append(&mut ended);
        spans.clone()
    }

    /// How the invocation ended; `None` before that. [`run`](Self::run) does not end it.
    pub fn outcome(&self) -> Option<Outcome> {
        self.invocation.notes().outcome.clone()
    }

    /// The value of an annotation made with [`Invocation::annotate`].
    pub fn annotation(&self, key: &str) -> Option<Value> {
        let notes = self.invocation.notes();
        let found = notes.annotations.iter().find(|annotation| annotation.key.as_str().strip_prefix("annotation.") == Some(key));
        found.map(|annotation| annotation.value.clone())
    }
}
