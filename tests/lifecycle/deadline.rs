//! Deadlines of handlers that wait, compute, stream or block their thread.

use crate::{
    behavior::{Do, Probe},
    kind::{SOON, STREAMING, UNTIL_KILLED, long_grace, long_reserve},
    support::{Gate, Stage, Tested, ensure, function_error, test, value},
};
use lambda_lifecycle_sandbox::{
    Failure,
    function::{FunctionBuilder, TraceMode},
};
use libtest_mimic::Trial;
use serde_json::json;
use std::time::Duration;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a blocked handler: a span for a remote caller is not mistaken for the invocation's", served),
        test("a handler that computes and yields is cut off at its deadline", cooperative),
        test("stream: a body that is always ready is cut off at its deadline", endless_stream),
        test("deadline of a part of the work: the handler's token is cancelled", part_of_the_work),
        test("a handler that sleeps on its thread is reported before the kill", || blocked(Do::Block, "blocking query")),
        test("a handler that spins is reported before the kill", || blocked(Do::Spin, "endless loop")),
        test("a handler that waits is not named as the one that blocks", waits_for_blocked_task),
        test("a handler that blocks into the reserve and then yields has one document of each span", blocked_for_a_while),
        test("Managed Instances: a response after the deadline is reported, because the caller has an error", late_answer),
        test("without the watchdog a blocked handler leaves only its first document", unwatched),
        test("the watchdog of a function with less than one core starts in the Init phase", watchdog_in_init),
        test("the watchdog of a larger function starts while it waits for its first event", watchdog_after_next),
        test("a fallback is the response at the deadline", fallback),
        test("LAMBDA_LIFECYCLE_DEADLINE_GRACE and _RESERVE move the deadlines", grace_and_reserve),
        test("a grace or a reserve as long as the invocation is reported once, and the default is used", || async {
            too_long("LAMBDA_LIFECYCLE_DEADLINE_GRACE").await?;
            too_long("LAMBDA_LIFECYCLE_DEADLINE_RESERVE").await
        }),
    ]
}

async fn served() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let begun = stage.begin_within(UNTIL_KILLED, Do::ServeAndBlock);
    stage.traces.wait_for(1, |document| document.name == "served").await?;
    stage.function.expire();
    begun.answer("a handler that blocks").await?;
    stage.settle().await?;
    let found = stage.traces.find(|document| document.name == "served");
    let [document] = found.as_slice() else { return Err(format!("{} documents", found.len()).into()) };
    ensure(document.parent_id.as_deref() == Some("0000000000000008"), format!("{}", document.raw))?;
    ensure(document.annotation("outcome").is_none(), format!("{}", document.raw))
}

async fn cooperative() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(SOON, Do::Cooperate).await?;
    let (error_type, _) = function_error(&answer)?;
    ensure(error_type == "Lifecycle.DeadlineExceeded", error_type)?;
    stage.lives().await
}

async fn endless_stream() -> Tested {
    let stage = Stage::with(Probe::Stream, TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(STREAMING, Do::Endless).await?;
    let (error_type, _) = function_error(&answer)?;
    ensure(error_type == "Lifecycle.DeadlineExceeded", error_type)?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("deadline_exceeded"), format!("{:?}", document.annotations))?;
    stage.lives().await
}

async fn part_of_the_work() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, long_grace).await?;
    let answer = stage.invoke_within(SOON, Do::Within).await?;
    let body = value(&answer)?;
    ensure(body["within"].as_str().is_some_and(|text| text.contains("raise the timeout")), body.to_string())
}

async fn blocked(how: Do, culprit: &str) -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let begun = stage.begin_within(UNTIL_KILLED, how);
    stage.wait_for_code("handler_blocked", 1).await?;
    stage.traces.wait_for(2, |document| document.fault).await?;
    stage.function.expire();
    let answer = begun.answer("a handler that blocks").await?;
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), format!("{:?}", answer.result))?;
    let document = stage.document(&answer).await?;
    ensure(document.fault && !document.in_progress, format!("{:?}", document.raw))?;
    ensure(document.annotation("outcome") == Some("blocked"), format!("{:?}", document.annotations))?;
    let named = |message: &str| message.contains(culprit);
    let told = |document: &lambda_lifecycle_sandbox::xray::Document| {
        document.exceptions().iter().any(|exception| exception.message.as_deref().is_some_and(named))
    };
    ensure(told(&document), format!("{:?}", document.exceptions()))?;
    let inner = stage.traces.find(|document| document.name == culprit);
    ensure(inner.len() == 1 && inner[0].fault && told(&inner[0]), format!("{inner:?}"))?;
    ensure(stage.codes() == ["handler_blocked"], format!("{:?}", stage.problems()))?;
    ensure(stage.invoke(json!({})).await?.result.is_ok() && stage.processes() == 2, "no new process serves")
}

async fn waits_for_blocked_task() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let begun = stage.begin_within(UNTIL_KILLED, Do::WaitForBlockedTask);
    stage.wait_for_code("executor_stalled", 1).await?;
    stage.traces.wait_for(2, |document| document.fault).await?;
    stage.function.expire();
    let answer = begun.answer("a handler that waits").await?;
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), format!("{:?}", answer.result))?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("blocked"), format!("{:?}", document.annotations))?;
    let types: Vec<_> = document.exceptions().iter().map(|exception| exception.kind.as_deref()).collect();
    ensure(types == [Some("Lifecycle.ExecutorStalled")], format!("{types:?}"))?;
    let inner = stage.traces.find(|document| document.name == "waiting");
    ensure(
        inner.len() == 1 && inner[0].fault && inner[0].exceptions().iter().all(|one| one.kind.is_none()),
        format!("{inner:?}"),
    )?;
    ensure(stage.codes() == ["executor_stalled"], format!("{:?}", stage.problems()))
}

