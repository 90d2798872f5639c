//! Tumbling windows through real functions, by a clock that the test moves.

use crate::{
    function::{Order, Plan, Probe},
    soak::{Ledger, worker},
    support::{Tested, XRay, ensure, test, within},
};
use lambda_lifecycle_sandbox::streams::{Clock, Stream, StreamMapping};
use libtest_mimic::Trial;
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

const WINDOW: Duration = Duration::from_secs(60);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a window of Kinesis counts every record once, and its end has the total", || windows(Probe::KinesisWindow)),
        test("a window of DynamoDB counts every change once, and its end has the total", || windows(Probe::DynamoDbWindow)),
    ]
}

/// Records in two windows of two shards; in each window one of them fails at first.
async fn windows(probe: Probe) -> Tested {
    let xray = XRay::start().await?;
    let ledger = Ledger::new(&format!("{probe:?}"))?;
    let clock = Clock::manual(UNIX_EPOCH + 5 * WINDOW);
    let stream = if probe == Probe::KinesisWindow { Stream::kinesis("orders", 2) } else { Stream::dynamodb("orders", 2) };
    let stream = stream.with_clock(&clock);
    let put = |number: usize| {
        let plan = if number % 10 == 3 { Plan::FailOnce } else { Plan::Succeed };
        let order = Order { number, plan };
        if probe == Probe::KinesisWindow {
            stream.put(&number.to_string(), serde_json::to_string(&order)?);
            Ok(stream.shard_of(&number.to_string()))
        } else {
            let image = json!({ "number": { "N": number.to_string() }, "plan": { "S": serde_json::to_value(plan)? } });
            let keys = json!({ "id": { "S": number.to_string() } });
            stream.change(&keys, None, Some(&image));
            Ok::<_, serde_json::Error>(stream.shard_of(&keys.to_string()))
        }
    };
    let worker = worker(probe, &ledger, &xray).await;
    let mapping = StreamMapping::builder(&stream, Arc::new(worker)).report_batch_item_failures(true).batch_size(4);
    let mapping = mapping.tumbling_window(WINDOW).start()?;
    let (mut ends, mut ends_of_first, mut expected) = (0, 0, Vec::new());
    for window in 0..2 {
        let numbers = window * 10..(window + 1) * 10;
        let mut filled = BTreeSet::new();
        for number in numbers.clone() {
            filled.insert(put(number)?);
        }
        within("the records of the window", mapping.wait_idle()).await?;
        clock.advance(WINDOW);
        ends += filled.len();
        loop {
            let batches = mapping.batches();
            if batches.iter().filter(|batch| batch.is_final && batch.done.is_some()).count() == ends {
                break;
            }
            within("the end of the window", mapping.wait_for_batches(batches.len() + 1)).await?;
        }
        if window == 0 {
            ends_of_first = ends;
        }
        expected.push(numbers.sum::<usize>());
    }
    let lines = ledger.lines()?;
    let totals: Vec<usize> = lines.iter().filter(|(_, _, what)| what == "total").map(|(_, total, _)| *total).collect();
    ensure(totals.len() == ends && totals.iter().sum::<usize>() == expected.iter().sum::<usize>(), format!("{totals:?}"))?;
    ensure(totals[..ends_of_first].iter().sum::<usize>() == expected[0], format!("{totals:?} {expected:?}"))?;
    let done = lines.iter().filter(|(_, _, what)| what == "done").count();
    ensure(done == 20, format!("{done} are done"))?;
    ensure(mapping.discarded().is_empty(), format!("{:?}", mapping.discarded()))
}
