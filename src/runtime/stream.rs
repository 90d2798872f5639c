//! A streamed response, with a trailer that has the reason if it ends early.

use super::Shared;
use crate::{
    Invocation,
    notice::{self, Data, Warning},
    panics::{catch, catch_drop},
    runtime_api::{
        Progress,
        diagnostic::{self, ERROR_BODY, ERROR_TYPE},
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, HeaderName};
use http_body::Frame;
use lambda_runtime::{Diagnostic, Error};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// A streamed response: its prelude, the user's chunks, and the trailer if it breaks off.
pub(super) struct Streamed<S> {
    prelude: Option<Bytes>,
    /// `None` at its end. Its destructor is user code too.
    stream: Option<S>,
    progress: Arc<Progress>,
    shared: Arc<Shared>,
}

impl<S> Streamed<S> {
    pub(super) fn new(prelude: Bytes, stream: S, shared: Arc<Shared>) -> (Self, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        (Self { prelude: Some(prelude), stream: Some(stream), progress: Arc::clone(&progress), shared }, progress)
    }
}

impl<S> Drop for Streamed<S> {
    fn drop(&mut self) {
        let _ = catch_drop(self.stream.take());
    }
}

impl<S, D, E> http_body::Body for Streamed<S>
where
    S: Stream<Item = Result<D, E>> + Unpin,
    D: Into<Bytes>,
    E: Into<Error>,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if let Some(prelude) = this.prelude.take() {
            return Poll::Ready(Some(Ok(Frame::data(prelude))));
        }
        let Some(stream) = &mut this.stream else { return Poll::Ready(None) };
        // The error's `Display` runs here as well, because it may panic.
        let polled =
            catch(|| Pin::new(stream).poll_next(cx).map_ok(Into::into).map_err(|error| diagnostic::of_error(&error.into())));
        this.progress.polled(matches!(polled, Ok(Poll::Pending)));
        let broken = match polled {
            Ok(polled) => match ready!(polled) {
                Some(Ok(chunk)) => return Poll::Ready(Some(Ok(Frame::data(chunk)))),
                Some(Err(diagnostic)) => Some(diagnostic),
                // A stream that the handler's layer tracks ends without an error, and the invocation has the reason.
                None => Invocation::try_current()
                    .filter(|invocation| invocation.notes().stream_broken)
                    .and_then(|invocation| invocation.failure()),
            },
            Err(panic) => Some(diagnostic::panic(format!("the response stream panicked: {panic}"))),
        };
        // The caller has received everything, so a panic in the destructor does not matter.
        if let Err(panic) = catch_drop(this.stream.take()) {
            notice::log(Warning::ResponseDropPanicked, Data::error(&panic));
        }
        this.progress.end();
        Poll::Ready(broken.map(|diagnostic| Ok(Frame::trailers(trailer(this.shared.redacted(diagnostic))))))
    }
}

/// The trailer that makes Lambda abort the response to the caller.
fn trailer(diagnostic: Diagnostic) -> HeaderMap {
    let diagnostic = diagnostic::bounded(diagnostic);
    let body = serde_json::to_vec(&diagnostic).unwrap_or_default();
    let mut trailer = HeaderMap::with_capacity(2);
    trailer.insert(HeaderName::from_static(ERROR_TYPE), diagnostic::header_value(&diagnostic.error_type));
    if let Ok(body) = BASE64_STANDARD.encode(body).try_into() {
        trailer.insert(HeaderName::from_static(ERROR_BODY), body);
    }
    trailer
}
