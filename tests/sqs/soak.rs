//! Ten thousand messages of a hundred traces through function A, a queue and function B, with everything that can go wrong.
//!
//! `SOAK_MESSAGES=1000 cargo test --test sqs` for a smaller run.

use crate::{
    function::{Order, Plan, Probe},
    support::{Stage, Tested, XRay, ensure, patience, test_unbounded, this_program, within},
};
use lambda_lifecycle_sandbox::{
    Event, Invoke,
    function::{EventKind, Function},
    sqs::{BatchOutcome, DeadLetter, EventSourceMapping, Queue, QueueOptions, Sqs},
    xray::{Document, TraceStore},
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

const PRODUCERS: usize = 100;
/// The receives before a message is dead. On a slow machine some messages are retried only because of a deadline, and must not
/// become dead letters for it.
const RECEIVES: u32 = 20;
/// Message groups of the FIFO queue.
pub(crate) const GROUPS: usize = 20;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test_unbounded("soak: every message of a standard queue is done once or in the dead-letter queue", || soak(false)),
        test_unbounded("soak: every message of a FIFO queue is done once or in the dead-letter queue, in order", || soak(true)),
    ]
}

fn messages() -> usize {
    std::env::var("SOAK_MESSAGES").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

/// The same plans in every run: a failure here can be looked into.
fn plan(number: usize) -> Plan {
    match number % 400 {
        13 | 113 | 213 => Plan::FailOnce,
        57 => Plan::Fail,
        99 | 299 => Plan::PanicOnce,
        151 => Plan::Panic,
        205 => Plan::HangOnce,
        307 if number % 1_600 == 307 => Plan::BlockOnce,
        n if n % 10 == 5 => Plan::Slow,
        _ => Plan::Succeed,
    }
}

/// A file that both sides know, gone with its owner.
pub(crate) struct Ledger(pub(crate) PathBuf);

impl Ledger {
    pub(crate) fn new(name: &str) -> Result<Self, Failed> {
        let path = std::env::temp_dir().join(format!("lambda-lifecycle-{name}-{}", std::process::id()));
        std::fs::write(&path, "")?;
        Ok(Self(path))
    }

    /// Message id, number, and what happened to it, in order.
    fn lines(&self) -> Result<Vec<(String, usize, bool)>, Failed> {
        let text = std::fs::read_to_string(&self.0)?;
        let line = |line: &str| {
            let mut parts = line.split(' ');
            Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()? == "done"))
        };
        text.lines().map(|text| line(text).ok_or_else(|| format!("a torn line: {text}").into())).collect()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Nothing is lost if it stays.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn soak(fifo: bool) -> Tested {
    // Batches of a FIFO queue have ten messages at most, so it takes longer.
    let count = if fifo { messages() / 2 } else { messages() };
    let suffix = if fifo { ".fifo" } else { "" };
    let (xray, sqs) = (XRay::start().await?, Sqs::start().await?);
    let dead = sqs.create_queue(&format!("dead{suffix}"), QueueOptions { fifo, ..QueueOptions::default() }).await?;
    let queue = QueueOptions {
        fifo,
        dead_letter: Some(DeadLetter { arn: dead.arn.clone(), max_receive_count: RECEIVES }),
        ..QueueOptions::default()
    };
    let queue = sqs.create_queue(&format!("orders{suffix}"), queue).await?;
    let ledger = Ledger::new(if fifo { "fifo" } else { "standard" })?;

    let producer = Stage::function("producer", this_program(), &xray)
        .env("PROBE", format!("{:?}", Probe::Producer))
        .env("AWS_ENDPOINT_URL_SQS", sqs.endpoint())
        .max_environments(2);
    let producer = Stage::build(producer).await;
    let traces = produce(&producer, &queue, count).await?;
    ensure(queue.counts().visible == count, format!("{:?}", queue.counts()))?;

    // Some of its handlers miss the deadline, and some of its processes are killed at it.
    let worker = Stage::function("worker", this_program(), &xray)
        .env("PROBE", format!("{:?}", Probe::Worker))
        .env("LEDGER", &ledger.0)
        .timeout(Duration::from_secs(1))
        .kill_delay(Duration::ZERO)
        .max_environments(4);
    let worker = Stage::build(worker).await;
    let mapping = EventSourceMapping::builder(&queue, Arc::new(worker.clone()))
        .report_batch_item_failures(true)
        .redelivery_delay(Duration::from_millis(50))
        .concurrency(4);
    let mapping = if fifo { mapping } else { mapping.batch_size(100).window(Duration::from_millis(100)) };
    let mapping = mapping.start()?;
    until_idle(&mapping).await?;
    within("the worker to be frozen", worker.wait_frozen()).await?;
    xray.settle().await?;

    let batches = mapping.batches();
    let killed: HashSet<&String> = batches
        .iter()
        .filter(|batch| matches!(batch.outcome, BatchOutcome::Failed(_)))
        .flat_map(|batch| &batch.messages)
        .collect();
    for batch in &batches {
        if let BatchOutcome::Failed(why) = &batch.outcome {
            ensure(why.contains("timed out"), format!("a whole batch failed: {why}"))?;
        }
        ensure(batch.overtook.is_empty(), format!("overtaken: {:?}", batch.overtook))?;
    }
    ensure(!killed.is_empty(), "no environment was killed: this shows less than it says")?;
    let lines = ledger.lines()?;
    let mut done: HashMap<&String, usize> = HashMap::new();
    for (id, ..) in lines.iter().filter(|(_, _, done)| *done) {
        *done.entry(id).or_default() += 1;
    }
    for (id, times) in &done {
        ensure(*times == 1 || killed.contains(id), format!("{id} was done {times} times in environments that lived"))?;
    }
    let dead: HashSet<String> = dead.peek().into_iter().map(|message| message.id).collect();
    let lost = count - done.keys().map(|id| (*id).clone()).collect::<HashSet<_>>().union(&dead).count();
    ensure(lost == 0, format!("{lost} messages are neither done nor in the dead-letter queue"))?;
    ensure(done.len() > count * 9 / 10, format!("only {} of {count} are done", done.len()))?;
    if fifo {
        in_order(&lines)?;
    }
    // A response that arrived in time counts, but a kill while its spans are being sent loses them.
    let cut_off: HashSet<String> = worker
        .timeline()
        .into_iter()
        .filter(|event| event.kind == EventKind::TimedOut)
        .filter_map(|event| event.request_id)
        .collect();
    let untold: HashSet<&String> =
        batches.iter().filter(|batch| cut_off.contains(&batch.response.request_id)).flat_map(|batch| &batch.messages).collect();
    failures_are_found(&xray.traces, &lines, &untold, &traces)
}

/// As long as batches end, however slowly: a wait that ends with a hang only.
async fn until_idle(mapping: &EventSourceMapping) -> Tested {
    let mut batches = mapping.subscribe();
    let mut idle = std::pin::pin!(mapping.wait_idle());
    loop {
        tokio::select! {
            () = &mut idle => return Ok(()),
            // Who lags behind has seen batches end, too.
            _ = batches.recv() => {}
            () = tokio::time::sleep(patience()) => {
                let ended = mapping.batches().len();
                return Err(format!("no batch ended within {:?}, after {ended} of them", patience()).into());
            }
        }
    }
}

/// A hundred invocations, each in a separate trace; returns the traces' ids.
async fn produce(producer: &Function, queue: &Queue, count: usize) -> Result<HashSet<String>, Failed> {
    let orders: Vec<Order> = (0..count).map(|number| Order { number, plan: plan(number) }).collect();
    let mut traces = HashSet::new();
    for part in orders.chunks(count.div_ceil(PRODUCERS)) {
        let payload = json!({ "queue": queue.url, "orders": part }).to_string();
        let answer = within("a producer", producer.invoke(Event { payload: payload.into(), ..Event::default() })).await?;
        answer.result.map_err(|failure| failure.to_string())?;
        traces.insert(answer.trace_id);
    }
    ensure(traces.len() == PRODUCERS.min(count), format!("{} traces", traces.len()))?;
    Ok(traces)
}

/// The first success of each message comes after those of the messages before it in its group.
fn in_order(lines: &[(String, usize, bool)]) -> Tested {
    let mut seen = HashSet::new();
    let mut last: HashMap<usize, usize> = HashMap::new();
    for (_, number, _) in lines.iter().filter(|(id, _, done)| *done && seen.insert(id)) {
        if let Some(before) = last.insert(number % GROUPS, *number) {
            ensure(before < *number, format!("{number} came after {before} of its group"))?;
        }
    }
    Ok(())
}

/// Every failure that was handled, save in environments that were killed, is a fault under its producer's trace id.
fn failures_are_found(
    store: &TraceStore,
    lines: &[(String, usize, bool)],
    killed: &HashSet<&String>,
    traces: &HashSet<String>,
) -> Tested {
    ensure(store.rejected().is_empty(), format!("{:?}", store.rejected()))?;
    let mut faults: HashMap<String, usize> = HashMap::new();
    for fault in store.find(|document: &Document| document.name == "process" && document.fault) {
        let producer = fault.annotation("producer_trace_id").unwrap_or_default();
        ensure(traces.contains(producer), format!("{producer} is not a producer's trace"))?;
        *faults.entry(fault.annotation("message_id").unwrap_or_default().to_owned()).or_default() += 1;
    }
    let mut failures: HashMap<&String, usize> = HashMap::new();
    for (id, ..) in lines.iter().filter(|(id, _, done)| !done && !killed.contains(id)) {
        *failures.entry(id).or_default() += 1;
    }
    ensure(!failures.is_empty(), "nothing failed: this shows nothing")?;
    for (id, times) in failures {
        let found = faults.get(id).copied().unwrap_or_default();
        ensure(found == times, format!("{id} failed {times} times and has {found} faults"))?;
    }
    Ok(())
}
