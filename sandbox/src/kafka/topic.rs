//! A topic: its partitions, and the records that a test puts into them.

use crate::streams::{Shard, Stored};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// A topic. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Topic {
    pub(super) name: Arc<str>,
    pub(super) partitions: Arc<[Shard]>,
}

/// One record for a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The key, if it has one.
    pub key: Option<Vec<u8>>,
    /// The value; none deletes the key in a compacted topic.
    pub value: Option<Vec<u8>>,
    /// The headers, in their order.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Topic {
    /// A topic with so many partitions, at least one.
    pub fn new(name: &str, partitions: usize) -> Self {
        let partition = |number| Shard::new(format!("{name}-{number}"));
        Self { name: name.into(), partitions: (0..partitions.max(1)).map(partition).collect() }
    }

    /// Puts a record into a partition. Returns its offset.
    ///
    /// # Panics
    /// Where there is no such partition.
    pub fn put(&self, partition: usize, message: &Message) -> usize {
        let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
        let headers: Vec<Value> = message.headers.iter().map(|(name, value)| json!({ name: signed(value) })).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut at = 0;
        self.partitions[partition].push(|offset| {
            at = offset;
            let record = json!({
                "topic": &*self.name,
                "partition": partition,
                "offset": offset,
                "timestamp": u64::try_from(now).unwrap_or_default(),
                "timestampType": "CREATE_TIME",
                "key": bytes(&message.key),
                "value": bytes(&message.value),
                "headers": headers,
            });
            Stored::new(offset.to_string(), record)
        });
        at
    }

    /// Puts a record as it is into a partition: one that Lambda would not make.
    ///
    /// # Panics
    /// Where there is no such partition.
    pub fn put_raw(&self, partition: usize, record: Value) {
        self.partitions[partition].push(|offset| Stored::new(offset.to_string(), record));
    }
}

/// Bytes as Lambda writes them: Java's, which have a sign.
fn signed(bytes: &[u8]) -> Vec<i8> {
    bytes.iter().map(|byte| byte.cast_signed()).collect()
}
