//! The event source mapping: Lambda's pollers, which read a queue and invoke a function with batches.

use super::{
    event::{self, Received},
    queue::{Counts, Queue},
};
use crate::{
    Event, Failure, FunctionResponse, Invoke,
    verdict::{Verdict, failures},
};
use serde_json::json;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};

/// Most messages of one `ReceiveMessage`, and of one batch from a FIFO queue.
const RECEIVE_MOST: usize = 10;
/// Most messages of one batch from a standard queue.
const BATCH_MOST: usize = 10_000;
/// The longest poll of SQS; an empty one is followed by the next.
const LONGEST_POLL_SECONDS: u64 = 20;
/// An event may have 6 MB: above this size ten more messages of 256 KB could exceed it, so the batch is full.
const EVENT_FULL_BYTES: usize = 6_291_456 - RECEIVE_MOST * 262_144;
/// Batches that a subscriber may lag behind.
const SUBSCRIBER_BUFFER: usize = 1_024;

/// A mapping that Lambda would refuse as well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// No messages, or more than Lambda takes.
    #[error("a batch size of {size} is not within 1 to {most}")]
    BatchSize {
        /// The requested option.
        size: usize,
        /// The queue's limit: 10 for FIFO, 10,000 otherwise.
        most: usize,
    },
    /// Batches of more than ten messages are collected over time.
    #[error("a batch size above 10 needs a batching window")]
    WindowMissing,
    /// Lambda does not collect messages of a FIFO queue over time.
    #[error("a FIFO queue cannot have a batching window")]
    WindowOnFifo,
    /// No invocation at all.
    #[error("the concurrency must be at least 1")]
    Concurrency,
}

/// How a batch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// All messages are done.
    Succeeded,
    /// Some messages are done.
    Partial,
    /// The function failed, or its response did; with the reason.
    Failed(String),
}

/// One invocation with a batch of messages, seen from the mapping.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The messages, in the order of the event.
    pub messages: Vec<String>,
    /// The function's response.
    pub response: FunctionResponse,
    /// The mapping's verdict on it.
    pub outcome: BatchOutcome,
    /// Messages that come again, or go to the dead-letter queue.
    pub failed: Vec<String>,
    /// Messages that are gone from the queue.
    pub deleted: Vec<String>,
    /// FIFO only: messages that the function reported as done although an earlier one of their group failed. They are in `failed`
    /// too. Lambda documents that a function must report them, and would delete them: a function's defect.
    pub overtook: Vec<String>,
    /// When the function was invoked.
    pub started: SystemTime,
}

/// Options of an [`EventSourceMapping`], by Lambda's names.
pub struct MappingBuilder {
    queue: Queue,
    function: Arc<dyn Invoke>,
    batch_size: usize,
    window: Duration,
    concurrency: usize,
    report_batch_item_failures: bool,
    redelivery_delay: Option<Duration>,
}

/// Feeds a function from a queue until it is dropped: received messages that are not deleted by then are returned to the queue when their
/// visibility timeout passes.
///
/// ```no_run
/// use lambda_lifecycle_sandbox::{Invoke, sqs::{EventSourceMapping, Queue}};
/// # async fn example(orders: Queue, function: std::sync::Arc<dyn Invoke>) -> Result<(), Box<dyn std::error::Error>> {
/// let mapping = EventSourceMapping::builder(&orders, function).batch_size(3).report_batch_item_failures(true).start()?;
/// mapping.wait_idle().await;
/// for batch in mapping.batches() {
///     println!("{:?}: failed {:?}", batch.messages, batch.failed);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventSourceMapping {
    shared: Arc<Shared>,
    poller: AbortHandle,
}

struct Shared {
    options: MappingBuilder,
    batches: Mutex<Vec<Arc<Batch>>>,
    published: broadcast::Sender<Arc<Batch>>,
    /// Batches that have been received and are not done with.
    running: watch::Sender<usize>,
}

impl EventSourceMapping {
    /// Begins a mapping of `queue` to `function`.
    pub fn builder(queue: &Queue, function: Arc<dyn Invoke>) -> MappingBuilder {
        MappingBuilder {
            queue: queue.clone(),
            function,
            batch_size: RECEIVE_MOST,
            window: Duration::ZERO,
            concurrency: 5,
            report_batch_item_failures: false,
            redelivery_delay: None,
        }
    }

