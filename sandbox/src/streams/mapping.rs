//! The event source mapping of a stream: one poller for each shard, or several that share its keys. A poller reads its next batch when the last
//! one is done or given up.

use super::{
    options::{MappingBuilder, StartingPosition, StreamMappingError},
    shard::{Shard, Stored},
    stream::Stream,
    window::{Last, Window},
};
use crate::{
    FunctionResponse, Invoke,
    event_source::{self, Invoked, Progress},
};
use serde_json::{Value, json};
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};
use tokio::task::JoinSet;

/// One invocation with a batch of records, seen from the mapping.
#[derive(Clone, Debug)]
pub struct StreamBatch {
    /// The shard.
    pub shard: usize,
    /// The sequence numbers of its records, in the order of the event.
    pub records: Vec<String>,
    /// The function's response.
    pub response: FunctionResponse,
    /// The index of the record that the mapping continues with; the number of records where all are done. `None` where the batch failed as a
    /// whole.
    pub done: Option<usize>,
    /// Why the batch failed as a whole, where the response is the reason.
    pub refused: Option<String>,
    /// The last invocation of a tumbling window, which has no records.
    pub is_final: bool,
}

/// Why records were given up, by the names in the record of an on-failure destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// The batch was retried as often as the mapping allows.
    RetryAttemptsExhausted,
    /// The records are older than the mapping allows.
    RecordAgeExceeded,
}

/// Records that were given up, as an on-failure destination gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// The shard.
    pub shard: usize,
    /// The sequence numbers of the records.
    pub records: Vec<String>,
    /// How often the batch was retried.
    pub retries: u32,
    /// Why.
    pub condition: Condition,
}

/// Feeds a function from the shards of a stream until it is dropped. Shards are read at once, and a shard has one batch at a time, unless the
/// mapping has a [parallelization factor](MappingBuilder::parallelization_factor).
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

type Shared = event_source::Shared<MappingBuilder, StreamBatch, Discarded>;

impl StreamMapping {
    /// Begins a mapping of `stream` to `function`.
    pub fn builder(stream: &Stream, function: Arc<dyn Invoke>) -> MappingBuilder {
        MappingBuilder::new(stream, function)
    }

    /// The batches that have ended, in the order of their ends.
    pub fn batches(&self) -> Vec<Arc<StreamBatch>> {
        self.shared.batches()
    }

    /// What was given up, in the order in which it was.
    pub fn discarded(&self) -> Vec<Discarded> {
        self.shared.discarded()
    }

    /// Of each shard, how many of its first records are done or given up.
    pub fn positions(&self) -> Vec<usize> {
        self.of_shards(&self.shared.positions())
    }

    /// Waits until every record of the stream is done or given up. Never returns if a record fails forever and retries have no end.
    pub async fn wait_idle(&self) {
        let (factor, shards) = (self.shared.options.factor, &self.shared.options.stream.shards);
        let idle = |positions: &[usize]| {
            let mut of_shards = positions.chunks(factor).zip(shards.iter());
            of_shards.all(|(lanes, shard)| lanes.iter().all(|position| *position >= shard.len()))
        };
        self.shared.wait_for(idle).await;
    }

    /// Waits until more records are done or given up than these positions say.
    pub async fn wait_beyond(&self, positions: &[usize]) {
        self.shared.wait_for(|now| self.of_shards(now) != positions).await;
    }

    fn of_shards(&self, positions: &[usize]) -> Vec<usize> {
        let least = |lanes: &[usize]| lanes.iter().copied().min().unwrap_or_default();
        positions.chunks(self.shared.options.factor).map(least).collect()
    }

    /// Waits until so many batches have ended, those without records at the end of a window included.
    pub async fn wait_for_batches(&self, count: usize) {
        self.shared.wait_for_batches(count).await;
    }
}

impl Drop for StreamMapping {
    fn drop(&mut self) {
        self.pollers.abort_all();
    }
}

impl MappingBuilder {
    /// Starts to poll.
    ///
    /// # Errors
    ///
    /// When Lambda would refuse the mapping.
    pub fn start(self) -> Result<StreamMapping, StreamMappingError> {
        self.check()?;
        let start = |shard: &Shard| match self.position {
            StartingPosition::TrimHorizon => 0,
            StartingPosition::Latest => shard.len(),
            StartingPosition::AtTimestamp(time) => shard.first_since(time),
        };
        let factor = self.factor;
        let positions: Vec<usize> = self.stream.shards.iter().flat_map(|shard| vec![start(shard); factor]).collect();
        let shared = Arc::new(Shared { options: self, progress: Progress::new(positions.clone()) });
        let mut pollers = JoinSet::new();
        for (slot, position) in positions.into_iter().enumerate() {
            pollers.spawn(poll(Arc::clone(&shared), slot, position));
        }
        Ok(StreamMapping { shared, pollers })
    }
}

/// Which of the pollers of a shard a key belongs to.
fn lane(key: &str, factor: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    // Not the hash by which keys are spread over shards.
    ("lane", key).hash(&mut hasher);
    usize::try_from(hasher.finish() % factor as u64).unwrap_or_default()
}

