//! Topics of Kafka as a source of batches.

use super::event::{ItemIdentifier, KafkaBatchItemFailure, KafkaBatchResponse, KafkaEvent, KafkaRecord, Record};
use crate::{
    Invocation, Trigger,
    batch::{Known, Opened, Progress, Source},
    decode,
    handler::Handler,
    hop::Producer,
    propagation::Fields,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lambda_runtime::Diagnostic;
use opentelemetry::KeyValue;
use serde::de::DeserializeOwned;
use std::{
    fmt::{self, Write as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A service that handles each record of a batch separately. Created by [`batch`] and [`batch_raw`].
pub type Batch<H, Args, T, State = ()> = crate::batch::Batch<Kafka<T>, H, Args, State>;

/// Topics whose records have a `T` as their value, as a [`Source`] of batches.
pub struct Kafka<T> {
    decode: fn(Option<Vec<u8>>) -> Result<T, String>,
    by_key: bool,
    partial: bool,
}

impl<T> Clone for Kafka<T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<T> fmt::Debug for Kafka<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("by_key", &self.by_key).field("partial", &self.partial).finish_non_exhaustive()
    }
}

/// Runs `handler` for each record of a batch, with the value decoded from JSON into `T`.
///
/// The handler is an `async fn(Record<T>)`, or an `async fn(App, Record<T>)` with [`with_state`](crate::batch::Batch::with_state).
/// The [module](super) describes the outcome of each record.
///
/// ```
/// use lambda_lifecycle::{Error, kafka::{self, Record}};
///
/// async fn book(record: Record<Option<u64>>) -> Result<(), Error> {
///     println!("{:?} at {}", record.value, record.offset);
///     Ok(())
/// }
/// let service = kafka::batch(book).partial_responses().concurrency(8);
/// ```
pub fn batch<H, Args, State, T>(handler: H) -> Batch<H, Args, T>
where
    T: DeserializeOwned + 'static,
    H: Handler<Args, State, Record<T>>,
{
    let decode = |value: Option<Vec<u8>>| {
        decode::from_slice(value.as_deref().unwrap_or(b"null"))
            .map_err(|error| format!("the value is not a valid {}: {error}", decode::type_name::<T>()))
    };
    Batch::new(Kafka { decode, by_key: false, partial: false }, handler)
}

/// Like [`batch`], with the values unchanged: for Avro, Protocol Buffers or text.
///
/// ```
/// use lambda_lifecycle::{Error, kafka::{self, Record}};
///
/// async fn book(record: Record<Option<Vec<u8>>>) -> Result<(), Error> {
///     println!("{:?} bytes", record.value.map(|value| value.len()));
///     Ok(())
/// }
/// let service = kafka::batch_raw(book);
/// ```
pub fn batch_raw<H, Args, State>(handler: H) -> Batch<H, Args, Option<Vec<u8>>>
where
    H: Handler<Args, State, Record<Option<Vec<u8>>>>,
{
    Batch::new(Kafka { decode: Ok, by_key: false, partial: false }, handler)
}

impl<H, Args, T: 'static, State> Batch<H, Args, T, State> {
    /// The mapping is in provisioned mode and has `ReportBatchItemFailures` among its function response types: the response names the records that
    /// failed. By default a failed record fails the invocation, and Lambda sends the whole batch again.
    pub fn partial_responses(mut self) -> Self {
        self.source.partial = true;
        self
    }

    /// Handles records of different keys at once, up to [`concurrency`](crate::batch::Batch::concurrency), and those of one key one after the
    /// other. By default all records of a partition are handled one after the other.
    ///
    /// When a record fails, later records of other keys in its partition may have been handled. They are sent again with it.
    pub fn ordered_by_key(mut self) -> Self {
        self.source.by_key = true;
        self
    }
}

impl<T> crate::batch::Sealed for Kafka<T> {}

/// Divides the two parts of a record's id. It is in no name of a topic.
const OFFSET: char = ':';

fn item_identifier(id: &str) -> Option<ItemIdentifier> {
    let (partition, offset) = id.rsplit_once(OFFSET)?;
    Some(ItemIdentifier { partition: partition.to_owned(), offset: offset.parse().ok()? })
}

