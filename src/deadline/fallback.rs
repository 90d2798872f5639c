//! The user's own response to an exceeded deadline.

use crate::{Invocation, invocation::Outcome};
use lambda_runtime::LambdaEvent;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower::Service;

/// A handler that responds with a value instead of `Lifecycle.DeadlineExceeded` when the deadline is exceeded.
///
/// ```no_run
/// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, deadline::fallback, service_fn};
/// use serde_json::{Value, json};
///
/// # async fn search(_: LambdaEvent<Value>) -> Result<Value, Error> { Ok(json!([])) }
/// # async fn main_() -> Result<(), Error> {
/// let handler = fallback(service_fn(search), |invocation| json!({ "partial": true, "id": invocation.request_id() }));
/// Lifecycle::from_env().run(handler).await
/// # }
/// ```
///
/// The trace still has `outcome=deadline_exceeded`. The closure runs at the hard deadline, so it must not wait for anything.
pub fn fallback<S, R, F: Fn(&Invocation) -> R>(handler: S, response: F) -> Fallback<S, F> {
    Fallback { handler, response }
}

/// Made by [`fallback`].
#[derive(Clone, Debug)]
pub struct Fallback<S, F> {
    handler: S,
    response: F,
}

impl<S, T, R, F> Service<LambdaEvent<T>> for Fallback<S, F>
where
    S: Service<LambdaEvent<T>, Response = R>,
    F: Fn(&Invocation) -> R + Clone,
{
    type Response = R;
    type Error = S::Error;
    type Future = FallbackFuture<S::Future, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.handler.poll_ready(cx)
    }

    fn call(&mut self, event: LambdaEvent<T>) -> Self::Future {
        FallbackFuture { inner: self.handler.call(event), response: self.response.clone(), invocation: Invocation::current() }
    }
}

pin_project! {
    /// The future of [`Fallback`].
    pub struct FallbackFuture<I, F> {
        #[pin]
        inner: I,
        response: F,
        invocation: Invocation,
    }
}

impl<I, R, E, F> Future for FallbackFuture<I, F>
where
    I: Future<Output = Result<R, E>>,
    F: Fn(&Invocation) -> R,
{
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.inner.poll(cx) {
            // Position B's timer has woken the task, and drops the handler when it has this response.
            Poll::Pending if this.invocation.is_overdue() => {
                this.invocation.set_outcome(Outcome::exceeded(&this.invocation.exceeded()));
                Poll::Ready(Ok((this.response)(this.invocation)))
            }
            polled => polled,
        }
    }
}
