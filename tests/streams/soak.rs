//! Ten thousand records over eight shards, with everything that can go wrong: each is processed or in the failure destination.
//!
//! `SOAK_RECORDS=1000 cargo test --test streams` for a smaller run.

use crate::{
    function::{Order, Plan, Probe},
    support::{Stage, Tested, XRay, ensure, test_unbounded, this_program, within},
};
use lambda_lifecycle_sandbox::{
    function::Function,
    kafka::{KafkaMapping, Message, Topic},
    streams::{Stream, StreamMapping},
};
use libtest_mimic::{Failed, Trial};
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

const SHARDS: usize = 8;
/// Partition keys, several of them in each shard.
const KEYS: usize = 64;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test_unbounded("soak: every record of a stream is processed in order or in the failure destination", || {
            stream(Probe::Kinesis, records(), false)
        }),
        test_unbounded("soak: keys of a shard are processed at once, and each of them in order", || {
            stream(Probe::KinesisByKey, records() / 4, true)
        }),
        test_unbounded("soak: every record of a topic is processed in order or given up", topic),
    ]
}

fn records() -> usize {
    std::env::var("SOAK_RECORDS").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000)
}

/// The same plans in every run: a failure here can be looked into.
fn plan(number: usize) -> Plan {
    match number % 1_000 {
        13 | 413 => Plan::FailOnce,
        57 => Plan::Fail,
        99 => Plan::PanicOnce,
        151 => Plan::Panic,
        205 if number % 2_000 == 205 => Plan::HangOnce,
        307 if number % 5_000 == 307 => Plan::Hang,
        501 => Plan::Permanent,
        _ => Plan::Succeed,
    }
}

/// Not every record is an order.
fn data(number: usize) -> String {
    if number % 1_000 == 777 {
        return "poison".to_owned();
    }
    serde_json::to_string(&Order { number, plan: plan(number) }).expect("it is JSON")
}

/// A file that both sides know, gone with its owner.
pub(crate) struct Ledger(pub(crate) PathBuf);

impl Ledger {
    pub(crate) fn new(name: &str) -> Result<Self, Failed> {
        let path = std::env::temp_dir().join(format!("lambda-lifecycle-{name}-{}", std::process::id()));
        std::fs::write(&path, "")?;
        Ok(Self(path))
    }

