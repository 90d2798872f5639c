//! Queues as a source of batches.

use super::{
    backoff::{Backoff, Delays, Receipt, VisibilityChange},
    event::{Message, Published, SqsEvent, SqsRecord},
};
use crate::{
    Invocation, Trigger,
    batch::{BatchItemFailure, BatchResponse, Delaying, FailedRecord, Known, Opened, Progress, Source},
    decode,
    handler::Handler,
    hop::Producer,
    propagation::Fields,
    sns::Notification,
};
use lambda_runtime::{Diagnostic, Error};
use opentelemetry::KeyValue;
use serde::de::DeserializeOwned;
use std::{
    collections::HashSet,
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A service that handles each message of a batch separately. Created by [`batch`] and [`batch_raw`].
pub type Batch<H, Args, T, State = ()> = crate::batch::Batch<Sqs<T>, H, Args, State>;

/// Queues whose messages have a `T` as their body, as a [`Source`] of batches.
pub struct Sqs<T> {
    decode: fn(String) -> Result<T, String>,
    from_sns: bool,
    /// FIFO group ids are recorded.
    group_ids: bool,
    /// How the next delivery of a failed message is delayed.
    delays: Option<Delays>,
}

impl<T> Clone for Sqs<T> {
    fn clone(&self) -> Self {
        Self { delays: self.delays.clone(), ..*self }
    }
}

impl<T> fmt::Debug for Sqs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqs").field("from_sns", &self.from_sns).field("group_ids", &self.group_ids).finish_non_exhaustive()
    }
}

/// Runs `handler` for each message of a batch, with the body decoded from JSON into `T`.
///
/// The handler is an `async fn(Message<T>)`, or an `async fn(App, Message<T>)` with [`with_state`](crate::batch::Batch::with_state).
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
    T: DeserializeOwned + 'static,
    H: Handler<Args, State, Message<T>>,
{
    let decode = |body: String| {
        decode::from_str(&body).map_err(|error| format!("the body is not a valid {}: {error}", decode::type_name::<T>()))
    };
    Batch::new(Sqs { decode, from_sns: false, group_ids: false, delays: None }, handler)
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
    Batch::new(Sqs { decode: Ok, from_sns: false, group_ids: false, delays: None }, handler)
}

impl<H, Args, T: 'static, State> Batch<H, Args, T, State> {
    /// For a queue that subscribes to an SNS topic without raw message delivery: `T` is the published message, and the
    /// notification around it is in [`Message::notification`].
    pub fn from_sns(mut self) -> Self {
        self.source.from_sns = true;
        self
    }

    /// Puts the work of a message into its producer's trace, as a separate segment that links back to the batch: one trace from
    /// the API to the last message. By default the work stays in this invocation's trace and links to the producer.
    ///
    /// It needs an invocation that Lambda traces, and applies to producers whose trace is sampled.
    pub fn continue_traces(mut self) -> Self {
        self.options.spans.continues = true;
        self
    }

    /// Changes the visibility timeout of each message that failed, so that it is received again after the time that `backoff` gives. Without
    /// it, that is when the queue's visibility timeout has passed since the receive.
    ///
    /// `change` makes the call with your client, in the message's trace. It is called after [`on_failure`](crate::batch::Batch::on_failure)
    /// and counts as part of the message's handling. The role needs `sqs:ChangeMessageVisibility`. A call that fails or panics is logged with
    /// the code `backoff_failed`, and its message is retried after the queue's own timeout.
    ///
    /// - In a FIFO queue the later messages of the group are retried with the one that failed. They get the same timeout, in their order,
    ///   because a group waits for each of its messages that is invisible.
    /// - Messages that were dropped at the deadline, or never started, keep the queue's timeout.
    /// - Each further receive counts for the queue's `maxReceiveCount`.
    ///
    /// Streams and topics have no such call, because Lambda keeps their position: see the settings of the event source mapping instead.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, sqs::{self, Backoff, Message, VisibilityChange}};
    /// use std::time::Duration;
    ///
    /// # async fn pay(_: Message<u64>) -> Result<(), Error> { Ok(()) }
    /// # fn service(sqs: aws_sdk_sqs::Client) {
    /// let backoff = Backoff::exponential(Duration::from_secs(30), Duration::from_secs(3600));
    /// let service = sqs::batch(pay).backoff(backoff, move |change: VisibilityChange| {
    ///     let call = sqs.change_message_visibility().queue_url(change.queue_url).receipt_handle(change.receipt_handle);
    ///     let call = call.visibility_timeout(change.visibility_timeout);
    ///     async move { call.send().await.map(drop) }
    /// });
    /// # }
    /// ```
    pub fn backoff<F, Changing, E>(mut self, backoff: Backoff, change: F) -> Self
    where
        F: Fn(VisibilityChange) -> Changing + Send + Sync + 'static,
        Changing: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error>,
    {
        let change = move |wanted| -> Delaying {
            let changing = change(wanted);
            Box::pin(async move { changing.await.map_err(Into::into) })
        };
        self.source.delays = Some(Delays { backoff, change: Arc::new(change) });
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
        self.source.group_ids = true;
        self
    }
}

