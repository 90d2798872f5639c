//! A batch of ten whose seventh message never ends: with the batch runner, and with what one writes without it.

use crate::{
    function::{Plan, Probe},
    support::{Stage, Tested, XRay, ensure, test, this_program, within},
};
use lambda_lifecycle_sandbox::{
    function::FunctionBuilder,
    sqs::{Batch, BatchOutcome, EventSourceMapping, QueueOptions, Sqs},
    xray::TraceStore,
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use std::{sync::Arc, time::Duration};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("the seventh of ten hangs: the six before it are done, it and the three after it are retried", one_by_one),
        test("the seventh of ten concurrent messages hangs: only it is retried", at_once),
        test("the seventh of ten concurrent messages never ends but yields: only it is retried", cooperating),
        test("the seventh of ten blocks past the deadline: the seven are done, the three after it are retried", overrunning),
        test("ten concurrent messages that block their thread: none starts after the token's cancellation", computing),
        test("the seventh of ten hangs in a plain handler: all ten are retried", plain),
    ]
}

/// The seventh is to do this, the others succeed.
fn seventh(plan: Plan) -> impl Fn(usize) -> Plan {
    move |number| if number == 7 { plan } else { Plan::Succeed }
}

/// The soft deadline comes after one second. A message that still runs is given up eight seconds later, which leaves two seconds
/// to respond before the hard deadline. The watchdog would report it as blocked only much later.
fn soft_soon(function: FunctionBuilder) -> FunctionBuilder {
    let function = function.timeout(Duration::from_secs(51)).env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "40000");
    function.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "10000")
}

/// The ids as sent, and the first batch of them.
async fn first_batch(
    probe: Probe,
    change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
    plan: impl Fn(usize) -> Plan,
) -> Result<(Vec<String>, Arc<Batch>, TraceStore), Failed> {
    let (xray, sqs) = (XRay::start().await?, Sqs::start().await?);
    let queue = sqs.create_queue("orders", QueueOptions::default()).await?;
    let mut sent = Vec::new();
    for number in 1..=10 {
        let body = json!({ "number": number, "plan": plan(number) });
        sent.push(queue.send(json!({ "MessageBody": body.to_string() })).await?);
    }
    let worker = Stage::function("worker", this_program(), &xray).env("PROBE", format!("{probe:?}"));
    let worker = Stage::build(change(worker)).await;
    let mapping = EventSourceMapping::builder(&queue, Arc::new(worker.clone())).batch_size(10).report_batch_item_failures(true);
    let mapping = mapping.start()?;
    let mut batches = mapping.subscribe();
    let batch = within("the first batch", batches.recv()).await??;
    ensure(batch.messages == sent, "the messages are not one batch")?;
    within("the worker to be frozen", worker.wait_frozen()).await?;
    xray.settle().await?;
    Ok((sent, batch, xray.traces))
}

async fn one_by_one() -> Tested {
    let (sent, batch, traces) = first_batch(Probe::OneByOne, soft_soon, seventh(Plan::Hang)).await?;
    ensure(batch.outcome == BatchOutcome::Partial, format!("{:?}", batch.outcome))?;
    ensure(batch.deleted == sent[..6], format!("deleted: {:?}", batch.deleted))?;
    ensure(batch.failed == sent[6..], format!("back: {:?}", batch.failed))?;
    let spans = traces.find(|document| document.annotation("message_id").is_some());
    ensure(spans.len() == 7, format!("{} messages have spans", spans.len()))?;
    let faults: Vec<_> = spans.iter().filter(|span| span.fault).map(|span| span.annotation("message_id")).collect();
    ensure(faults == [Some(&*sent[6])], format!("faults: {faults:?}"))
}

async fn at_once() -> Tested {
    let (sent, batch, _) = first_batch(Probe::AtOnce, soft_soon, seventh(Plan::Hang)).await?;
    ensure(batch.outcome == BatchOutcome::Partial, format!("{:?}", batch.outcome))?;
    ensure(batch.failed == [sent[6].clone()], format!("back: {:?}", batch.failed))?;
    ensure(batch.deleted.len() == 9, format!("deleted: {:?}", batch.deleted))
}

async fn cooperating() -> Tested {
    let (sent, batch, _) = first_batch(Probe::AtOnce, soft_soon, seventh(Plan::Cooperate)).await?;
    ensure(batch.outcome == BatchOutcome::Partial, format!("{:?}", batch.outcome))?;
    ensure(batch.failed == [sent[6].clone()], format!("back: {:?}", batch.failed))
}

async fn overrunning() -> Tested {
    let (sent, batch, _) = first_batch(
        Probe::OneByOneOnThreads,
        |function| function.timeout(Duration::from_secs(2)),
        |number| match number {
            // The deadline's alarm is set when the handler first waits.
            1 => Plan::Slow,
            7 => Plan::Overrun,
            _ => Plan::Succeed,
        },
    )
    .await?;
    ensure(batch.outcome == BatchOutcome::Partial, format!("{:?}", batch.outcome))?;
    ensure(batch.deleted == sent[..7], format!("deleted: {:?}", batch.deleted))?;
    ensure(batch.failed == sent[7..], format!("back: {:?}", batch.failed))
}

async fn computing() -> Tested {
    let (sent, batch, _) = first_batch(Probe::AtOnce, soft_soon, |_| Plan::Compute).await?;
    ensure(batch.outcome == BatchOutcome::Partial, format!("{:?}", batch.outcome))?;
    let done = batch.deleted.len();
    ensure((1..10).contains(&done) && batch.deleted == sent[..done], format!("deleted: {:?}", batch.deleted))?;
    ensure(batch.failed == sent[done..], format!("back: {:?}", batch.failed))
}

async fn plain() -> Tested {
    // Here the kill is what the batch meets.
    let killed = |function: FunctionBuilder| function.timeout(Duration::from_secs(1)).kill_delay(Duration::ZERO);
    let (sent, batch, _) = first_batch(Probe::Plain, killed, seventh(Plan::Hang)).await?;
    ensure(matches!(&batch.outcome, BatchOutcome::Failed(why) if why.contains("timed out")), format!("{:?}", batch.outcome))?;
    ensure(batch.failed == sent && batch.deleted.is_empty(), format!("back: {:?}", batch.failed))
}
