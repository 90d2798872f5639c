//! Streams of Kinesis as a source of batches.

use super::event::{KinesisEvent, KinesisRecord, Record};
use crate::{
    Invocation, Trigger,
    batch::{Known, Opened, Progress, Source},
    decode,
    handler::Handler,
    stream::{Order, StreamResponse, UnidentifiedRecord, Window, respond},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use opentelemetry::KeyValue;
use serde::de::DeserializeOwned;
use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A service that handles each record of a batch separately. Created by [`batch`] and [`batch_raw`].
pub type Batch<H, Args, T, State = ()> = crate::batch::Batch<Kinesis<T>, H, Args, State>;

/// Streams whose records have a `T` as their data, as a [`Source`] of batches.
pub struct Kinesis<T> {
    decode: fn(Vec<u8>) -> Result<T, String>,
    order: Order,
}

impl<T> Clone for Kinesis<T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<T> fmt::Debug for Kinesis<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kinesis").field("order", &self.order).finish_non_exhaustive()
    }
}

/// Runs `handler` for each record of a batch, with the data decoded from JSON into `T`.
///
/// The handler is an `async fn(Record<T>)`, or an `async fn(App, Record<T>)` with [`with_state`](crate::batch::Batch::with_state).
/// The [module](super) describes the outcome of each record.
///
/// ```
/// use lambda_lifecycle::{Error, kinesis::{self, Record}};
///
/// async fn store(record: Record<u64>) -> Result<(), Error> {
///     println!("{} of {}", record.data, record.partition_key);
///     Ok(())
/// }
/// let service = kinesis::batch(store).ordered_by_key().concurrency(8);
/// ```
pub fn batch<H, Args, State, T>(handler: H) -> Batch<H, Args, T>
where
    T: DeserializeOwned + 'static,
    H: Handler<Args, State, Record<T>>,
{
    let decode = |data: Vec<u8>| {
        decode::from_slice(&data).map_err(|error| format!("the data is not a valid {}: {error}", decode::type_name::<T>()))
    };
    Batch::new(Kinesis { decode, order: Order::Shard }, handler)
}

/// Like [`batch`], with the data unchanged.
///
/// ```
/// use lambda_lifecycle::{Error, kinesis::{self, Record}};
///
/// async fn store(record: Record<Vec<u8>>) -> Result<(), Error> {
///     println!("{} bytes", record.data.len());
///     Ok(())
/// }
/// let service = kinesis::batch_raw(store);
/// ```
pub fn batch_raw<H, Args, State>(handler: H) -> Batch<H, Args, Vec<u8>>
where
    H: Handler<Args, State, Record<Vec<u8>>>,
{
    Batch::new(Kinesis { decode: Ok, order: Order::Shard }, handler)
}

impl<T> crate::batch::Sealed for Kinesis<T> {}

impl<H, Args, T: 'static, State> Batch<H, Args, T, State> {
    /// Handles records of different partition keys at once, up to [`concurrency`](crate::batch::Batch::concurrency), and those of one key
    /// one after the other. By default all records of the batch are handled one after the other.
    ///
    /// When a record fails, later records of other keys may have been handled. They are sent again with it.
    pub fn ordered_by_key(mut self) -> Self {
        self.source.order = Order::Key;
        self
    }
}

impl<T: 'static> Source for Kinesis<T> {
    type Event = KinesisEvent;
    type Item = Record<T>;
    type Response = StreamResponse;
    type Error = UnidentifiedRecord;
    type Record = KinesisRecord;
    type Frame = Option<Window>;

    const TRIGGER: Trigger = Trigger::Kinesis;
    const SYSTEM: &'static str = "aws.kinesis";

    fn records(&self, event: KinesisEvent) -> Result<Opened<Self>, UnidentifiedRecord> {
        let KinesisEvent { mut records, window } = event;
        for record in &mut records {
            record.window.clone_from(&window);
        }
        Ok((window, records))
    }

    fn destination(record: &KinesisRecord) -> &str {
        record.stream()
    }

    fn write_id(record: &KinesisRecord, ids: &mut String) {
        ids.push_str(&record.sequence_number);
    }

    fn lane<'r>(&self, record: &'r KinesisRecord) -> Option<(&'r str, &'r [u8])> {
        match self.order {
            Order::Shard => Some(("", &[])),
            Order::Key => Some((&record.partition_key, &[])),
        }
    }

    fn checkpoint<'r>(&self, _: &'r KinesisRecord) -> Option<&'r str> {
        Some("")
    }

    fn age(record: &KinesisRecord, now: SystemTime) -> Option<Duration> {
        record.age(now)
    }

    fn correlation(&self, invocation: &Invocation, record: &KinesisRecord) -> Option<Arc<str>> {
        let place = invocation.shared().settings.correlation_id.as_ref()?;
        place.of_message(|_| None, "", || STANDARD.decode(&record.data).unwrap_or_default().into())
    }

    fn is_intact(record: &KinesisRecord) -> bool {
        record.wrong.is_none()
    }

    fn describe(&self, record: &KinesisRecord, _: u32, attributes: &mut Vec<KeyValue>) {
        attributes.push(KeyValue::new("aws.kinesis.shard_id", record.shard_id().to_owned()));
    }

    fn item(&self, record: KinesisRecord, known: Known<'_>) -> Result<Record<T>, String> {
        if let Some(field) = record.wrong {
            return Err(format!("`{field}` of the record is not what Kinesis sends"));
        }
        let shard_id = record.shard_id().to_owned();
        let data = STANDARD.decode(record.data).map_err(|_| "the data is not valid base64".to_owned())?;
        Ok(Record {
            data: (self.decode)(data)?,
            partition_key: record.partition_key,
            sequence_number: record.sequence_number,
            shard_id,
            age: known.age,
            window: record.window,
            invocation: known.invocation.clone(),
            annotations: known.annotations,
        })
    }

    fn response(&self, window: &Option<Window>, records: &[Progress<'_>]) -> Result<StreamResponse, UnidentifiedRecord> {
        respond("Kinesis", records, window.as_ref())
    }
}
