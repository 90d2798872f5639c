//! The service for a batch, and its options.

use super::{
    event::{BatchResponse, Message, SqsEvent},
    failure::{FailedMessage, NotAnSqsEvent},
    run,
    span::SpanOptions,
};
use crate::{Invocation, decode, handler::Handler};
use lambda_runtime::LambdaEvent;
use serde::de::DeserializeOwned;
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower::Service;

/// The number of messages in progress at once, unless [`Batch::concurrency`] sets it: a whole batch of the default size.
const CONCURRENCY: usize = 10;
/// The messages of a batch that always have a span: about as many as X-Ray accepts for one trace.
const SPAN_BUDGET: usize = 500;

pub(super) type Decode<T> = fn(String) -> Result<T, String>;
pub(super) type Hook = Arc<dyn Fn(FailedMessage<'_>) + Send + Sync>;

/// A service that handles each message of a batch separately. Created by [`batch`] and [`batch_raw`].
#[must_use = "hand it to `Lifecycle::run_concurrent`"]
pub struct Batch<H, Args, T, State = ()> {
    pub(super) state: State,
    pub(super) handler: H,
    pub(super) args: PhantomData<fn() -> Args>,
    pub(super) decode: Decode<T>,
    pub(super) concurrency: usize,
    pub(super) spans: SpanOptions,
    pub(super) from_sns: bool,
    pub(super) on_failure: Option<Hook>,
}

impl<H, Args, T, State> fmt::Debug for Batch<H, Args, T, State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("concurrency", &self.concurrency).field("from_sns", &self.from_sns).finish_non_exhaustive()
    }
}

/// Runs `handler` for each message of a batch, with the body decoded from JSON into `T`.
///
/// The handler is an `async fn(Message<T>)`, or an `async fn(App, Message<T>)` with [`with_state`](Batch::with_state).
/// The [module](super) describes the outcome of each message.
///
/// ```
/// use lambda_lifecycle::{Error, sqs::{self, Message}};
///
/// async fn place(message: Message<u64>) -> Result<(), Error> {
///     println!("order {}", message.body);
///     Ok(())
/// }
/// let service = sqs::batch(place).concurrency(8);
/// ```
pub fn batch<H, Args, State, T>(handler: H) -> Batch<H, Args, T>
where
    T: DeserializeOwned,
    H: Handler<Args, State, Message<T>>,
{
    Batch::new(handler, |body| {
        decode::from_str(&body).map_err(|error| format!("the body is not a valid {}: {error}", decode::type_name::<T>()))
    })
}

/// Like [`batch`], with the bodies unchanged.
///
/// ```
/// use lambda_lifecycle::{Error, sqs::{self, Message}};
///
/// async fn import(message: Message<String>) -> Result<(), Error> {
///     for line in message.body.lines() { /* CSV, say */ }
///     Ok(())
/// }
/// let service = sqs::batch_raw(import);
/// ```
pub fn batch_raw<H, Args, State>(handler: H) -> Batch<H, Args, String>
where
    H: Handler<Args, State, Message<String>>,
{
    Batch::new(handler, Ok)
}

impl<H, Args, T> Batch<H, Args, T> {
    fn new(handler: H, decode: Decode<T>) -> Self {
        Self {
            state: (),
            handler,
            args: PhantomData,
            decode,
            concurrency: CONCURRENCY,
            spans: SpanOptions { continues: false, budget: SPAN_BUDGET, group_ids: false },
            from_sns: false,
            on_failure: None,
        }
    }

    /// The state of which each call of the handler gets a clone, as its first argument.
    ///
    /// ```
    /// # use lambda_lifecycle::{Error, sqs::{self, Message}};
    /// #[derive(Clone)]
    /// struct App { table: String }
    ///
    /// async fn place(app: App, message: Message<u64>) -> Result<(), Error> {
    ///     println!("order {} into {}", message.body, app.table);
    ///     Ok(())
    /// }
    /// let service = sqs::batch(place).with_state(App { table: "orders".to_owned() });
    /// ```
    pub fn with_state<State>(self, state: State) -> Batch<H, Args, T, State>
    where
        H: Handler<Args, State, Message<T>>,
    {
        let Self { state: (), handler, args, decode, concurrency, spans, from_sns, on_failure } = self;
        Batch { state, handler, args, decode, concurrency, spans, from_sns, on_failure }
    }
}

