//! Position B: around the handler. It sees the typed event, the response, the error and the panic, and responds early at the
//! deadline.

use super::{alone::Alone, payload::Payload, stream::TrackedStream};
use crate::{
    Invocation,
    deadline::Alarm,
    invocation::{Outcome, Shared},
    panics,
};
use bytes::Bytes;
use futures_core::Stream;
use lambda_runtime::{Diagnostic, Error, FunctionResponse, IntoFunctionResponse, LambdaEvent, StreamResponse};
use pin_project_lite::pin_project;
use serde::Serialize;
use serde_json::value::RawValue;
use std::{
    fmt::{self, Debug},
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower::{Layer, Service};

/// The largest buffered response that Lambda accepts: 6 MB and 100 bytes. See [Lambda
/// quotas](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
pub(crate) const MAX_RESPONSE: usize = 6 * 1024 * 1024 + 100;

/// Turns every outcome of a handler into a response: its value, its error, a panic, an event that cannot be decoded, a response
/// that cannot be encoded or is too large, a deadline.
///
/// The buffered response is encoded here, so that a panic in a `Serialize` ends one invocation and not the process.
///
/// Used alone, without a [`RuntimeLayer`](super::RuntimeLayer), it starts the invocation itself: [`Invocation::current`], its
/// token, [`within`](Invocation::within), a [fallback](crate::deadline::fallback) and the ids in the log all work. Nothing is
/// traced then, and work for after the response starts when the handler has ended.
///
/// ```no_run
/// use lambda_lifecycle::{Error, Invocation, LambdaEvent, service::HandlerLayer, service_fn};
/// use lambda_runtime::{Runtime, tower::Layer};
/// use serde_json::Value;
///
/// # async fn search(_: Value) -> Value { Value::Null }
/// # async fn main_() -> Result<(), Error> {
/// let handler = service_fn(async |event: LambdaEvent<Value>| {
///     // A typed `Lifecycle.DeadlineExceeded` instead of a kill.
///     Ok::<_, Error>(Invocation::current().within(search(event.payload)).await?)
/// });
/// Runtime::new(HandlerLayer::new().layer(handler)).run().await
/// # }
/// ```
pub struct HandlerLayer<Buffered, Body> {
    shared: Arc<Shared>,
    types: PhantomData<fn() -> (Buffered, Body)>,
}

impl<Buffered, Body> Debug for HandlerLayer<Buffered, Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerLayer").finish_non_exhaustive()
    }
}

impl<Buffered, Body> HandlerLayer<Buffered, Body> {
    /// A layer with the settings of the [environment](crate::settings).
    /// [`Lifecycle::handler_layer`](crate::Lifecycle::handler_layer) creates a configured one.
    pub fn new() -> Self {
        Self::of(Shared::of_layer())
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared, types: PhantomData }
    }
}

impl<Buffered, Body> Default for HandlerLayer<Buffered, Body> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Buffered, Body> Clone for HandlerLayer<Buffered, Body> {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.shared))
    }
}

impl<S, Buffered, Body> Layer<S> for HandlerLayer<Buffered, Body> {
    type Service = HandlerService<S, Buffered, Body>;

    fn layer(&self, handler: S) -> Self::Service {
        HandlerService { handler, shared: Arc::clone(&self.shared), refused: None, types: PhantomData }
    }
}

/// The service of [`HandlerLayer`].
pub struct HandlerService<S, Buffered, Body> {
    handler: S,
    shared: Arc<Shared>,
    /// The error of `poll_ready`. lambda_runtime would end the process for it, and the event would get no response.
    refused: Option<Outcome>,
    types: PhantomData<fn() -> (Buffered, Body)>,
}

impl<S: Debug, Buffered, Body> Debug for HandlerService<S, Buffered, Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerService").field("handler", &self.handler).finish_non_exhaustive()
    }
}

impl<S: Clone, Buffered, Body> Clone for HandlerService<S, Buffered, Body> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone(), shared: Arc::clone(&self.shared), refused: None, types: PhantomData }
    }
}

impl<S, T, R, Buffered, Body, D, E> Service<LambdaEvent<Payload<T>>> for HandlerService<S, Buffered, Body>
where
    S: Service<LambdaEvent<T>, Response = R>,
    S::Error: Into<Diagnostic> + Debug,
    R: IntoFunctionResponse<Buffered, Body>,
    Buffered: Serialize,
    Body: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send,
    E: Into<Error> + Send + Debug,
{
    type Response = FunctionResponse<Box<RawValue>, TrackedStream<Body>>;
    type Error = Diagnostic;
    type Future = HandlerFuture<S::Future, R, Buffered, Body>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Diagnostic>> {
        self.refused = match panics::catch(|| self.handler.poll_ready(cx).map_err(Into::into)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(()))) => None,
            Ok(Poll::Ready(Err(diagnostic))) => Some(Outcome::failed(diagnostic)),
            Err(panic) => Some(Outcome::panicked("the handler's poll_ready", &panic)),
        };
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaEvent<Payload<T>>) -> Self::Future {
        let (payload, context) = event.into_parts();
        let (invocation, alone) = match Invocation::try_current() {
            Some(invocation) => (invocation, None),
            None => {
                let invocation = Invocation::begin(&self.shared, &context, None, None, None, false);
                let alone = Alone::new(&invocation);
                (invocation, Some(alone))
            }
        };
        invocation.notes().handled = true;
        let payload = self.refused.take().map_or(payload.0, Err);
        let begun = payload.and_then(|payload| {
            let call = || self.handler.call(LambdaEvent::new(payload, context));
            panics::catch(|| within(alone.as_ref(), call)).map_err(|panic| Outcome::panicked("the handler", &panic))
        });
        let (handler, failed) = match begun {
            Ok(future) => (Some(future), None),
            Err(outcome) => (None, Some(outcome)),
        };
        let alarm = Alarm::new(invocation.timing());
        HandlerFuture { handler, failed, alarm, invocation, alone, types: PhantomData }
    }
}