    /// Shard, number, and what happened to it, in order.
    pub(crate) fn lines(&self) -> Result<Vec<(String, usize, String)>, Failed> {
        let text = std::fs::read_to_string(&self.0)?;
        let line = |line: &str| {
            let mut parts = line.split(' ');
            Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?, parts.next()?.to_owned()))
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

pub(crate) async fn worker(probe: Probe, ledger: &Ledger, xray: &XRay) -> Function {
    let worker = Stage::function("worker", this_program(), xray)
        .env("PROBE", format!("{probe:?}"))
        .env("LEDGER", &ledger.0)
        .max_environments(2);
    Stage::build(worker).await
}

async fn stream(probe: Probe, count: usize, by_key: bool) -> Tested {
    let xray = XRay::start().await?;
    let ledger = Ledger::new(&format!("{probe:?}"))?;
    let stream = Stream::kinesis("orders", SHARDS);
    let mut numbers = HashMap::new();
    for number in 0..count {
        numbers.insert(stream.put(&format!("k{}", number % KEYS), data(number)), number);
    }
    // Sequence numbers are counted in each shard.
    let mut of_shard: Vec<Vec<usize>> = vec![Vec::new(); SHARDS];
    for number in 0..count {
        of_shard[stream.shard_of(&format!("k{}", number % KEYS))].push(number);
    }
    let worker = worker(probe, &ledger, &xray).await;
    let mapping = StreamMapping::builder(&stream, Arc::new(worker))
        .batch_size(200)
        .report_batch_item_failures(true)
        .bisect_on_error(true)
        .max_retries(3)
        .start()?;
    until_idle(&mapping).await?;

    for batch in mapping.batches() {
        ensure(batch.refused.is_none(), format!("a response was refused: {:?}", batch.refused))?;
        ensure(batch.done.is_some(), format!("a batch failed as a whole: {:?}", batch.response.result))?;
    }
    let lines = ledger.lines()?;
    let mut given_up = HashSet::new();
    for discarded in mapping.discarded() {
        for record in &discarded.records {
            // The end of a sequence number is the record's index in its shard.
            let index: usize = record[record.len() - 5..].parse()?;
            given_up.insert(of_shard[discarded.shard][index]);
        }
    }
    let processed: HashSet<usize> = lines.iter().map(|(_, number, _)| *number).collect();
    let lost: Vec<usize> = (0..count).filter(|number| !processed.contains(number) && !given_up.contains(number)).collect();
    ensure(lost.is_empty(), format!("neither processed nor in the failure destination: {lost:?}"))?;
    let hopeless = |number: usize| number % 1_000 == 777 || matches!(plan(number), Plan::Fail | Plan::Panic | Plan::Hang);
    for number in (0..count).filter(|number| hopeless(*number)) {
        ensure(given_up.contains(&number), format!("{number} is not in the failure destination"))?;
    }
    ensure(processed.len() > count * 9 / 10, format!("only {} of {count} are processed", processed.len()))?;
    let permanent = lines.iter().filter(|(_, _, what)| what == "permanent").count();
    ensure(permanent > 0, "nothing failed for good: this shows less than it says")?;
    let shard_of = |number: usize| stream.shard_of(&format!("k{}", number % KEYS));
    in_order(&lines, |number| if by_key { number % KEYS } else { shard_of(number) })
}

/// As long as records are done with, however slowly: a wait that ends with a hang only.
async fn until_idle(mapping: &StreamMapping) -> Tested {
    let mut idle = std::pin::pin!(mapping.wait_idle());
    loop {
        let positions = mapping.positions();
        tokio::select! {
            () = &mut idle => return Ok(()),
            progress = within("progress of a shard", mapping.wait_beyond(&positions)) => progress?,
        }
    }
}

/// The first time that a record is processed comes after those of the records before it.
fn in_order(lines: &[(String, usize, String)], lane: impl Fn(usize) -> usize) -> Tested {
    let mut seen = HashSet::new();
    let mut last: HashMap<usize, usize> = HashMap::new();
    for (_, number, _) in lines.iter().filter(|(_, number, _)| seen.insert(*number)) {
        if let Some(before) = last.insert(lane(*number), *number) {
            ensure(before < *number, format!("{number} came after {before}"))?;
        }
    }
    Ok(())
}

async fn topic() -> Tested {
    let count = records() / 4;
    let xray = XRay::start().await?;
    let ledger = Ledger::new("topic")?;
    let topic = Topic::new("orders", SHARDS);
    for number in 0..count {
        let value = data(number);
        topic.put(number % SHARDS, &Message { value: Some(value.into_bytes()), ..Message::default() });
    }
    let worker = worker(Probe::KafkaPartial, &ledger, &xray).await;
    let mapping = KafkaMapping::builder(&topic, Arc::new(worker)).batch_size(400).report_batch_item_failures(true).max_retries(1);
    let mapping = mapping.start();
    within("the end of the topic", mapping.wait_idle()).await?;

    for batch in mapping.batches() {
        ensure(batch.refused.is_none(), format!("a response was refused: {:?}", batch.refused))?;
        ensure(batch.done.is_some(), format!("a batch failed as a whole: {:?}", batch.response.result))?;
    }
    // Dead letters are noted by their offset.
    let number_of = |partition: usize, offset: usize| offset * SHARDS + partition;
    let lines: Vec<(String, usize, String)> = ledger.lines()?;
    let number = |(partition, number, what): &(String, usize, String)| match partition.rsplit_once('-') {
        Some((_, partition)) if what == "dead" => number_of(partition.parse().unwrap_or_default(), *number),
        _ => *number,
    };
    let processed: HashSet<usize> = lines.iter().map(number).collect();
    let mut given_up = HashSet::new();
    for discarded in mapping.discarded() {
        given_up.extend(discarded.offsets.iter().map(|offset| number_of(discarded.partition, *offset)));
    }
    let lost: Vec<usize> = (0..count).filter(|number| !processed.contains(number) && !given_up.contains(number)).collect();
    ensure(lost.is_empty(), format!("neither processed nor given up: {lost:?}"))?;
    // Poison goes to the hook for dead letters, so it is never given up for its own sake.
    let dead = lines.iter().filter(|(_, _, what)| what == "dead").count();
    ensure(dead >= count / 1_000, format!("{dead} dead letters"))?;
    let done: Vec<_> = lines.into_iter().filter(|(_, _, what)| what == "done").collect();
    in_order(&done, |number| number % SHARDS)
}
