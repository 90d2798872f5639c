//! The service for a batch, and the options that all sources have.

use super::{
    dead_letter::{self, DeadLetter},
    failure::FailedRecord,
    source::Source,
    span::SpanOptions,
};
use crate::handler::Handler;
use lambda_runtime::Error;
use std::{fmt, future::Future, marker::PhantomData, sync::Arc, time::Duration};

/// The number of records in progress at once, unless [`Batch::concurrency`] sets it: a whole batch of SQS's default size.
const CONCURRENCY: usize = 10;
/// The records of a batch that always have a span: about as many as X-Ray accepts for one trace.
const SPAN_BUDGET: usize = 500;

pub(super) type Hook = Arc<dyn Fn(FailedRecord<'_>) + Send + Sync>;

/// The options that all sources have.
#[derive(Clone)]
pub(crate) struct Options {
    pub(super) concurrency: usize,
    pub(crate) spans: SpanOptions,
    pub(super) time_limit: Option<Duration>,
    pub(super) on_failure: Option<Hook>,
}

/// A service that handles each record of a batch separately. The modules of the sources create it, such as `sqs::batch`.
#[must_use = "hand it to `Lifecycle::run_concurrent`"]
pub struct Batch<K: Source, H, Args, State = ()> {
    pub(crate) source: K,
    pub(super) state: State,
    pub(super) handler: H,
    pub(super) args: PhantomData<fn() -> Args>,
    pub(crate) options: Options,
    pub(super) dead_letter: Option<dead_letter::Hook<K::Record>>,
}

impl<K: Source, H, Args, State> fmt::Debug for Batch<K, H, Args, State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("source", &K::TRIGGER.as_str())
            .field("concurrency", &self.options.concurrency)
            .finish_non_exhaustive()
    }
}

impl<K: Source, H, Args> Batch<K, H, Args> {
    pub(crate) fn new(source: K, handler: H) -> Self {
        let spans = SpanOptions { continues: false, budget: SPAN_BUDGET };
        let options = Options { concurrency: CONCURRENCY, spans, time_limit: None, on_failure: None };
        Self { source, state: (), handler, args: PhantomData, options, dead_letter: None }
    }

    /// The state of which each call of the handler gets a clone, as its first argument.
    ///
    /// ```
    /// # #[cfg(feature = "sqs")] {
    /// # use lambda_lifecycle::{Error, sqs::{self, Message}};
    /// #[derive(Clone)]
    /// struct App { table: String }
    ///
    /// async fn place(app: App, message: Message<u64>) -> Result<(), Error> {
    ///     println!("order {} into {}", message.body, app.table);
    ///     Ok(())
    /// }
    /// let service = sqs::batch(place).with_state(App { table: "orders".to_owned() });
    /// # }
    /// ```
    pub fn with_state<State>(self, state: State) -> Batch<K, H, Args, State>
    where
        H: Handler<Args, State, K::Item>,
    {
        let Self { source, state: (), handler, args, options, dead_letter } = self;
        Batch { source, state, handler, args, options, dead_letter }
    }
}

impl<K: Source, H, Args, State> Batch<K, H, Args, State> {
    /// How many records are handled at once; at least 1, 10 by default. Records that have an order among them are never handled at once.
    pub fn concurrency(mut self, records: usize) -> Self {
        self.options.concurrency = records.max(1);
        self
    }

    /// Called once for each record that was handled and is sent again, in the record's trace: to count, to alert, to note the
    /// last attempt. It is not called for records that were never started. It should not block; it may store work with
    /// [`after_response`](crate::Invocation::after_response).
    ///
    /// ```
    /// # #[cfg(feature = "sqs")] {
    /// # use lambda_lifecycle::{Error, sqs::{self, Message}};
    /// # async fn place(_: Message<u64>) -> Result<(), Error> { Ok(()) }
    /// let service = sqs::batch(place).on_failure(|message| {
    ///     if message.receive_count == 3 {
    ///         tracing::error!("message {} goes to the dead-letter queue: {}", message.id, message.failure);
    ///     }
    ///     tracing::info!("{} later messages of its group are retried with it", message.retried_with().count());
    /// });
    /// # }
    /// ```
    pub fn on_failure(mut self, hook: impl Fn(FailedRecord<'_>) + Send + Sync + 'static) -> Self {
        self.options.on_failure = Some(Arc::new(hook));
        self
    }

    /// The longest time for the handler of one record. A handler that takes longer is dropped, and its record failed with
    /// [`Failure::TimedOut`](super::Failure::TimedOut). Without it, which is the default, only the invocation's deadline ends a handler.
    ///
    /// It ends handlers that wait, and not one that blocks its thread.
    ///
    /// ```
    /// # #[cfg(feature = "sqs")] {
    /// # use lambda_lifecycle::{Error, sqs::{self, Message}};
    /// # use std::time::Duration;
    /// # async fn place(_: Message<u64>) -> Result<(), Error> { Ok(()) }
    /// let service = sqs::batch(place).time_limit(Duration::from_secs(2));
    /// # }
    /// ```
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.options.time_limit = Some(limit);
        self
    }

    /// Where records go that are never retried: those whose handler returned [`permanent`](super::permanent), and those that do not decode.
    ///
    /// When `send` returns `Ok`, the record is done with, and is not sent again. When it fails or panics, the record failed and is retried. A
    /// record with a field of the wrong type never gets here: it is retried, because what it was is not known. Each record is cloned before it is
    /// decoded. By default a permanent error drops its record, and a record that does not decode is retried.
    ///
    /// ```
    /// # #[cfg(feature = "sqs")] {
    /// # use lambda_lifecycle::{Error, batch::DeadLetter, sqs::{self, Message, SqsRecord}};
    /// # async fn place(_: Message<u64>) -> Result<(), Error> { Ok(()) }
    /// # #[derive(Clone)] struct Queue;
    /// # impl Queue { async fn send(&self, _: &str) -> Result<(), Error> { Ok(()) } }
    /// # let queue = Queue;
    /// let service = sqs::batch(place).dead_letter(move |letter: DeadLetter<SqsRecord>| {
    ///     let queue = queue.clone();
    ///     async move { queue.send(&letter.record.body).await }
    /// });
    /// # }
    /// ```
    pub fn dead_letter<F, Sending, E>(mut self, send: F) -> Self
    where
        F: Fn(DeadLetter<K::Record>) -> Sending + Send + Sync + 'static,
        Sending: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error>,
    {
        self.dead_letter = Some(Arc::new(move |letter| {
            let sending = send(letter);
            Box::pin(async move { sending.await.map_err(Into::into) })
        }));
        self
    }

    /// How many records of one batch always have a span, 500 by default. Beyond that, a record has a span only if it fails,
    /// and the spans inside of it are dropped. So a batch of 10,000 keeps its faults within the 500 KB that X-Ray accepts for a
    /// trace.
    pub fn span_budget(mut self, records: usize) -> Self {
        self.options.spans.budget = records;
        self
    }
}

impl<K: Source, H: Clone, Args, State: Clone> Clone for Batch<K, H, Args, State> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            state: self.state.clone(),
            handler: self.handler.clone(),
            args: PhantomData,
            options: self.options.clone(),
            dead_letter: self.dead_letter.clone(),
        }
    }
}
