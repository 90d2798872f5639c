//! The event source mapping of a stream: one poller for each shard, which reads its next batch when the last one is done or given up.

use super::{
    shard::{Shard, Stored},
    stream::Stream,
    verdict::{Verdict, failures},
};
use crate::{Answer, Event, Invoke};
use serde_json::{Value, json};
use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{sync::watch, task::JoinSet};

/// Most records of one batch.
const BATCH_MOST: usize = 10_000;

/// Where a mapping begins to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartingPosition {
    /// With the first record of each shard.
    #[default]
    TrimHorizon,
    /// With the first record that comes after the mapping was started.
    Latest,
}

/// A mapping that Lambda would refuse as well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamMappingError {
    /// No records, or more than Lambda takes.
    #[error("a batch size of {size} is not within 1 to 10000")]
    BatchSize {
        /// The requested option.
        size: usize,
    },
}

/// One invocation with a batch of records, seen from the mapping.
#[derive(Clone, Debug)]
pub struct StreamBatch {
    /// The shard.
    pub shard: usize,
    /// The sequence numbers of its records, in the order of the event.
    pub records: Vec<String>,
    /// The function's response.
    pub answer: Answer,
    /// The index of the record that the mapping continues with; the number of records where all are done. `None` where the batch failed as a
    /// whole.
    pub done: Option<usize>,
    /// Why the batch failed as a whole, where the response is the reason.
    pub refused: Option<String>,
}

/// Records that were given up after the last retry, as an on-failure destination gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// The shard.
    pub shard: usize,
    /// The sequence numbers of the records.
    pub records: Vec<String>,
    /// How often the batch was retried.
    pub retries: u32,
}

/// Options of a [`StreamMapping`], by Lambda's names.
pub struct MappingBuilder {
    stream: Stream,
    function: Arc<dyn Invoke>,
    batch_size: usize,
    position: StartingPosition,
    bisect: bool,
    max_retries: Option<u32>,
    report: bool,
}

/// Feeds a function from the shards of a stream until it is dropped. Shards are read at once, and a shard has one batch at a time.
///
/// ```no_run
/// use lambda_lifecycle_sandbox::{Invoke, streams::{Stream, StreamMapping}};
/// # async fn example(function: std::sync::Arc<dyn Invoke>) -> Result<(), Box<dyn std::error::Error>> {
/// let readings = Stream::kinesis("readings", 8);
/// readings.put("sensor-7", r#"{"celsius":21.5}"#);
/// let mapping = StreamMapping::builder(&readings, function)
///     .report_batch_item_failures(true)
///     .bisect_on_error(true)
///     .max_retries(2)
///     .start()?;
/// mapping.wait_idle().await;
/// println!("given up: {:?}", mapping.discarded());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct StreamMapping {
    shared: Arc<Shared>,
    pollers: JoinSet<()>,
}

struct Shared {
    options: MappingBuilder,
    batches: Mutex<Vec<Arc<StreamBatch>>>,
    discarded: Mutex<Vec<Discarded>>,
    /// Of each shard, how many of its records are done or given up.
    positions: watch::Sender<Vec<usize>>,
}

impl StreamMapping {
    /// Begins a mapping of `stream` to `function`.
    pub fn builder(stream: &Stream, function: Arc<dyn Invoke>) -> MappingBuilder {
        MappingBuilder {
            stream: stream.clone(),
            function,
            batch_size: 100,
            position: StartingPosition::TrimHorizon,
            bisect: false,
            max_retries: None,
            report: false,
        }
    }

