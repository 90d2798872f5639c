//! Whole services in an invocation under test.

use super::TestInvocation;
use crate::{
    invocation::CURRENT,
    runtime_api::diagnostic,
    service::{HandlerLayer, Payload},
};
use bytes::Bytes;
use futures_core::Stream;
use lambda_runtime::{Diagnostic, Error, FunctionResponse, IntoFunctionResponse, LambdaEvent, StreamResponse};
use opentelemetry::context::FutureExt as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fmt::{Debug, Display},
    future::poll_fn,
    pin::pin,
    sync::Arc,
};
use tower::{Layer, Service};

impl TestInvocation {
    /// Has a whole service handle an event, and returns its response as Lambda would get it: the service that
    /// [`Lifecycle::run_concurrent`](crate::Lifecycle::run_concurrent) takes, with decoding, encoding, panics and the deadline.
    ///
    /// The event is any value that serializes into the event's JSON. Each invocation is for one call. The body of a streamed response is in the
    /// field `body`, as text.
    ///
    /// ```
    /// use lambda_lifecycle::{Error, Invocation, LambdaEvent, service_fn};
    ///
    /// async fn double(event: LambdaEvent<u64>) -> Result<u64, Error> {
    ///     event.payload.checked_mul(2).ok_or_else(|| "too large".into())
    /// }
    ///
    /// # fn main() { tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let response = Invocation::test().begin().call(service_fn(double), 21).await;
    /// assert_eq!(response.unwrap(), 42);
    ///
    /// let error = Invocation::test().begin().call(service_fn(double), "many").await.unwrap_err();
    /// assert_eq!(error.error_type, "Lifecycle.UndecodableEvent");
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// What Lambda would get as the error of the invocation: its type and its message. `Lifecycle.TestEvent` if `event` cannot be serialized.
    pub async fn call<S, T, R, Buffered, Body, D, E>(&self, service: S, event: impl Serialize) -> Result<Value, Diagnostic>
    where
        S: Service<LambdaEvent<T>, Response = R>,
        S::Error: Into<Diagnostic> + Debug,
        T: for<'de> Deserialize<'de>,
        R: IntoFunctionResponse<Buffered, Body>,
        Buffered: Serialize,
        Body: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
        D: Into<Bytes> + Send,
        E: Into<Error> + Send + Debug,
    {
        // As text first, because numbers and borrowed strings decode from text as they do on Lambda.
        let event = serde_json::to_vec(&event).map_err(|error| invalid("the event of the test", error))?;
        let payload = Payload::<T>::deserialize(&mut serde_json::Deserializer::from_slice(&event));
        let event = LambdaEvent::new(
            payload.map_err(|error| invalid("the event of the test", error))?,
            self.invocation.lambda_context().clone(),
        );
        let mut handler = HandlerLayer::of(Arc::clone(self.invocation.shared())).layer(service);
        let called = async {
            poll_fn(|cx| handler.poll_ready(cx)).await?;
            match handler.call(event).await? {
                FunctionResponse::BufferedResponse(response) => {
                    serde_json::from_str(response.get()).map_err(|error| invalid("the response", error))
                }
                FunctionResponse::StreamingResponse(response) => self.collect(response).await,
            }
        };
        CURRENT.scope(self.invocation.clone(), called.with_context(self.context.clone())).await
    }

    /// The head of a streamed response, and its body as text.
    async fn collect<S>(&self, response: StreamResponse<S>) -> Result<Value, Diagnostic>
    where
        S: Stream<Item = Result<Bytes, Error>>,
    {
        let mut head = serde_json::to_value(response.metadata_prelude).map_err(|error| invalid("the response", error))?;
        let mut body = Vec::new();
        let mut stream = pin!(response.stream);
        while let Some(part) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            body.extend_from_slice(&part.map_err(|error| diagnostic::of_error(&error))?);
        }
        if let Some(broken) = self.invocation.failure() {
            return Err(broken);
        }
        head["body"] = String::from_utf8_lossy(&body).into();
        Ok(head)
    }
}

fn invalid(what: &str, error: impl Display) -> Diagnostic {
    Diagnostic { error_type: "Lifecycle.TestEvent".to_owned(), error_message: format!("{what} is not valid JSON: {error}") }
}
