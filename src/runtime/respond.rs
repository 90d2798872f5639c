//! The innermost service: decodes the event, calls the handler, and posts the result.

use super::{
    Shared,
    deliver::{Post, deliver},
    event::Ids,
    response_state::ResponseState,
    stream::Streamed,
    worker::Truncated,
};
use crate::{
    Invocation, Outcome, decode,
    panics::catch,
    runtime_api::{Body, diagnostic},
};
use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderValue, header::CONTENT_TYPE};
use lambda_runtime::{Diagnostic, Error, FunctionResponse, IntoFunctionResponse, LambdaEvent, LambdaInvocation, MetadataPrelude};
use pin_project_lite::pin_project;
use serde::{Deserialize, Serialize};
use std::{
    fmt::Debug,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower::Service;

type Types<T> = PhantomData<fn() -> T>;

/// The service around a handler of typed events, created by [`Runtime::new`](super::Runtime::new). Layers wrap it.
pub struct Respond<H, T, Buffered, Streaming> {
    handler: H,
    shared: Arc<Shared>,
    types: Types<(T, Buffered, Streaming)>,
}

impl<H, T, Buffered, Streaming> Respond<H, T, Buffered, Streaming> {
    pub(super) fn new(handler: H, shared: Arc<Shared>) -> Self {
        Self { handler, shared, types: PhantomData }
    }
}

impl<H: Clone, T, Buffered, Streaming> Clone for Respond<H, T, Buffered, Streaming> {
    fn clone(&self) -> Self {
        Self::new(self.handler.clone(), Arc::clone(&self.shared))
    }
}

impl<H: Debug, T, Buffered, Streaming> Debug for Respond<H, T, Buffered, Streaming> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Respond").field("handler", &self.handler).finish_non_exhaustive()
    }
}

impl<H, T, R, Buffered, Streaming, D, E> Service<LambdaInvocation> for Respond<H, T, Buffered, Streaming>
where
    H: Service<LambdaEvent<T>, Response = R>,
    H::Error: Into<Diagnostic> + Debug,
    T: for<'de> Deserialize<'de>,
    R: IntoFunctionResponse<Buffered, Streaming>,
    Buffered: Serialize,
    Streaming: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send,
    E: Into<Error> + Send + Debug,
{
    type Response = ();
    type Error = Error;
    type Future = RespondFuture<H::Future, R, Buffered, Streaming>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.handler.poll_ready(cx).map_err(|error| {
            let diagnostic = error.into();
            format!("{}: {}", diagnostic.error_type, diagnostic.error_message).into()
        })
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let LambdaInvocation { parts, body, context } = event;
        // Under the target that users of `lambda_runtime` know. The trace never records it.
        tracing::trace!(target: "lambda_runtime", body = %String::from_utf8_lossy(&body), "event received");
        // Layers see the request id of the context, which may differ from the header.
        let ids = Ids::of(&parts.headers).or_else(|| {
            let request_id = HeaderValue::from_str(&context.request_id).ok()?;
            Some(Ids { request_id, invocation_id: None })
        });
        let state = ResponseState::of(&parts.extensions);
        let truncated = parts.extensions.get::<Truncated>().map(|Truncated(why)| Diagnostic {
            error_type: "Lifecycle.TruncatedEvent".to_owned(),
            error_message: format!("the event did not arrive as a whole: {why}"),
        });
        let begun = caught(|| {
            if let Some(diagnostic) = truncated {
                return Err(Outcome::Undecodable(diagnostic));
            }
            let mut json = serde_json::Deserializer::from_slice(&body);
            let payload = T::deserialize(&mut json).map_err(|error| {
                // The error's own text quotes the event. The handler's layer, whose payload always decodes, reports more details.
                let (wanted, line, column) = (decode::type_name::<T>(), error.line(), error.column());
                Outcome::Undecodable(Diagnostic {
                    error_type: "Lifecycle.UndecodableEvent".to_owned(),
                    error_message: format!("the event is not a valid {wanted} at line {line} column {column}"),
                })
            })?;
            Ok(self.handler.call(LambdaEvent::new(payload, context)))
        });
        let (handler, failed) = match begun {
            Ok(future) => (Some(future), None),
            Err(outcome) => (None, Some(outcome)),
        };
        RespondFuture { handler, failed, posting: None, ids, state, shared: Arc::clone(&self.shared), types: PhantomData }
    }
}