/// Reads batch after batch of one shard, or of some keys of it.
async fn poll(shared: Arc<Shared>, slot: usize, mut position: usize) {
    let options = &shared.options;
    let (number, own) = (slot / options.factor, slot % options.factor);
    let (stream, shard) = (options.stream.clone(), &options.stream.shards[number]);
    let mut window: Option<Window> = None;
    loop {
        let over = async {
            match &window {
                Some(window) => stream.clock.reached(window.end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shard.longer_than(position) => {}
            () = over => {}
        }
        let is_own = |stored: &Stored| options.factor == 1 || lane(&stored.key, options.factor) == own;
        let (mut records, mut end) = shard.select(position, options.batch_size, is_own);
        if let Some(size) = options.window {
            if records.first().is_none_or(|first| window.as_ref().is_some_and(|open| !open.holds(first)))
                && let Some(open) = window.take()
            {
                last(&shared, number, &open, Last::Ended).await;
            }
            let Some(first) = records.first() else { continue };
            let open = window.get_or_insert_with(|| Window::of(first, size));
            let fits = records.iter().take_while(|record| open.holds(record)).count();
            end -= records.len() - fits;
            records.truncate(fits);
        }
        if !records.is_empty() {
            settle(&shared, number, records, window.as_mut()).await;
        }
        position = end;
        shared.move_to(|positions| positions[slot] = end);
    }
}

/// A part of a batch that is still to be done.
struct Part {
    records: Vec<Stored>,
    retries: u32,
}

/// Invokes the function until each record of the batch is done or given up. Parts are done in the order of the shard.
async fn settle(shared: &Shared, shard: usize, records: Vec<Stored>, mut window: Option<&mut Window>) {
    let options = &shared.options;
    let mut parts = vec![Part { records, retries: 0 }];
    while let Some(Part { records, retries }) = parts.pop() {
        let mut records = without_old(shared, shard, records, retries);
        if records.is_empty() {
            continue;
        }
        match invoke(shared, shard, &records, window.as_deref_mut()).await {
            Some(done) if done == records.len() => {}
            // What was done is not sent again, and what is left is a batch of its own.
            Some(done) if done > 0 => parts.push(Part { records: records.split_off(done), retries: 0 }),
            _ if options.bisect && records.len() > 1 => {
                let second = records.split_off(records.len() / 2);
                parts.push(Part { records: second, retries });
                parts.push(Part { records, retries });
            }
            _ if options.max_retries.is_none_or(|most| retries < most) => parts.push(Part { records, retries: retries + 1 }),
            _ => discard(shared, shard, &records, retries, Condition::RetryAttemptsExhausted),
        }
        if let Some(window) = window.as_deref_mut()
            && window.is_too_large()
        {
            last(shared, shard, window, Last::Early).await;
            window.reset();
        }
    }
}

/// Gives up the records that have become too old, which are the first ones.
fn without_old(shared: &Shared, shard: usize, mut records: Vec<Stored>, retries: u32) -> Vec<Stored> {
    let Some(age) = shared.options.max_age else { return records };
    let now = shared.options.stream.clock.now();
    let old = records.iter().take_while(|record| record.at + age < now).count();
    let young = records.split_off(old);
    if !records.is_empty() {
        discard(shared, shard, &records, retries, Condition::RecordAgeExceeded);
    }
    young
}

fn numbers(records: &[Stored]) -> Vec<String> {
    records.iter().map(|stored| stored.sequence_number.clone()).collect()
}

fn discard(shared: &Shared, shard: usize, records: &[Stored], retries: u32, condition: Condition) {
    shared.discard(Discarded { shard, records: numbers(records), retries, condition });
}

/// Returns how many of the records are done, before the first that is not; `None` where the batch failed as a whole.
async fn invoke(shared: &Shared, shard: usize, records: &[Stored], window: Option<&mut Window>) -> Option<usize> {
    let options = &shared.options;
    let list: Vec<&Value> = records.iter().map(|stored| &stored.record).collect();
    let mut event = json!({ "Records": list });
    if let Some(window) = &window {
        window.describe(&mut event, &options.stream.shards[shard].id, &options.stream.arn, None);
    }
    let numbers = numbers(records);
    let read = |identifier: &Value| index_of(identifier, &numbers);
    let Invoked { response, failed, mut refused } = event_source::invoke(&*options.function, &event, options.report, read).await;
    // The lowest sequence number counts.
    let mut done = failed.map(|failed| failed.into_iter().min().unwrap_or(numbers.len()));
    if let (Some(window), Some(count), Ok(response)) = (window, done, &response.result) {
        // A batch that makes no progress is sent again with the state that it had.
        let mut with_state = window.clone();
        if !with_state.take_state(response) {
            (done, refused) = (None, Some("the response has no state".to_owned()));
        } else if count > 0 {
            *window = with_state;
        }
    }
    shared.ended(StreamBatch { shard, records: numbers, response, done, refused, is_final: false });
    done
}

/// The last invocation of a window, until it succeeds: Lambda reads nothing beyond a window that is not done.
async fn last(shared: &Shared, shard: usize, window: &Window, why: Last) {
    let options = &shared.options;
    let mut event = json!({ "Records": [] });
    window.describe(&mut event, &options.stream.shards[shard].id, &options.stream.arn, Some(why));
    loop {
        let read = |identifier: &Value| index_of(identifier, &[]);
        let Invoked { response, failed, refused } = event_source::invoke(&*options.function, &event, options.report, read).await;
        let done = failed.map(|_| 0);
        shared.ended(StreamBatch { shard, records: Vec::new(), response, done, refused, is_final: true });
        if done.is_some() {
            return;
        }
    }
}

/// The index of the record that an identifier names.
fn index_of(identifier: &Value, records: &[String]) -> Result<usize, String> {
    let number = identifier.as_str().ok_or_else(|| format!("an itemIdentifier is not a string: {identifier}"))?;
    let index = records.iter().position(|record| record == number);
    index.ok_or_else(|| format!("the itemIdentifier {number:?} is not a record of the batch"))
}
