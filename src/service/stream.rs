//! The body of a streamed response, tracked until it ends.

use crate::{
    Invocation, clock,
    deadline::Alarm,
    invocation::{CURRENT, Outcome},
    notice::{self, Data, Warning},
    panics,
};
use bytes::Bytes;
use futures_core::Stream;
use lambda_runtime::{Diagnostic, Error};
use opentelemetry::Context as OtelContext;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

/// A streamed body that ends at the invocation's deadline. Its end, in any way, is the invocation's outcome.
///
/// After the first byte, an error response is no longer possible. A body that breaks off (an error, a panic, the deadline) ends
/// where it is, and the log and the trace have the reason. `lambda_runtime` would write the error's text into the body, and
/// cannot mark a body as broken. `Invocation::current` works inside the stream.
pub struct TrackedStream<St> {
    /// `None` when it has ended.
    body: Option<St>,
    invocation: Invocation,
    context: OtelContext,
    alarm: Alarm,
}

impl<St> fmt::Debug for TrackedStream<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedStream").field("invocation", &self.invocation).finish_non_exhaustive()
    }
}

impl<St> TrackedStream<St> {
    pub(super) fn new(body: St, invocation: Invocation) -> Self {
        // One of the library's own responses, sent at the deadline, has no deadline itself.
        let deadline = if invocation.notes().outcome.is_some() { None } else { invocation.timing() };
        // lambda_runtime polls the body in a separate task, which has no access to the invocation.
        Self { body: Some(body), invocation, context: OtelContext::current(), alarm: Alarm::new(deadline) }
    }

    fn end<T>(&mut self, outcome: Outcome) -> Poll<Option<T>> {
        // A panic in its drop becomes the invocation's outcome too.
        let outcome = match panics::catch_drop(self.body.take()) {
            Err(panic) if outcome == Outcome::Responded => Outcome::panicked("dropping the response stream", &panic),
            _ => outcome.cut(),
        };
        if let Some(diagnostic) = outcome.diagnostic() {
            self.invocation.notes().stream_broken = true;
            let message = self.invocation.shared().settings.error_text(&diagnostic.error_message);
            notice::log(Warning::ResponseBodyBroken, Data { outcome: Some(outcome.as_str()), ..Data::error(&message) });
        }
        if !self.invocation.begin_response(Some(outcome)) {
            return Poll::Pending;
        }
        Poll::Ready(None)
    }
}

impl<St, D, E> Stream for TrackedStream<St>
where
    St: Stream<Item = Result<D, E>> + Unpin,
    D: Into<Bytes>,
    E: Into<Error>,
{
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.body.is_none() {
            return Poll::Ready(None);
        }
        if this.invocation.is_cut_off() {
            return Poll::Pending;
        }
        // A body that is always ready would never poll the alarm below.
        if let Some(deadline) = this.alarm.deadline()
            && clock::now() >= deadline.soft
        {
            this.invocation.token().cancel();
            if this.invocation.is_overdue() {
                let exceeded = this.invocation.exceeded();
                return this.end(Outcome::exceeded(&exceeded));
            }
        }
        let _attached = this.context.clone().attach();
        CURRENT.sync_scope(this.invocation.clone(), || {
            // The error is formatted in here as well, because its `Display` may panic.
            let polled = panics::catch(|| match &mut this.body {
                Some(body) => Pin::new(body).poll_next(cx).map_ok(Into::into).map_err(|error| error.into().to_string()),
                None => Poll::Ready(None),
            });
            match polled {
                Ok(Poll::Ready(Some(Ok(chunk)))) => return Poll::Ready(Some(Ok(chunk))),
                Ok(Poll::Ready(Some(Err(message)))) => return this.end(broken(message)),
                Ok(Poll::Ready(None)) => return this.end(Outcome::Responded),
                Ok(Poll::Pending) => {}
                Err(panic) => return this.end(Outcome::panicked("the response stream", &panic)),
            }
            if this.alarm.poll_hard(cx, || this.invocation.token().cancel()).is_ready() {
                let exceeded = this.invocation.exceeded();
                return this.end(Outcome::exceeded(&exceeded));
            }
            Poll::Pending
        })
    }
}

impl<St> Drop for TrackedStream<St> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            // The panic hook has reported it.
            let _ = panics::catch_drop(body);
            self.invocation.set_outcome(broken("the caller disconnected before the end of the response".to_owned()));
        }
    }
}

fn broken(error_message: String) -> Outcome {
    Outcome::StreamBroken(Diagnostic { error_type: "Lifecycle.StreamBroken".to_owned(), error_message })
}