/// Runs `run` inside the invocation, if no runtime layer around this one does so.
fn within<T>(alone: Option<&Alone>, run: impl FnOnce() -> T) -> T {
    match alone {
        Some(alone) => alone.within(run),
        None => run(),
    }
}

pin_project! {
    /// The future of [`HandlerService`].
    pub struct HandlerFuture<F, R, Buffered, Body> {
        #[pin]
        handler: Option<F>,
        failed: Option<Outcome>,
        alarm: Alarm,
        invocation: Invocation,
        alone: Option<Alone>,
        types: PhantomData<fn() -> (R, Buffered, Body)>,
    }
}

impl<F, R, Failed, Buffered, Body, D, E> Future for HandlerFuture<F, R, Buffered, Body>
where
    F: Future<Output = Result<R, Failed>>,
    Failed: Into<Diagnostic> + Debug,
    R: IntoFunctionResponse<Buffered, Body>,
    Buffered: Serialize,
    Body: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send,
    E: Into<Error> + Send + Debug,
{
    type Output = Result<FunctionResponse<Box<RawValue>, TrackedStream<Body>>, Diagnostic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(alone) = self.as_mut().project().alone.take() else { return self.poll_handler(cx) };
        let polled = alone.within(|| self.as_mut().poll_handler(cx));
        if polled.is_pending() {
            *self.project().alone = Some(alone);
        }
        polled
    }
}

impl<F, R, Failed, Buffered, Body, D, E> HandlerFuture<F, R, Buffered, Body>
where
    F: Future<Output = Result<R, Failed>>,
    Failed: Into<Diagnostic> + Debug,
    R: IntoFunctionResponse<Buffered, Body>,
    Buffered: Serialize,
    Body: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send,
    E: Into<Error> + Send + Debug,
{
    fn poll_handler(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        let mut this = self.project();
        let invocation = &*this.invocation;
        if let Some(outcome) = this.failed.take() {
            return respond(invocation, Err(outcome));
        }
        let polled = panics::catch(|| match this.handler.as_mut().as_pin_mut() {
            Some(handler) => handler.poll(cx).map(|response| match response {
                Ok(response) => encode(response, invocation),
                Err(error) => Err(invocation.failure_of(error)),
            }),
            None => Poll::Pending,
        });
        let ended = match polled {
            Ok(Poll::Ready(ended)) => ended,
            Err(panic) => Err(Outcome::panicked("the handler", &panic)),
            Ok(Poll::Pending) => {
                let hard = this.alarm.poll_hard(cx, || invocation.token().cancel());
                if hard.is_pending() {
                    return Poll::Pending;
                }
                Err(Outcome::exceeded(&invocation.exceeded()))
            }
        };
        // The handler is dropped here, inside the invocation and before the response is sent. Its spans end, and a panic in a
        // destructor becomes the outcome.
        let dropped = panics::catch(|| this.handler.set(None));
        let ended = match dropped {
            Ok(()) => ended,
            Err(panic) => ended.and_then(|_| Err(Outcome::panicked("dropping the handler", &panic))),
        };
        respond(invocation, ended)
    }
}

fn encode<R, Buffered, Body>(
    response: R,
    invocation: &Invocation,
) -> Result<FunctionResponse<Box<RawValue>, TrackedStream<Body>>, Outcome>
where
    R: IntoFunctionResponse<Buffered, Body>,
    Buffered: Serialize,
{
    match response.into_response() {
        FunctionResponse::BufferedResponse(response) => {
            let encoded = serde_json::value::to_raw_value(&response).map_err(|error| Outcome::unencodable(&error))?;
            let size = encoded.get().len();
            if size > MAX_RESPONSE {
                return Err(Outcome::TooLarge(Diagnostic {
                    error_type: "Lifecycle.ResponseTooLarge".to_owned(),
                    error_message: format!(
                        "the response has {size} bytes, and Lambda accepts at most {MAX_RESPONSE}: stream it, or store it in S3 and respond with its URL"
                    ),
                }));
            }
            invocation.note_execution(encoded.get());
            Ok(FunctionResponse::BufferedResponse(encoded))
        }
        FunctionResponse::StreamingResponse(response) => {
            invocation.notes().http_status = Some(response.metadata_prelude.status_code.as_u16());
            Ok(FunctionResponse::StreamingResponse(StreamResponse {
                metadata_prelude: response.metadata_prelude,
                stream: TrackedStream::new(response.stream, invocation.clone()),
            }))
        }
    }
}

/// The result to post to Lambda. Never ready if the trace already says that the end of the environment cut the invocation off.
fn respond<R, S>(
    invocation: &Invocation,
    ended: Result<FunctionResponse<R, S>, Outcome>,
) -> Poll<Result<FunctionResponse<R, S>, Diagnostic>> {
    let ended = ended.map_err(Outcome::cut);
    let outcome = match &ended {
        Ok(FunctionResponse::BufferedResponse(_)) => Some(Outcome::Responded),
        // Known at the end of the stream.
        Ok(FunctionResponse::StreamingResponse(_)) => None,
        Err(outcome) => Some(outcome.clone()),
    };
    if !invocation.begin_response(outcome) {
        return Poll::Pending;
    }
    Poll::Ready(ended.map_err(|outcome| invocation.log_failure(&outcome)))
}