async fn blocked_for_a_while() -> Tested {
    let (stage, gate) = (Stage::new(Probe::Value, TraceMode::Active).await?, Gate::new().await?);
    let begun = stage.begin_within(UNTIL_KILLED, Do::BlockAtGate { gate: gate.address()? });
    let held = gate.held().await?;
    stage.traces.wait_for(2, |document| document.fault).await?;
    held.release();
    let answer = begun.answer("a handler that blocks for a while").await?;
    stage.document(&answer).await?;
    let blocking = stage.traces.find(|document| document.name == "blocking query");
    ensure(blocking.len() == 1 && blocking[0].fault, format!("{blocking:?}"))
}

async fn late_answer() -> Tested {
    // The caller gets an error at the deadline itself. From then on the response is late.
    let managed = |function: FunctionBuilder| function.managed(8).kill_delay(Duration::ZERO);
    let (stage, gate) = (Stage::with(Probe::Value, TraceMode::Active, managed).await?, Gate::new().await?);
    let begun = stage.begin_within(UNTIL_KILLED, Do::BlockAtGate { gate: gate.address()? });
    let held = gate.held().await?;
    let answer = begun.answer("a handler that blocks").await?;
    held.release();
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), format!("{:?}", answer.result))?;
    stage.wait_for_code("late_response", 1).await?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn unwatched() -> Tested {
    // Only the kill shows that nothing was sent before it.
    let change = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_WATCHDOG", "off").kill_delay(Duration::ZERO);
    let stage = Stage::with(Probe::Value, TraceMode::Active, change).await?;
    let answer = stage.invoke_within(UNTIL_KILLED, Do::Block).await?;
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), format!("{:?}", answer.result))?;
    ensure(stage.document(&answer).await?.in_progress, "the invocation is finished in its trace")
}

async fn watchdog_in_init() -> Tested {
    let mut counts = Vec::new();
    for (memory, switch) in [(128, "on"), (1_768, "on"), (1_769, "on"), (128, "off")] {
        let change = |function: FunctionBuilder| {
            let function = function.memory(memory).env("LAMBDA_LIFECYCLE_WATCHDOG", switch);
            function.env("LAMBDA_LIFECYCLE_WARM_UP", "off")
        };
        let stage = Stage::with(Probe::Value, TraceMode::Active, change).await?;
        stage.function.warm_up().await?;
        counts.push(threads(&stage)?);
    }
    let without = counts[3];
    ensure(counts == [without + 1, without + 1, without, without], format!("{counts:?}"))
}

async fn watchdog_after_next() -> Tested {
    let mut counts = Vec::new();
    for switch in ["on", "off"] {
        let change = |function: FunctionBuilder| function.memory(1_769).env("LAMBDA_LIFECYCLE_WARM_UP", switch);
        // An invocation that is not recorded starts no thread.
        let stage = Stage::with(Probe::Value, TraceMode::NotSampled, change).await?;
        stage.invoke(json!({})).await?;
        stage.settle().await?;
        ensure(stage.traces.datagrams().is_empty(), "the warm-up was sent")?;
        counts.push(threads(&stage)?);
    }
    ensure(counts[0] == counts[1] + 1, format!("{counts:?}"))
}

/// A thread has its own name only once it runs, so the threads are counted.
fn threads(stage: &Stage) -> Result<usize, libtest_mimic::Failed> {
    let pid = stage.function.pid().ok_or("no process")?;
    Ok(std::fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

async fn fallback() -> Tested {
    let stage = Stage::with(Probe::Fallback, TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(SOON, Do::Hang).await?;
    ensure(answer.result.as_deref() == Ok(&b"\"fallback\""[..]), format!("{:?}", answer.result))?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("deadline_exceeded") && document.fault, format!("{:?}", document.raw))
}

async fn too_long(variable: &'static str) -> Tested {
    const SHORT: Duration = Duration::from_secs(1);
    let long = SHORT.as_millis().to_string();
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| function.env(variable, long)).await?;
    for _ in 0..2 {
        let answer = stage.invoke_within(SHORT, Do::Stop).await?;
        // Both defaults are 50 ms. A handler that misses them is cut off at its deadline, which the defaults would not have
        // caused either.
        let remaining = value(&answer).map_or(0, |body| body["remaining_ms"].as_u64().unwrap_or(u64::MAX));
        ensure(remaining <= 100, format!("{variable}: cancelled {remaining} ms before the kill"))?;
    }
    let reported = stage.reported_as("code", "margin_too_long");
    ensure(reported.len() == 1 && reported[0]["name"] == variable, format!("{reported:?}"))
}

async fn grace_and_reserve() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| {
        function.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "20000").env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "9000")
    })
    .await?;
    let answer = stage.invoke_within(Duration::from_secs(30), Do::Stop).await?;
    let body = value(&answer)?;
    let remaining = body["remaining_ms"].as_u64().ok_or("no remaining time")?;
    // Before the deadline, which is 9 s before the and not before the grace.
    ensure((9_000..=29_000).contains(&remaining), format!("cancelled {remaining} ms before the kill"))
}
