//! The event source mapping of a topic: one poller, whose batches have records of several partitions.

use super::topic::Topic;
use crate::{
    FunctionResponse, Invoke,
    event_source::{self, Invoked, Progress},
    streams::{Shard, Stored},
};
use serde_json::{Map, Value, json};
use std::{fmt, sync::Arc};
use tokio::task::{AbortHandle, JoinSet};

/// One invocation with a batch of records, seen from the mapping.
#[derive(Clone, Debug)]
pub struct KafkaBatch {
    /// Of each partition, the offsets of its records.
    pub offsets: Vec<Vec<usize>>,
    /// The function's response.
    pub response: FunctionResponse,
    /// Of each partition, how many of its records are done, before the first that is not. `None` where the batch failed as a whole.
    pub done: Option<Vec<usize>>,
    /// Why the batch failed as a whole, where the response is the reason.
    pub refused: Option<String>,
}

/// Records that were given up after the last retry, as an on-failure destination gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscardedRecords {
    /// The partition.
    pub partition: usize,
    /// The offsets of the records.
    pub offsets: Vec<usize>,
}

/// Options of a [`KafkaMapping`], by Lambda's names.
pub struct KafkaMappingBuilder {
    topic: Topic,
    function: Arc<dyn Invoke>,
    batch_size: usize,
    max_retries: Option<u32>,
    report: bool,
}

/// Feeds a function from the partitions of a topic until it is dropped.
///
/// A batch takes records of all partitions, each from its position. Where the response names records, the next batch of a partition starts with the
/// first that is named. A partition that makes no progress is retried, and given up with its records of that batch.
#[derive(Debug)]
pub struct KafkaMapping {
    shared: Arc<Shared>,
    poller: AbortHandle,
}

type Shared = event_source::Shared<KafkaMappingBuilder, KafkaBatch, DiscardedRecords>;

impl KafkaMapping {
    /// Begins a mapping of `topic` to `function`.
    pub fn builder(topic: &Topic, function: Arc<dyn Invoke>) -> KafkaMappingBuilder {
        KafkaMappingBuilder { topic: topic.clone(), function, batch_size: 100, max_retries: None, report: false }
    }

    /// The batches that have ended, in the order of their ends.
    pub fn batches(&self) -> Vec<Arc<KafkaBatch>> {
        self.shared.batches()
    }

    /// What was given up, in the order in which it was.
    pub fn discarded(&self) -> Vec<DiscardedRecords> {
        self.shared.discarded()
    }

    /// Waits until every record of the topic is done or given up. Never returns if a record fails forever and retries have no end.
    pub async fn wait_idle(&self) {
        let partitions = &self.shared.options.topic.partitions;
        let idle =
            |positions: &[usize]| positions.iter().zip(partitions.iter()).all(|(done, partition)| *done >= partition.len());
        self.shared.wait_for(idle).await;
    }
}

impl Drop for KafkaMapping {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl KafkaMappingBuilder {
    /// Most records of one invocation, at least 1. Default: 100.
    pub fn batch_size(mut self, size: usize) -> Self {
        self.batch_size = size.max(1);
        self
    }

    /// How often the records of a partition are retried before they are given up. Default: without end.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Whether the function's response says which records failed. Default: no, so a response means that all succeeded.
    pub fn report_batch_item_failures(mut self, report: bool) -> Self {
        self.report = report;
        self
    }