pin_project! {
    /// The future of [`Respond`]: ready when the Runtime API has responded to the post.
    pub struct RespondFuture<F, R, Buffered, Streaming> {
        #[pin]
        handler: Option<F>,
        failed: Option<Outcome>,
        posting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
        ids: Option<Ids>,
        state: ResponseState,
        shared: Arc<Shared>,
        types: Types<(R, Buffered, Streaming)>,
    }
}

impl<F, R, Failed, Buffered, Streaming, D, E> Future for RespondFuture<F, R, Buffered, Streaming>
where
    F: Future<Output = Result<R, Failed>>,
    Failed: Into<Diagnostic> + Debug,
    R: IntoFunctionResponse<Buffered, Streaming>,
    Buffered: Serialize,
    Streaming: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send,
    E: Into<Error> + Send + Debug,
{
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Some(posting) = this.posting {
                ready!(posting.as_mut().poll(cx));
                return Poll::Ready(Ok(()));
            }
            let made = match this.failed.take() {
                Some(outcome) => Err(outcome),
                None => {
                    let polled = caught(|| match this.handler.as_mut().as_pin_mut() {
                        Some(handler) => match handler.poll(cx) {
                            Poll::Pending => Ok(Poll::Pending),
                            Poll::Ready(Ok(response)) => encode(this.shared, response).map(Poll::Ready),
                            Poll::Ready(Err(error)) => Err(Outcome::failed(error.into())),
                        },
                        None => Ok(Poll::Pending),
                    });
                    match polled {
                        Ok(polled) => Ok(ready!(polled)),
                        Err(outcome) => Err(outcome),
                    }
                }
            };
            // The handler's future is dropped before the response is sent.
            let dropped = caught(|| {
                this.handler.set(None);
                Ok(())
            });
            // The handler's layer has already done this. Without that layer the outcome is unknown.
            if Invocation::try_current().is_some_and(|invocation| !invocation.begin_response(None)) {
                return Poll::Pending;
            }
            let post = dropped.and(made).unwrap_or_else(|outcome| Post::Error(conclude(this.shared, outcome)));
            let Some(ids) = this.ids.take() else {
                return Poll::Ready(Err("a layer removed the request id from the event: no response can be sent".into()));
            };
            let (shared, state) = (Arc::clone(this.shared), this.state.clone());
            *this.posting = Some(Box::pin(async move { deliver(&shared, &ids, &state, post).await }));
        }
    }
}

fn encode<R, Buffered, Streaming, D, E>(shared: &Arc<Shared>, response: R) -> Result<Post, Outcome>
where
    R: IntoFunctionResponse<Buffered, Streaming>,
    Buffered: Serialize,
    Streaming: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send,
    E: Into<Error> + Send + Debug,
{
    let unencodable = |error| Outcome::unencodable(&error);
    match response.into_response() {
        FunctionResponse::BufferedResponse(response) => {
            Ok(Post::Response(serde_json::to_vec(&response).map_err(unencodable)?.into()))
        }
        FunctionResponse::StreamingResponse(response) => {
            let prelude = prelude(response.metadata_prelude).map_err(unencodable)?;
            let (body, progress) = Streamed::new(prelude, response.stream, Arc::clone(shared));
            Ok(Post::Streamed { body: Body::Stream(Box::pin(body)), progress })
        }
    }
}

/// The head of the caller's HTTP response, and the eight NUL bytes that end it.
fn prelude(mut prelude: MetadataPrelude) -> Result<Bytes, serde_json::Error> {
    prelude.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    let mut json = serde_json::to_vec(&prelude)?;
    json.extend_from_slice(&[0; 8]);
    Ok(json.into())
}

/// Records why an invocation failed, and logs it, unless the handler's layer has done so.
fn conclude(shared: &Shared, outcome: Outcome) -> Diagnostic {
    let outcome = outcome.cut();
    let invocation = Invocation::try_current();
    if let Some(invocation) = invocation.as_ref().filter(|invocation| invocation.failure().is_none()) {
        let diagnostic = invocation.log_failure(&outcome);
        invocation.set_outcome(outcome);
        return diagnostic;
    }
    let diagnostic = outcome.diagnostic().cloned().unwrap_or_else(|| diagnostic::panic(outcome.as_str().to_owned()));
    // The handler's layer redacts what it logs.
    let is_logged = invocation.is_some_and(|invocation| invocation.notes().logged.as_ref() == Some(&diagnostic));
    if is_logged { diagnostic } else { shared.redacted(diagnostic) }
}

/// Runs the user's code. A panic becomes an error.
fn caught<T>(code: impl FnOnce() -> Result<T, Outcome>) -> Result<T, Outcome> {
    catch(code).unwrap_or_else(|panic| Err(Outcome::panicked("the handler", &panic)))
}