impl<T> crate::batch::Sealed for Sqs<T> {}

impl<T: 'static> Source for Sqs<T> {
    type Event = SqsEvent;
    type Item = Message<T>;
    type Response = BatchResponse;
    type Error = NotAnSqsEvent;
    type Record = SqsRecord;
    /// The receipts of the messages, in their order, if a failed one is delayed.
    type Frame = Vec<Receipt>;

    const TRIGGER: Trigger = Trigger::Sqs;
    const SYSTEM: &'static str = "aws_sqs";

    fn records(&self, event: SqsEvent) -> Result<Opened<Self>, NotAnSqsEvent> {
        let mut records = event.records;
        // A message without an id cannot be reported, and Lambda deletes messages that are not reported. So none is started.
        if let Some(index) = records.iter().position(|record| record.message_id.is_empty()) {
            return Err(NotAnSqsEvent { index, event_source: std::mem::take(&mut records[index].event_source) });
        }
        distinct(&mut records);
        if self.from_sns {
            for record in &mut records {
                record.published = Some(published(&record.body));
            }
        }
        let receipt = |record: &SqsRecord| Receipt {
            message_id: record.message_id.clone(),
            handle: record.receipt_handle.clone(),
            queue_arn: record.event_source_arn.clone(),
        };
        let receipts = self.delays.as_ref().map(|_| records.iter().map(receipt).collect());
        Ok((receipts.unwrap_or_default(), records))
    }

    fn destination(record: &SqsRecord) -> &str {
        record.queue()
    }

    fn write_id(record: &SqsRecord, ids: &mut String) {
        ids.push_str(&record.message_id);
    }

    fn receive_count(record: &SqsRecord) -> u32 {
        record.receive_count()
    }

    fn lane<'r>(&self, record: &'r SqsRecord) -> Option<(&'r str, &'r [u8])> {
        record.message_group_id().map(|group| (group, &[][..]))
    }

    fn age(record: &SqsRecord, now: SystemTime) -> Option<Duration> {
        record.age(now)
    }

    fn producer(&self, invocation: &Invocation, record: &SqsRecord) -> Option<Producer> {
        let settings = &invocation.shared().settings;
        let has_w3c = settings.propagators().has_w3c();
        if !has_w3c && !invocation.is_recorded() {
            return None;
        }
        let mut fields = Fields::default();
        if has_w3c {
            fields = Fields::from_names(|name| record.attribute(name));
            if let Some(Ok((_, around))) = &record.published
                && fields.is_empty()
            {
                fields = Fields::from_names(|name| around.attribute(name));
            }
        }
        Producer::read(settings, record.attributes.get("AWSTraceHeader").map(String::as_str), &fields)
    }

    fn correlation(&self, invocation: &Invocation, record: &SqsRecord) -> Option<Arc<str>> {
        let place = invocation.shared().settings.correlation_id.as_ref()?;
        let (body, around) = match &record.published {
            Some(Ok((message, around))) => (message, Some(around)),
            _ => (&record.body, None),
        };
        let attribute = |name: &str| record.attribute(name).or_else(|| around?.attribute(name));
        place.of_message(attribute, &record.message_id, || body.as_bytes().into())
    }

    fn is_intact(record: &SqsRecord) -> bool {
        record.wrong.is_none()
    }

    fn describe(&self, record: &SqsRecord, receive_count: u32, attributes: &mut Vec<KeyValue>) {
        attributes.push(KeyValue::new("messaging.message.receive_count", i64::from(receive_count)));
        // A group is often named after a customer or an account.
        if let Some(group) = record.message_group_id().filter(|_| self.group_ids) {
            attributes.push(KeyValue::new("messaging.message.group_id", group.to_owned()));
        }
    }

    fn item(&self, record: SqsRecord, known: Known<'_>) -> Result<Message<T>, String> {
        if let Some(field) = record.wrong {
            return Err(format!("`{field}` of the message is not what SQS sends"));
        }
        let message_group_id = record.message_group_id().map(str::to_owned);
        let (body, notification) = match record.published {
            None => (record.body, None),
            Some(published) => published.map(|(message, around)| (message, Some(around)))?,
        };
        Ok(Message {
            body: (self.decode)(body)?,
            id: record.message_id,
            receipt_handle: record.receipt_handle,
            receive_count: known.receive_count,
            age: known.age,
            message_group_id,
            attributes: record.message_attributes,
            notification,
            invocation: known.invocation.clone(),
            annotations: known.annotations,
        })
    }

    fn delays(&self, receipts: &Vec<Receipt>, failed: &FailedRecord<'_>) -> Vec<Delaying> {
        let Some(delays) = &self.delays else { return Vec::new() };
        let Some(seconds) = delays.seconds(failed) else { return Vec::new() };
        let receipts = failed.indexes().filter_map(|index| receipts.get(index));
        // A handle of another type than SQS's is empty.
        let receipts = receipts.filter(|receipt| !receipt.handle.is_empty());
        receipts.map(|receipt| delays.call(receipt, seconds)).collect()
    }

    fn response(&self, _: &Vec<Receipt>, records: &[Progress<'_>]) -> Result<BatchResponse, NotAnSqsEvent> {
        let returned = records.iter().filter(|record| !record.done);
        let failure = |record: &Progress<'_>| BatchItemFailure { item_identifier: record.id.to_owned() };
        Ok(BatchResponse { batch_item_failures: returned.map(failure).collect() })
    }
}