    /// The batches that have ended, in the order of their ends.
    pub fn batches(&self) -> Vec<Arc<Batch>> {
        self.shared.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every batch that ends from now on. Who lags 1,024 behind misses some.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Batch>> {
        self.shared.published.subscribe()
    }

    /// Waits until the queue is empty, also of messages in flight and delayed ones, and no batch is being processed. Messages in
    /// the dead-letter queue do not count. Never returns if messages fail forever.
    pub async fn wait_idle(&self) {
        let mut running = self.shared.running.subscribe();
        loop {
            self.shared.options.queue.wait_for(|counts| counts == Counts::default()).await;
            // The sender lives in `self.shared`.
            let _ = running.wait_for(|&running| running == 0).await;
            if self.shared.options.queue.counts() == Counts::default() {
                return;
            }
        }
    }
}

impl Drop for EventSourceMapping {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl MappingBuilder {
    /// Most messages of one invocation. Default: 10; above 10 a [`window`](Self::window) is needed.
    pub fn batch_size(mut self, size: usize) -> Self {
        self.batch_size = size;
        self
    }

    /// How long messages are collected after the first one of a batch. Default: not at all.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Most invocations at the same time. Default: 5.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Whether the function's response says which messages failed. Default: no, so a response means that all succeeded.
    pub fn report_batch_item_failures(mut self, report: bool) -> Self {
        self.report_batch_item_failures = report;
        self
    }

    /// When failed messages come again. Default: when the queue's visibility timeout passes, as with Lambda; tests are faster with less.
    pub fn redelivery_delay(mut self, delay: Duration) -> Self {
        self.redelivery_delay = Some(delay);
        self
    }

    /// Starts to poll.
    pub fn start(self) -> Result<EventSourceMapping, MappingError> {
        let most = if self.queue.fifo { RECEIVE_MOST } else { BATCH_MOST };
        if !(1..=most).contains(&self.batch_size) {
            return Err(MappingError::BatchSize { size: self.batch_size, most });
        }
        if self.batch_size > RECEIVE_MOST && self.window.is_zero() {
            return Err(MappingError::WindowMissing);
        }
        if self.queue.fifo && !self.window.is_zero() {
            return Err(MappingError::WindowOnFifo);
        }
        if self.concurrency == 0 {
            return Err(MappingError::Concurrency);
        }
        let shared = Arc::new(Shared {
            options: self,
            batches: Mutex::default(),
            published: broadcast::Sender::new(SUBSCRIBER_BUFFER),
            running: watch::Sender::new(0),
        });
        let poller = tokio::spawn(poll(Arc::clone(&shared))).abort_handle();
        Ok(EventSourceMapping { shared, poller })
    }
}

/// Reads batch after batch. Dropping it ends the batches that run.
async fn poll(shared: Arc<Shared>) {
    let free = Arc::new(Semaphore::new(shared.options.concurrency));
    let mut running = JoinSet::new();
    while let Ok(permit) = Arc::clone(&free).acquire_owned().await {
        let messages = match collect(&shared.options).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::error!(%error, queue = shared.options.queue.name, "the event source mapping ends");
                break;
            }
        };
        let running_now = Running::begin(&shared);
        running.spawn(run(Arc::clone(&shared), messages, permit, running_now));
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}

/// Counts a batch as running, also when its function panics.
struct Running(Arc<Shared>);

impl Running {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.running.send_modify(|running| *running += 1);
        Self(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

/// Waits for a message, then takes what comes within the window, up to the batch size.
async fn collect(options: &MappingBuilder) -> Result<Vec<Received>, awsim_core::AwsError> {
    let mut messages = Vec::new();
    while messages.is_empty() {
        messages = receive(options, options.batch_size, LONGEST_POLL_SECONDS).await?;
    }
    let end = Instant::now() + options.window;
    let is_full = |messages: &[Received]| {
        let bytes: usize = messages.iter().map(|message| message.body().len()).sum();
        messages.len() >= options.batch_size || bytes > EVENT_FULL_BYTES
    };
    while !options.window.is_zero() && !is_full(&messages) {
        let poll = receive(options, options.batch_size - messages.len(), LONGEST_POLL_SECONDS);
        // A poll that is given up holds nothing: it takes messages and returns them without waiting in between.
        match tokio::time::timeout_at(end, poll).await {
            Ok(more) => messages.extend(more?),
            Err(_) => break,
        }
    }
    Ok(messages)
}

async fn receive(options: &MappingBuilder, most: usize, wait: u64) -> Result<Vec<Received>, awsim_core::AwsError> {
    let request = json!({
        "QueueUrl": options.queue.url,
        "MaxNumberOfMessages": most.min(RECEIVE_MOST),
        "WaitTimeSeconds": wait,
        "MessageSystemAttributeNames": ["All"],
        "MessageAttributeNames": ["All"],
    });
    let mut response = options.queue.service.call("ReceiveMessage", request).await?;
    let messages = response["Messages"].as_array_mut().map(std::mem::take).unwrap_or_default();
    Ok(messages.into_iter().map(Received).collect())
}

async fn run(shared: Arc<Shared>, messages: Vec<Received>, _permit: OwnedSemaphorePermit, _running: Running) {
    let options = &shared.options;
    let started = SystemTime::now();
    let event = Event {
        payload: event::event(&messages, &options.queue.arn).to_string().into(),
        linked: messages.iter().filter_map(Received::trace_header).map(str::to_owned).collect(),
        ..Event::default()
    };
    let response = invoke(options, event).await;

    let settled = settle(options, &messages, &response);
    let handles = |ids: &HashSet<&str>| -> Vec<&str> {
        let of_these = messages.iter().filter(|message| ids.contains(message.id()));
        of_these.map(Received::receipt_handle).collect()
    };
    let done: HashSet<&str> = messages.iter().map(Received::id).filter(|id| !settled.failed.contains(id)).collect();
    let deletions = options.queue.service.delete(&options.queue.name, &handles(&done));
    if let Some(delay) = options.redelivery_delay {
        options.queue.service.release(&options.queue.name, &handles(&settled.failed), delay);
    }
    let in_order = |ids: &HashSet<&str>| -> Vec<String> {
        messages.iter().map(Received::id).filter(|id| ids.contains(id)).map(str::to_owned).collect()
    };
    let batch = Arc::new(Batch {
        messages: messages.iter().map(|message| message.id().to_owned()).collect(),
        outcome: settled.outcome,
        failed: in_order(&settled.failed),
        // A message whose visibility timeout passed meanwhile is not held any more, and comes again.
        deleted: in_order(&done).into_iter().zip(deletions).filter_map(|(id, gone)| gone.then_some(id)).collect(),
        overtook: in_order(&settled.overtook),
        response,
        started,
    });
    shared.batches.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&batch));
    // Nobody need be listening.
    let _ = shared.published.send(batch);
}

/// Invokes the function, again and again while it is throttled, until the messages are visible to others. See "Handling errors for an SQS
/// event source in Lambda" in AWS's developer guide.
async fn invoke(options: &MappingBuilder, event: Event) -> FunctionResponse {
    let visible = Instant::now() + options.queue.visibility_timeout;
    loop {
        let response = options.function.invoke(event.clone()).await;
        let throttled = response.result == Err(Failure::Throttled);
        if !throttled || tokio::time::timeout_at(visible, options.function.wait_for_room()).await.is_err() {
            return response;
        }
    }
}

/// The messages that a response names.
fn read(response: &[u8], ids: &[&str]) -> Verdict<String> {
    failures(response, |identifier| match identifier.as_str() {
        None => Err(format!("an itemIdentifier is not a string: {identifier}")),
        Some("") => Err("an itemIdentifier is empty".to_owned()),
        Some(id) if !ids.contains(&id) => Err(format!("the itemIdentifier {id} is not a message of the batch")),
        Some(id) => Ok(id.to_owned()),
    })
}

struct Settled<'a> {
    outcome: BatchOutcome,
    failed: HashSet<&'a str>,
    overtook: HashSet<&'a str>,
}