    /// The batches that have ended, in the order of their ends.
    pub fn batches(&self) -> Vec<Arc<StreamBatch>> {
        self.shared.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was given up, in the order in which it was.
    pub fn discarded(&self) -> Vec<Discarded> {
        self.shared.discarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Of each shard, how many of its records are done or given up.
    pub fn positions(&self) -> Vec<usize> {
        self.shared.positions.borrow().clone()
    }

    /// Waits until every record of the stream is done or given up. Never returns if a record fails forever and retries have no end.
    pub async fn wait_idle(&self) {
        let shards = &self.shared.options.stream.shards;
        let idle = |positions: &Vec<usize>| positions.iter().zip(shards.iter()).all(|(position, shard)| *position >= shard.len());
        // The sender lives in `self.shared`.
        let _ = self.shared.positions.subscribe().wait_for(idle).await;
    }

    /// Waits until more records are done or given up than these positions say.
    pub async fn wait_beyond(&self, positions: &[usize]) {
        let _ = self.shared.positions.subscribe().wait_for(|now| now.as_slice() != positions).await;
    }
}

impl Drop for StreamMapping {
    fn drop(&mut self) {
        self.pollers.abort_all();
    }
}

impl MappingBuilder {
    /// Most records of one invocation. Default: 100.
    pub fn batch_size(mut self, size: usize) -> Self {
        self.batch_size = size;
        self
    }

    /// Where to begin to read. Default: with the first record of each shard.
    pub fn starting_position(mut self, position: StartingPosition) -> Self {
        self.position = position;
        self
    }

    /// Whether a batch that fails is split into two, each of which is retried. A split does not count as a retry. Default: no.
    pub fn bisect_on_error(mut self, bisect: bool) -> Self {
        self.bisect = bisect;
        self
    }

    /// How often a batch is retried before it is given up. Default: without end.
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Whether the function's response says which record failed. Default: no, so a response means that all succeeded.
    pub fn report_batch_item_failures(mut self, report: bool) -> Self {
        self.report = report;
        self
    }

    /// Starts to poll.
    pub fn start(self) -> Result<StreamMapping, StreamMappingError> {
        if !(1..=BATCH_MOST).contains(&self.batch_size) {
            return Err(StreamMappingError::BatchSize { size: self.batch_size });
        }
        let start = |shard: &Shard| match self.position {
            StartingPosition::TrimHorizon => 0,
            StartingPosition::Latest => shard.len(),
        };
        let positions: Vec<usize> = self.stream.shards.iter().map(start).collect();
        let shared = Arc::new(Shared {
            options: self,
            batches: Mutex::default(),
            discarded: Mutex::default(),
            positions: watch::Sender::new(positions.clone()),
        });
        let mut pollers = JoinSet::new();
        for (shard, position) in positions.into_iter().enumerate() {
            pollers.spawn(poll(Arc::clone(&shared), shard, position));
        }
        Ok(StreamMapping { shared, pollers })
    }
}

/// Reads batch after batch of one shard.
async fn poll(shared: Arc<Shared>, shard: usize, mut position: usize) {
    let stream = shared.options.stream.clone();
    loop {
        stream.shards[shard].longer_than(position).await;
        let end = stream.shards[shard].len().min(position + shared.options.batch_size);
        settle(&shared, shard, position..end).await;
        position = end;
        shared.positions.send_modify(|positions| positions[shard] = end);
    }
}

/// A part of a batch that is still to be done.
struct Part {
    range: Range<usize>,
    retries: u32,
}

/// Invokes the function until each record of the batch is done or given up. Parts are done in the order of the shard.
async fn settle(shared: &Shared, shard: usize, range: Range<usize>) {
    let options = &shared.options;
    let mut parts = vec![Part { range, retries: 0 }];
    while let Some(Part { range, retries }) = parts.pop() {
        let records = options.stream.shards[shard].read(range.clone());
        match invoke(shared, shard, &records).await {
            Some(done) if done == records.len() => {}
            // What was done is not sent again, and what is left is a batch of its own.
            Some(done) if done > 0 => parts.push(Part { range: range.start + done..range.end, retries: 0 }),
            _ if options.bisect && range.len() > 1 => {
                let middle = range.start + range.len() / 2;
                parts.push(Part { range: middle..range.end, retries });
                parts.push(Part { range: range.start..middle, retries });
            }
            _ if options.max_retries.is_none_or(|most| retries < most) => parts.push(Part { range, retries: retries + 1 }),
            _ => {
                let records = records.into_iter().map(|stored| stored.sequence_number).collect();
                let mut discarded = shared.discarded.lock().unwrap_or_else(PoisonError::into_inner);
                discarded.push(Discarded { shard, records, retries });
            }
        }
    }
}

/// Returns how many of the records are done, before the first that is not; `None` where the batch failed as a whole.
async fn invoke(shared: &Shared, shard: usize, records: &[Stored]) -> Option<usize> {
    let options = &shared.options;
    let list: Vec<&Value> = records.iter().map(|stored| &stored.record).collect();
    let payload = json!({ "Records": list }).to_string().into();
    let answer = options.function.invoke(Event { payload, ..Event::default() }).await;
    let numbers: Vec<String> = records.iter().map(|stored| stored.sequence_number.clone()).collect();
    let (done, refused) = match &answer.result {
        Err(_) => (None, None),
        Ok(_) if !options.report => (Some(records.len()), None),
        Ok(response) => match read(response, &numbers) {
            Verdict::Success => (Some(records.len()), None),
            // The lowest sequence number counts.
            Verdict::Partial(failed) => (failed.into_iter().min(), None),
            Verdict::Failure(why) => (None, Some(why)),
        },
    };
    let batch = Arc::new(StreamBatch { shard, records: numbers, answer, done, refused });
    shared.batches.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
    done
}

/// The indexes of the records that a response names.
fn read(response: &[u8], records: &[String]) -> Verdict<usize> {
    failures(response, |identifier| {
        let number = identifier.as_str().ok_or_else(|| format!("an itemIdentifier is not a string: {identifier}"))?;
        let index = records.iter().position(|record| record == number);
        index.ok_or_else(|| format!("the itemIdentifier {number:?} is not a record of the batch"))
    })
}

impl fmt::Debug for MappingBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappingBuilder")
            .field("stream", &self.stream.arn)
            .field("batch_size", &self.batch_size)
            .field("bisect", &self.bisect)
            .field("max_retries", &self.max_retries)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}
