//! EventBridge events that are sent directly to the function: a typed handler for an event's detail, with a span that names it.
//!
//! ```no_run
//! use lambda_lifecycle::{Error, Lifecycle, event_bridge::{self, EventBridgeEvent}};
//!
//! #[derive(serde::Deserialize)]
//! struct Order { id: u64 }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     Lifecycle::from_env().run_concurrent(event_bridge::events(placed)).await
//! }
//!
//! async fn placed(event: EventBridgeEvent<Order>) -> Result<(), Error> {
//!     println!("{} of {}: {}", event.detail_type, event.source, event.detail.id);
//!     Ok(())
//! }
//! ```
//!
//! The invocation is in the trace of the function that put the event, if the entry had a
//! [`TraceHeader`](https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html) or X-Ray's HTTP
//! header. The interceptor of `aws_sdk` sends it. For events that pass through a queue, use [`sqs::batch`](crate::sqs::batch)
//! with [`EventBridgeEvent`] as the body's type.

mod detail;

use crate::{
    Invocation,
    handler::Handler,
    hop::{self, consumer},
};
use lambda_runtime::{Diagnostic, LambdaEvent};
use opentelemetry::{KeyValue, Value, context::FutureExt as _};
use serde::de::DeserializeOwned;
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};
use tower::Service;

/// An event of EventBridge. See
/// [Event structure](https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html).
///
/// A detail may be text that holds JSON, as EventBridge Scheduler sends it. It is decoded as JSON, unless `T` accepts text. If
/// the detail is missing or null, `T` is decoded from null, as `()` and `None` are, or else from `{}`. Other fields may be
/// missing or null.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventBridgeEvent<T> {
    /// The details of the event, in the source's format.
    pub detail: T,
    /// The kind of event.
    pub detail_type: String,
    /// The sender.
    pub source: String,
    /// The id that EventBridge gave it.
    pub id: String,
    /// The sender's account.
    pub account: String,
    /// The sender's region.
    pub region: String,
    /// The time of the event, in ISO 8601.
    pub time: String,
    /// ARNs of the resources that the event concerns.
    pub resources: Vec<String>,
}

/// A service that handles events of EventBridge. Made by [`events`].
#[must_use = "hand it to `Lifecycle::run_concurrent`"]
pub struct Events<H, Args, T, State = ()> {
    state: State,
    handler: H,
    args: PhantomData<fn(T) -> Args>,
}

impl<H, Args, T, State> fmt::Debug for Events<H, Args, T, State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Runs `handler` for each event, with the detail decoded from JSON into `T`.
///
/// The handler is an `async fn(EventBridgeEvent<T>)`, or an `async fn(App, EventBridgeEvent<T>)` with [`with_state`](Events::with_state).
/// If it fails, the invocation fails, and Lambda retries the event.
pub fn events<H, Args, State, T>(handler: H) -> Events<H, Args, T>
where
    T: DeserializeOwned,
    H: Handler<Args, State, EventBridgeEvent<T>>,
{
    Events { state: (), handler, args: PhantomData }
}

impl<H, Args, T> Events<H, Args, T> {
    /// The state of which each call of the handler gets a clone, as its first argument.
    pub fn with_state<State>(self, state: State) -> Events<H, Args, T, State>
    where
        H: Handler<Args, State, EventBridgeEvent<T>>,
    {
        let Self { state: (), handler, args } = self;
        Events { state, handler, args }
    }
}

impl<H: Clone, Args, T, State: Clone> Clone for Events<H, Args, T, State> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), handler: self.handler.clone(), args: PhantomData }
    }
}

impl<H, Args, T, State> Service<LambdaEvent<EventBridgeEvent<T>>> for Events<H, Args, T, State>
where
    State: Clone + Send + Sync + 'static,
    T: Send + 'static,
    Args: 'static,
    H: Handler<Args, State, EventBridgeEvent<T>> + Clone + Send + Sync + 'static,
    H::Future: Send + 'static,
{
    type Response = ();
    type Error = Diagnostic;
    type Future = Pin<Box<dyn Future<Output = Result<(), Diagnostic>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Diagnostic>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaEvent<EventBridgeEvent<T>>) -> Self::Future {
        let (state, handler) = (self.state.clone(), self.handler.clone());
        let event = event.payload;
        Box::pin(async move {
            let span = begin(&Invocation::current(), &event);
            let context = span.as_ref().map_or_else(opentelemetry::Context::current, |span| span.context().clone());
            let handled = async { handler.call(&state, event).await }.with_context(context).await;
            let failure = handled.err().map(|error| Invocation::current().diagnostic_of(error));
            if let Some(span) = span {
                span.end(failure.as_ref().map(|failure| (&*failure.error_type, &*failure.error_message)));
            }
            failure.map_or(Ok(()), Err)
        })
    }
}

fn begin<T>(invocation: &Invocation, event: &EventBridgeEvent<T>) -> Option<hop::OpenSpan> {
    if !invocation.is_recorded() {
        return None;
    }
    let source = Value::from(event.source.clone());
    let attributes = [
        KeyValue::new("annotation.message_id", event.id.clone()),
        KeyValue::new("annotation.detail_type", event.detail_type.clone()),
    ];
    let span = consumer(format!("process {}", event.detail_type), "aws.eventbridge", &source, attributes);
    Some(hop::begin(span, &opentelemetry::Context::current()))
}