fn settle<'a>(options: &MappingBuilder, messages: &'a [Received], response: &FunctionResponse) -> Settled<'a> {
    let ids: Vec<&str> = messages.iter().map(Received::id).collect();
    let verdict = match &response.result {
        Err(failure) => Verdict::Failure(failure.to_string()),
        Ok(response) if options.report_batch_item_failures => read(response, &ids),
        Ok(_) => Verdict::Success,
    };
    let mut failed = HashSet::new();
    let mut overtook = HashSet::new();
    let outcome = match verdict {
        Verdict::Success => BatchOutcome::Succeeded,
        Verdict::Failure(reason) => {
            failed.extend(ids);
            BatchOutcome::Failed(reason)
        }
        Verdict::Partial(reported) => {
            let reported: HashSet<String> = reported.into_iter().collect();
            let mut stopped = HashSet::new();
            for message in messages {
                let group = message.group().filter(|_| options.queue.fifo);
                if reported.contains(message.id()) {
                    failed.insert(message.id());
                    stopped.extend(group);
                } else if group.is_some_and(|group| stopped.contains(group)) {
                    failed.insert(message.id());
                    overtook.insert(message.id());
                }
            }
            BatchOutcome::Partial
        }
    };
    Settled { outcome, failed, overtook }
}

impl std::fmt::Debug for MappingBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MappingBuilder")
            .field("queue", &self.queue.arn)
            .field("batch_size", &self.batch_size)
            .field("window", &self.window)
            .field("concurrency", &self.concurrency)
            .field("report_batch_item_failures", &self.report_batch_item_failures)
            .field("redelivery_delay", &self.redelivery_delay)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.options.fmt(f)
    }
}