impl<H, Args, T, State> Batch<H, Args, T, State> {
    /// How many messages are handled at once; at least 1, 10 by default. Of a FIFO group it is always one.
    pub fn concurrency(mut self, messages: usize) -> Self {
        self.concurrency = messages.max(1);
        self
    }

    /// For a queue that subscribes to an SNS topic without raw message delivery: `T` is the published message, and the
    /// notification around it is in [`Message::notification`].
    pub fn from_sns(mut self) -> Self {
        self.from_sns = true;
        self
    }

    /// Called once for each message that was handled and is returned to the queue, in the message's trace: to count, to alert, to
    /// note the last attempt. It is not called for messages that were never started. It should not block; it may store work with
    /// [`after_response`](Invocation::after_response).
    ///
    /// ```
    /// # use lambda_lifecycle::{Error, sqs::{self, Message}};
    /// # async fn place(_: Message<u64>) -> Result<(), Error> { Ok(()) }
    /// let service = sqs::batch(place).on_failure(|message| {
    ///     if message.receive_count == 3 {
    ///         tracing::error!("message {} goes to the dead-letter queue: {}", message.id, message.failure);
    ///     }
    /// });
    /// ```
    pub fn on_failure(mut self, hook: impl Fn(FailedMessage<'_>) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Arc::new(hook));
        self
    }

    /// Puts the work of a message into its producer's trace, as a separate segment that links back to the batch: one trace from
    /// the API to the last message. By default the work stays in this invocation's trace and links to the producer.
    ///
    /// It needs an invocation that Lambda traces, and applies to producers whose trace is sampled.
    pub fn continue_traces(mut self) -> Self {
        self.spans.continues = true;
        self
    }

    /// Records the group id of each message of a FIFO queue, as `messaging.message.group_id`.
    ///
    /// By default group ids are not recorded, because they are part of the event, and often name a customer or an account.
    ///
    /// ```
    /// # use lambda_lifecycle::{Error, sqs::{self, Message}};
    /// # async fn book(_: Message<u64>) -> Result<(), Error> { Ok(()) }
    /// let service = sqs::batch(book).record_group_ids();
    /// ```
    pub fn record_group_ids(mut self) -> Self {
        self.spans.group_ids = true;
        self
    }

    /// How many messages of one batch are always recorded, 500 by default. Beyond that, a message has a span only if it fails,
    /// and the spans inside of it are dropped. So a batch of 10,000 keeps its faults within the 500 KB that X-Ray accepts for a
    /// trace.
    pub fn span_budget(mut self, messages: usize) -> Self {
        self.spans.budget = messages;
        self
    }
}

impl<H: Clone, Args, T, State: Clone> Clone for Batch<H, Args, T, State> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), handler: self.handler.clone(), on_failure: self.on_failure.clone(), ..*self }
    }
}

impl<H, Args, T, State> Service<LambdaEvent<SqsEvent>> for Batch<H, Args, T, State>
where
    State: Clone + Send + Sync + 'static,
    T: Send + 'static,
    Args: 'static,
    H: Handler<Args, State, Message<T>> + Clone + Send + Sync + 'static,
    H::Future: Send + 'static,
{
    type Response = BatchResponse;
    type Error = NotAnSqsEvent;
    type Future = Pin<Box<dyn Future<Output = Result<BatchResponse, NotAnSqsEvent>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NotAnSqsEvent>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaEvent<SqsEvent>) -> Self::Future {
        let batch = self.clone();
        let invocation = Invocation::current();
        Box::pin(async move { run::run(&batch, &invocation, event.payload.records).await })
    }
}