/// Drops duplicates in the batch, which at-least-once delivery allows. A message is handled once, and its id in the response
/// counts for all copies.
fn distinct(records: &mut Vec<SqsRecord>) {
    let mut seen = HashSet::with_capacity(records.len());
    let repeated: Vec<bool> = records.iter().map(|record| !seen.insert(record.message_id.as_str())).collect();
    if seen.len() < repeated.len() {
        let mut repeated = repeated.into_iter();
        records.retain(|_| !repeated.next().unwrap_or(false));
    }
}

/// The published message, and the notification around it.
fn published(body: &str) -> Published {
    let notification: Notification<String> = decode::from_str(body).map_err(|error| {
        format!("the body is not a notification of SNS (does the subscription use raw message delivery?): {error}")
    })?;
    let (message, around) = notification.take();
    Ok((message, Box::new(around)))
}

/// An event that is not a batch of messages. No message was handled, and all are returned to the queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "record {index} of the event has no messageId (its eventSource is {event_source:?}), and this handler only accepts messages of SQS: \
     give this function an SQS event source mapping, or handle other events with another handler"
)]
pub struct NotAnSqsEvent {
    index: usize,
    event_source: String,
}

impl From<NotAnSqsEvent> for Diagnostic {
    fn from(error: NotAnSqsEvent) -> Self {
        Self { error_type: "Lifecycle.NotAnSqsEvent".to_owned(), error_message: error.to_string() }
    }
}
