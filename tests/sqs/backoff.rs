//! Visibility timeouts that a batch requests for failed messages, with the real SDK and a queue.

use crate::{
    function::{Plan, Probe},
    soak::Ledger,
    support::{Stage, Tested, XRay, code, ensure, test, this_program, within},
};
use lambda_lifecycle_sandbox::{
    function::{Function, Output},
    sqs::{Batch, EventSourceMapping, QueueOptions, Sqs},
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// The longest visibility timeout of a queue: only a change of it brings a message again.
const FOREVER: Duration = Duration::from_secs(43_200);

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("backoff: a failed message gets the timeout of its receive count, the others none", || requested(false)),
        test("backoff: a failed message of a FIFO queue gets it with the later ones of its group, in order", || requested(true)),
        test("backoff: with a timeout of zero a message comes again at once, until it succeeds", again),
        test("backoff: a call that fails is logged once, and its message is retried", refused),
    ]
}

struct Worked {
    /// The ids as sent.
    sent: Vec<String>,
    batches: Vec<Arc<Batch>>,
    ledger: Vec<String>,
    worker: Function,
}

/// Sends one message for each plan, and waits for this number of batches.
async fn work(probe: Probe, fifo: bool, plans: &[Plan], batches: usize) -> Result<Worked, Failed> {
    let (xray, sqs) = (XRay::start().await?, Sqs::start().await?);
    let name = if fifo { "orders.fifo" } else { "orders" };
    let queue = sqs.create_queue(name, QueueOptions { fifo, visibility_timeout: FOREVER, ..QueueOptions::default() }).await?;
    let mut sent = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        let mut message = json!({ "MessageBody": json!({ "number": number, "plan": plan }).to_string() });
        if fifo {
            message["MessageGroupId"] = json!(format!("group {}", number % 2));
            message["MessageDeduplicationId"] = json!(number.to_string());
        }
        sent.push(queue.send(message).await?);
    }
    let ledger = Ledger::new(&format!("backoff-{probe:?}-{fifo}"))?;
    let endpoint = if probe == Probe::BackOffRefused { "http://127.0.0.1:9".to_owned() } else { sqs.endpoint() };
    let worker = Stage::function("worker", this_program(), &xray)
        .env("PROBE", format!("{probe:?}"))
        .env("LEDGER", &ledger.0)
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_ENDPOINT_URL_SQS", endpoint);
    let worker = Stage::build(worker).await;
    let mapping = EventSourceMapping::builder(&queue, Arc::new(worker.clone())).batch_size(10).report_batch_item_failures(true);
    let mapping = mapping.start()?;
    let mut ended = mapping.subscribe();
    for number in 1..=batches {
        within(format!("batch {number}"), ended.recv()).await??;
    }
    within("the worker to be frozen", worker.wait_frozen()).await?;
    xray.settle().await?;
    xray.documents_are_valid()?;
    let ledger = std::fs::read_to_string(&ledger.0)?.lines().map(str::to_owned).collect();
    Ok(Worked { sent, batches: mapping.batches(), ledger, worker })
}

impl Worked {
    /// Numbers of messages and the timeouts that were set for them, in order.
    fn changes(&self) -> Vec<(usize, u32)> {
        let change = |line: &String| {
            let mut parts = line.strip_suffix(" changed")?.split(' ');
            let id = parts.next()?;
            Some((self.sent.iter().position(|sent| sent == id)?, parts.next()?.parse().ok()?))
        };
        self.ledger.iter().filter_map(change).collect()
    }

    fn codes(&self) -> Vec<String> {
        let lines = self.worker.logs().into_iter().filter(|line| line.output != Output::Platform);
        lines.filter_map(|line| code(&line.text)).collect()
    }
}

async fn requested(fifo: bool) -> Tested {
    let plans = [Plan::Succeed, Plan::Fail, Plan::Succeed, Plan::Succeed, Plan::PanicOnce, Plan::Succeed];
    let worked = work(Probe::BackOff, fifo, &plans, 1).await?;
    // Odd numbers are one group, and even ones the other.
    let expected: &[(usize, u32)] = if fifo { &[(4, 30), (1, 30), (3, 30), (5, 30)] } else { &[(1, 30), (4, 30)] };
    let mut changes = worked.changes();
    if fifo {
        // The groups run one after the other, in the order of their first messages.
        ensure(changes == expected, format!("{changes:?}"))?;
    }
    changes.sort_unstable();
    let returned: Vec<&String> = changes.iter().map(|(number, _)| &worked.sent[*number]).collect();
    let failed: Vec<&String> = worked.batches[0].failed.iter().collect();
    ensure(returned == failed, format!("changed: {changes:?}, returned: {failed:?}"))?;
    ensure(changes.iter().all(|(_, seconds)| *seconds == 30), format!("{changes:?}"))?;
    ensure(changes.len() == expected.len(), format!("{changes:?}"))
}

async fn again() -> Tested {
    let worked = work(Probe::AtOnceAgain, false, &[Plan::FailTwice], 3).await?;
    ensure(worked.changes() == [(0, 0), (0, 0)], format!("{:?}", worked.ledger))?;
    ensure(worked.ledger.last().is_some_and(|line| line.ends_with("done")), format!("{:?}", worked.ledger))?;
    ensure(worked.batches[2].deleted == worked.sent, format!("{:?}", worked.batches[2]))
}

async fn refused() -> Tested {
    let worked = work(Probe::BackOffRefused, false, &[Plan::Fail, Plan::Succeed], 1).await?;
    ensure(worked.changes().is_empty(), format!("{:?}", worked.ledger))?;
    ensure(worked.batches[0].failed == worked.sent[..1], format!("{:?}", worked.batches[0]))?;
    ensure(worked.codes() == ["message_failed", "backoff_failed"], format!("{:?}", worked.codes()))
}