impl<T: 'static> Source for Kafka<T> {
    type Event = KafkaEvent;
    type Item = Record<T>;
    type Response = KafkaBatchResponse;
    type Error = BatchFailed;
    type Record = KafkaRecord;
    type Frame = ();

    const TRIGGER: Trigger = Trigger::Kafka;
    const SYSTEM: &'static str = "kafka";

    fn records(&self, event: KafkaEvent) -> Result<Opened<Self>, BatchFailed> {
        Ok(((), event.records))
    }

    fn destination(record: &KafkaRecord) -> &str {
        &record.topic
    }

    /// `<topic>-<partition>:<offset>`; the offset is missing where the event has none.
    fn write_id(record: &KafkaRecord, ids: &mut String) {
        ids.push_str(&record.topic_partition);
        ids.push(OFFSET);
        if let Some(offset) = record.offset {
            // Writing into a string never fails.
            let _ = write!(ids, "{offset}");
        }
    }

    fn lane<'r>(&self, record: &'r KafkaRecord) -> Option<(&'r str, &'r [u8])> {
        let key = record.key.as_deref().filter(|_| self.by_key).unwrap_or_default();
        Some((&record.topic_partition, key.as_bytes()))
    }

    fn checkpoint<'r>(&self, record: &'r KafkaRecord) -> Option<&'r str> {
        Some(if self.partial { &record.topic_partition } else { "" })
    }

    fn age(record: &KafkaRecord, now: SystemTime) -> Option<Duration> {
        now.duration_since(record.moment()?).ok()
    }

    fn producer(&self, invocation: &Invocation, record: &KafkaRecord) -> Option<Producer> {
        let settings = &invocation.shared().settings;
        let has_w3c = settings.propagators().has_w3c();
        has_w3c.then(|| Producer::read(settings, None, &Fields::from_names(|name| record.header(name)))).flatten()
    }

    fn correlation(&self, invocation: &Invocation, record: &KafkaRecord) -> Option<Arc<str>> {
        let place = invocation.shared().settings.correlation_id.as_ref()?;
        let header = |name: &str| {
            let (_, value) = record.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(value).ok()
        };
        let value = || STANDARD.decode(record.value.as_deref().unwrap_or_default()).unwrap_or_default().into();
        place.of_message(header, "", value)
    }

    fn is_intact(record: &KafkaRecord) -> bool {
        record.wrong.is_none()
    }

    fn describe(&self, record: &KafkaRecord, _: u32, attributes: &mut Vec<KeyValue>) {
        attributes.push(KeyValue::new("messaging.destination.partition.id", record.partition.to_string()));
        if let Some(offset) = record.offset {
            attributes.push(KeyValue::new("messaging.kafka.offset", offset));
        }
    }

    fn item(&self, record: KafkaRecord, known: Known<'_>) -> Result<Record<T>, String> {
        let wrong = |field| format!("`{field}` of the record is not what Kafka sends");
        if let Some(field) = record.wrong {
            return Err(wrong(field));
        }
        let timestamp = record.moment();
        let bytes = |text: Option<String>, what: &str| {
            text.map(|text| STANDARD.decode(text)).transpose().map_err(|_| format!("the {what} is not valid base64"))
        };
        Ok(Record {
            value: (self.decode)(bytes(record.value, "value")?)?,
            key: bytes(record.key, "key")?,
            headers: record.headers,
            topic: record.topic,
            partition: record.partition,
            offset: record.offset.ok_or_else(|| wrong("offset"))?,
            timestamp,
            invocation: known.invocation.clone(),
            annotations: known.annotations,
        })
    }

    fn response(&self, (): &(), records: &[Progress<'_>]) -> Result<KafkaBatchResponse, BatchFailed> {
        let (failed, total) = (records.iter().filter(|record| !record.done).count(), records.len());
        if failed > 0 && !self.partial {
            return Err(BatchFailed { failed, total });
        }
        let mut named: Vec<KafkaBatchItemFailure> = Vec::new();
        for (index, record) in records.iter().enumerate().filter(|(_, record)| !record.done) {
            let partition = |record: &Progress<'_>| record.id.rsplit_once(OFFSET).map(|(partition, _)| partition.to_owned());
            let mut before = records[..=index].iter().rev().take_while(|before| partition(before) == partition(record));
            // A record without an offset cannot be named. The one before it is sent again with it.
            let item_identifier = before.find_map(|before| item_identifier(before.id)).ok_or(BatchFailed { failed, total })?;
            let failure = KafkaBatchItemFailure { item_identifier };
            if named.last() != Some(&failure) {
                named.push(failure);
            }
        }
        Ok(KafkaBatchResponse { batch_item_failures: named })
    }
}

/// A batch with records that are not done, and no response that could name them. All of it is sent again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{failed} of {total} records are not done, and the whole batch is retried: the mapping is not known to read which ones; \
     in provisioned mode set `ReportBatchItemFailures` and call `partial_responses()`"
)]
pub struct BatchFailed {
    failed: usize,
    total: usize,
}

impl From<BatchFailed> for Diagnostic {
    fn from(error: BatchFailed) -> Self {
        Self { error_type: "Lifecycle.BatchFailed".to_owned(), error_message: error.to_string() }
    }
}
