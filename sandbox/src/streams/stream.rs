//! A stream: its shards, and the records that a test puts into them.

use super::{
    clock::Clock,
    shard::{Shard, Stored},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "000000000000";

/// A stream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stream {
    pub(super) arn: Arc<str>,
    pub(super) shards: Arc<[Shard]>,
    pub(super) clock: Clock,
}

fn shards(count: usize) -> Arc<[Shard]> {
    (0..count.max(1)).map(|number| Shard::new(format!("shardId-{number:012}"))).collect()
}

fn seconds(at: SystemTime) -> f64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_millis() as f64) / 1_000.0
}

impl Stream {
    /// A Kinesis stream with so many shards, at least one.
    pub fn kinesis(name: &str, count: usize) -> Self {
        let arn = format!("arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}").into();
        Self { arn, shards: shards(count), clock: Clock::system() }
    }

    /// The stream of a DynamoDB table with so many shards, at least one.
    pub fn dynamodb(table: &str, count: usize) -> Self {
        let arn = format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}/stream/2024-06-10T19:26:16.525").into();
        Self { arn, shards: shards(count), clock: Clock::system() }
    }

    pub(super) fn is_kinesis(&self) -> bool {
        self.arn.starts_with("arn:aws:kinesis")
    }

    /// The same stream by another clock: set it before the first record.
    #[must_use]
    pub fn with_clock(mut self, clock: &Clock) -> Self {
        self.clock = clock.clone();
        self
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// The shard of a key. Records of the same key are in the same shard.
    pub fn shard_of(&self, key: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        usize::try_from(hasher.finish() % self.shards.len() as u64).unwrap_or_default()
    }

    /// Puts data into the shard of its partition key, as `PutRecord` does. Returns the sequence number.
    pub fn put(&self, partition_key: &str, data: impl AsRef<[u8]>) -> String {
        let shard = &self.shards[self.shard_of(partition_key)];
        let at = self.clock.now();
        shard.push(|index| {
            let sequence_number = sequence_number(index);
            let record = json!({
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": partition_key,
                    "sequenceNumber": sequence_number,
                    "data": STANDARD.encode(data),
                    "approximateArrivalTimestamp": seconds(at),
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": format!("{}:{sequence_number}", shard.id),
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": format!("arn:aws:iam::{ACCOUNT}:role/lambda-role"),
                "awsRegion": REGION,
                "eventSourceARN": &*self.arn,
            });
            Stored { sequence_number, record, key: partition_key.to_owned(), at }
        })
    }

    /// Puts a change of an item into the shard of its key. `keys` and the images are in the JSON of DynamoDB. Returns the sequence number.
    pub fn change(&self, keys: &Value, old_image: Option<&Value>, new_image: Option<&Value>) -> String {
        let shard = &self.shards[self.shard_of(&keys.to_string())];
        let at = self.clock.now();
        let name = match (old_image, new_image) {
            (None, _) => "INSERT",
            (Some(_), Some(_)) => "MODIFY",
            (Some(_), None) => "REMOVE",
        };
        shard.push(|index| {
            let sequence_number = sequence_number(index);
            let mut change = json!({
                "ApproximateCreationDateTime": seconds(at).trunc(),
                "Keys": keys,
                "SequenceNumber": sequence_number,
                "SizeBytes": 26,
                "StreamViewType": "NEW_AND_OLD_IMAGES",
            });
            for (key, image) in [("NewImage", new_image), ("OldImage", old_image)] {
                if let Some(image) = image {
                    change[key] = image.clone();
                }
            }
            let record = json!({
                "eventID": format!("{:032x}", index),
                "eventName": name,
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": REGION,
                "dynamodb": change,
                "eventSourceARN": &*self.arn,
            });
            Stored { sequence_number, record, key: keys.to_string(), at }
        })
    }

    /// Puts a record as it is into a shard: one that the service would not make. `sequence_number` is its name in the shard.
    ///
    /// # Panics
    /// Where there is no such shard.
    pub fn put_raw(&self, shard: usize, sequence_number: &str, record: Value) {
        let (key, at) = (String::new(), self.clock.now());
        self.shards[shard].push(|_| Stored { sequence_number: sequence_number.to_owned(), record, key, at });
    }
}

/// Of the length that Kinesis gives them, so that they do not fit into an integer.
fn sequence_number(index: usize) -> String {
    format!("495903382714902566085596925383615710959215759891365{index:05}")
}
