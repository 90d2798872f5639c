//! Streams of DynamoDB as a source of batches.

use super::event::{Change, ChangeKind, DynamoDbEvent, DynamoDbRecord, Image};
use crate::{
    Trigger,
    batch::{Known, Opened, Progress, Source},
    handler::Handler,
    stream::{Order, StreamResponse, UnidentifiedRecord, Window, respond},
};
use opentelemetry::KeyValue;
use serde::de::DeserializeOwned;
use std::{
    fmt,
    marker::PhantomData,
    time::{Duration, SystemTime},
};

/// The service that removes items whose time to live is over.
const TIME_TO_LIVE: &str = "dynamodb.amazonaws.com";

/// A service that handles each change of a batch separately. Created by [`batch`].
pub type Batch<H, Args, T, State = ()> = crate::batch::Batch<DynamoDb<T>, H, Args, State>;

/// Streams of tables whose items are a `T`, as a [`Source`] of batches.
pub struct DynamoDb<T> {
    order: Order,
    image: PhantomData<fn() -> T>,
}

impl<T> Clone for DynamoDb<T> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<T> fmt::Debug for DynamoDb<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDb").field("order", &self.order).finish_non_exhaustive()
    }
}

/// Runs `handler` for each change of a batch, with the images decoded into `T`.
///
/// The handler is an `async fn(Change<T>)`, or an `async fn(App, Change<T>)` with [`with_state`](crate::batch::Batch::with_state).
/// The [module](super) describes the outcome of each change.
///
/// ```
/// use lambda_lifecycle::{Error, dynamodb::{self, Change}};
///
/// async fn index(change: Change<serde_json::Value>) -> Result<(), Error> {
///     println!("{:?} in {}", change.kind, change.table);
///     Ok(())
/// }
/// let service = dynamodb::batch(index).ordered_by_key().concurrency(8);
/// ```
pub fn batch<H, Args, State, T>(handler: H) -> Batch<H, Args, T>
where
    T: DeserializeOwned + 'static,
    H: Handler<Args, State, Change<T>>,
{
    Batch::new(DynamoDb { order: Order::Shard, image: PhantomData }, handler)
}

impl<H, Args, T: DeserializeOwned + 'static, State> Batch<H, Args, T, State> {
    /// Handles changes of different items at once, up to [`concurrency`](crate::batch::Batch::concurrency), and those of one item one after
    /// the other. By default all changes of the batch are handled one after the other.
    ///
    /// When a change fails, later changes of other items may have been handled. They are sent again with it.
    pub fn ordered_by_key(mut self) -> Self {
        self.source.order = Order::Key;
        self
    }
}

impl<T> crate::batch::Sealed for DynamoDb<T> {}

impl<T: DeserializeOwned + 'static> Source for DynamoDb<T> {
    type Event = DynamoDbEvent;
    type Item = Change<T>;
    type Response = StreamResponse;
    type Error = UnidentifiedRecord;
    type Record = DynamoDbRecord;
    type Frame = Option<Window>;

    const TRIGGER: Trigger = Trigger::DynamoDb;
    const SYSTEM: &'static str = "aws.dynamodb";

    fn records(&self, event: DynamoDbEvent) -> Result<Opened<Self>, UnidentifiedRecord> {
        let DynamoDbEvent { mut records, window } = event;
        for record in &mut records {
            record.window.clone_from(&window);
        }
        Ok((window, records))
    }

    fn destination(record: &DynamoDbRecord) -> &str {
        record.table()
    }

    fn write_id(record: &DynamoDbRecord, ids: &mut String) {
        ids.push_str(&record.sequence_number);
    }

    fn lane<'r>(&self, record: &'r DynamoDbRecord) -> Option<(&'r str, &'r [u8])> {
        match self.order {
            Order::Shard => Some(("", &[])),
            // DynamoDB writes the keys of a table in the same way each time.
            Order::Key => Some((record.keys.as_ref().map_or("", Image::as_json), &[])),
        }
    }

    fn checkpoint<'r>(&self, _: &'r DynamoDbRecord) -> Option<&'r str> {
        Some("")
    }

    fn age(record: &DynamoDbRecord, now: SystemTime) -> Option<Duration> {
        record.age(now)
    }

    fn is_intact(record: &DynamoDbRecord) -> bool {
        record.wrong.is_none()
    }

    fn describe(&self, record: &DynamoDbRecord, _: u32, attributes: &mut Vec<KeyValue>) {
        if ChangeKind::named(&record.event_name) != ChangeKind::Other {
            attributes.push(KeyValue::new("annotation.change", record.event_name.clone()));
        }
    }

    fn item(&self, record: DynamoDbRecord, known: Known<'_>) -> Result<Change<T>, String> {
        if let Some(field) = record.wrong {
            return Err(format!("`{field}` of the record is not what DynamoDB sends"));
        }
        let table = record.table().to_owned();
        let image = |name: &str, image: Option<Image>| {
            image.map(|image| image.decode()).transpose().map_err(|error| format!("the {name} image is {error}"))
        };
        Ok(Change {
            kind: ChangeKind::named(&record.event_name),
            new_image: image("new", record.new_image)?,
            old_image: image("old", record.old_image)?,
            keys: record.keys.unwrap_or_default(),
            sequence_number: record.sequence_number,
            table,
            expired: record.principal_id == TIME_TO_LIVE,
            age: known.age,
            window: record.window,
            invocation: known.invocation.clone(),
            annotations: known.annotations,
        })
    }

    fn response(&self, window: &Option<Window>, records: &[Progress<'_>]) -> Result<StreamResponse, UnidentifiedRecord> {
        respond("DynamoDB", records, window.as_ref())
    }
}
