//! The body of a streamed answer, watched to its end.

use crate::{
    Invocation,
    deadline::Alarm,
    outcome::{Outcome, panic_message},
};
use bytes::Bytes;
use futures_core::Stream;
use lambda_runtime::{Diagnostic, Error};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// A streamed body that ends at the invocation's deadline, and whose end, however it comes, is the invocation's.
///
/// After the first byte there is no typed answer: a body that runs out of time ends with an error trailer, by which the
/// caller knows it is not whole.
pub struct TrackedStream<St> {
    body: St,
    invocation: Invocation,
    alarm: Alarm,
    over: bool,
}

impl<St> TrackedStream<St> {
    pub(super) fn new(body: St, invocation: Invocation) -> Self {
        let alarm = Alarm::new(invocation.timing());
        Self { body, invocation, alarm, over: false }
    }

    fn end(&mut self, outcome: Outcome) -> Poll<Option<Result<Bytes, Error>>> {
        self.over = true;
        let message = outcome.diagnostic().map(|diagnostic| diagnostic.error_message.clone());
        self.invocation.set_outcome(outcome);
        Poll::Ready(message.map(|message| Err(message.into())))
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
        if this.over {
            return Poll::Ready(None);
        }
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.body).poll_next(cx).map_ok(Into::into))) {
            Ok(Poll::Ready(Some(Ok(chunk)))) => return Poll::Ready(Some(Ok(chunk))),
            Ok(Poll::Ready(Some(Err(error)))) => {
                let error: Error = error.into();
                let error_message = error.to_string();
                return this
                    .end(Outcome::StreamBroken(Diagnostic { error_type: "Lifecycle.StreamBroken".to_owned(), error_message }));
            }
            Ok(Poll::Ready(None)) => return this.end(Outcome::Answered),
            Ok(Poll::Pending) => {}
            Err(panic) => {
                tracing::error!("the stream of an answer panicked: {}", panic_message(&*panic));
                return this.end(Outcome::panicked("the stream of the answer", &*panic));
            }
        }
        if this.alarm.poll_hard(cx, || this.invocation.token().cancel()).is_ready() {
            let exceeded = this.invocation.exceeded();
            return this.end(Outcome::exceeded(&exceeded));
        }
        Poll::Pending
    }
}

impl<St> Drop for TrackedStream<St> {
    fn drop(&mut self) {
        if !self.over {
            self.invocation.set_outcome(Outcome::StreamBroken(Diagnostic {
                error_type: "Lifecycle.StreamBroken".to_owned(),
                error_message: "the body of the answer was dropped before its end".to_owned(),
            }));
        }
    }
}