    /// Starts to poll.
    pub fn start(self) -> KafkaMapping {
        let progress = Progress::new(vec![0; self.topic.partitions.len()]);
        let shared = Arc::new(Shared { options: self, progress });
        let poller = tokio::spawn(poll(Arc::clone(&shared))).abort_handle();
        KafkaMapping { shared, poller }
    }
}

/// Reads batch after batch.
async fn poll(shared: Arc<Shared>) {
    let options = &shared.options;
    let mut positions = vec![0; options.topic.partitions.len()];
    let mut retries = vec![0_u32; positions.len()];
    loop {
        let batch = collect(options, &positions).await;
        let done = invoke(&shared, &batch).await.unwrap_or_else(|| vec![0; batch.len()]);
        for (partition, records) in batch.iter().enumerate().filter(|(_, records)| !records.is_empty()) {
            positions[partition] += done[partition];
            if done[partition] > 0 {
                retries[partition] = 0;
            } else if options.max_retries.is_none_or(|most| retries[partition] < most) {
                retries[partition] += 1;
            } else {
                let offsets = (positions[partition]..positions[partition] + records.len()).collect();
                shared.discard(DiscardedRecords { partition, offsets });
                positions[partition] += records.len();
                retries[partition] = 0;
            }
        }
        shared.move_to(|moved| moved.clone_from(&positions));
    }
}

/// Waits for a record, then takes what there is, in equal shares.
async fn collect(options: &KafkaMappingBuilder, positions: &[usize]) -> Vec<Vec<Stored>> {
    let partitions = &options.topic.partitions;
    let has_more = |(partition, position): (&Shard, &usize)| partition.len() > *position;
    if !partitions.iter().zip(positions).any(has_more) {
        let mut waiting = JoinSet::new();
        for (number, position) in positions.iter().enumerate() {
            let (partitions, position) = (Arc::clone(partitions), *position);
            waiting.spawn(async move { partitions[number].longer_than(position).await });
        }
        // The first one ends the wait.
        waiting.join_next().await;
    }
    let share = options.batch_size.div_ceil(partitions.len());
    let take = |(partition, position): (&Shard, &usize)| partition.read(*position..partition.len().min(position + share));
    partitions.iter().zip(positions).map(take).collect()
}

/// Returns how many records of each partition are done, before the first that is not; `None` where the batch failed as a whole.
async fn invoke(shared: &Shared, batch: &[Vec<Stored>]) -> Option<Vec<usize>> {
    let options = &shared.options;
    let partitions = || options.topic.partitions.iter().zip(batch).filter(|(_, records)| !records.is_empty());
    let lists: Map<String, Value> = partitions()
        .map(|(partition, records)| (partition.id.clone(), records.iter().map(|stored| stored.record.clone()).collect()))
        .collect();
    let payload = json!({
        "eventSource": "aws:kafka",
        "eventSourceArn": "arn:aws:kafka:us-east-1:000000000000:cluster/sandbox/751d2973-a626-431c-9d4e-d7975eb44dd7-2",
        "bootstrapServers": "b-1.sandbox.kafka.us-east-1.amazonaws.com:9092",
        "records": lists,
    });
    // X-Ray does not support Kafka: Lambda hands over no trace of a producer.
    let read = |identifier: &Value| read(identifier, options, batch);
    let Invoked { response, failed, refused } = event_source::invoke(&*options.function, &payload, options.report, read).await;
    let done = failed.map(|failed| {
        let mut done: Vec<usize> = batch.iter().map(Vec::len).collect();
        for (partition, index) in failed {
            done[partition] = done[partition].min(index);
        }
        done
    });
    let offsets = |records: &Vec<Stored>| records.iter().filter_map(|stored| stored.sequence_number.parse().ok()).collect();
    let kept = KafkaBatch { offsets: batch.iter().map(offsets).collect(), response, done: done.clone(), refused };
    shared.ended(kept);
    done
}

/// The partition and the index of a record that a response names: `{"partition": "<topic>-<partition>", "offset": 7}`.
fn read(identifier: &Value, options: &KafkaMappingBuilder, batch: &[Vec<Stored>]) -> Result<(usize, usize), String> {
    let unknown = || format!("the itemIdentifier {identifier} is not a record of the batch");
    let (Some(partition), Some(offset)) = (identifier["partition"].as_str(), identifier["offset"].as_u64()) else {
        return Err(format!("an itemIdentifier has no partition and offset: {identifier}"));
    };
    let number = options.topic.partitions.iter().position(|known| known.id == partition).ok_or_else(unknown)?;
    let index = batch[number].iter().position(|stored| stored.sequence_number == offset.to_string());
    Ok((number, index.ok_or_else(unknown)?))
}

impl fmt::Debug for KafkaMappingBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaMappingBuilder")
            .field("topic", &self.topic.name)
            .field("batch_size", &self.batch_size)
            .field("max_retries", &self.max_retries)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}
