//! An environment of the sandbox: measured when it is initialized and in warm invocations.

use crate::{bootstrap, contender::Contender, error::Error, samples::Samples, sinks::Sinks};
use bench_report::process::Usage;
use lambda_lifecycle_sandbox::{
    Event, Invoke,
    function::{EventKind, Function, TimelineEvent},
};
use std::{path::Path, time::Duration};

const WARM: usize = 20;
/// The pause between warm invocations, unless they run back to back.
const GAP: Duration = Duration::from_millis(10);

pub(crate) async fn measure(contender: &Contender, program: &Path, sinks: &Sinks, samples: &mut Samples) -> Result<(), Error> {
    let incomplete = |what| Error::Incomplete { contender: contender.name, what };
    let received = sinks.received();

    let function = start(contender, program, sinks).await;
    function.warm_up().await.map_err(|_| incomplete("its first /next"))?;
    function.wait_frozen().await;
    let pid = function.pid().ok_or_else(|| incomplete("its first /next"))?;
    let usage = Usage::of(pid)?;
    samples.cpu.push(usage.cpu);
    samples.faults.push(usage.faults);
    samples.resident.push(usage.resident);
    samples.threads.push(usage.threads);

    invoke(&function).await.ok_or_else(|| incomplete("its first response"))?;
    let before = Usage::of(pid)?;
    rested(contender, &function, WARM, samples).await?;
    let after = Usage::of(pid)?;
    samples.warm_cpu.push((after.cpu - before.cpu) / WARM as f64);
    samples.warm_resident.push(after.resident);
    samples.warm_threads.push(after.threads);
    for _ in 0..WARM {
        let (answer, ready) = warm(contender, &function).await?;
        samples.to_answer_at_once.push(answer);
        samples.to_ready_at_once.push(ready);
    }
    function.shutdown().await;
    let lines = function.logs().iter().filter(|line| line.text.contains("__otel_otlp_stdout")).count();

    samples.exported += sinks.received() - received + lines as u64;
    Ok(())
}

/// Warm invocations alone, those in between rests.
pub(crate) async fn measure_warm(
    contender: &Contender,
    program: &Path,
    sinks: &Sinks,
    count: usize,
    samples: &mut Samples,
) -> Result<(), Error> {
    let function = start(contender, program, sinks).await;
    invoke(&function).await.ok_or(Error::Incomplete { contender: contender.name, what: "its first response" })?;
    rested(contender, &function, count, samples).await?;
    function.shutdown().await;
    Ok(())
}

async fn rested(contender: &Contender, function: &Function, count: usize, samples: &mut Samples) -> Result<(), Error> {
    for _ in 0..count {
        tokio::time::sleep(GAP).await;
        let (answer, ready) = warm(contender, function).await?;
        samples.to_answer.push(answer);
        samples.to_ready.push(ready);
    }
    Ok(())
}

/// A warm invocation: the time to its response, and from there to `/next`.
async fn warm(contender: &Contender, function: &Function) -> Result<(f64, f64), Error> {
    let incomplete = |what| Error::Incomplete { contender: contender.name, what };
    let seen = function.timeline().len();
    invoke(function).await.ok_or_else(|| incomplete("a warm response"))?;
    let events = &function.timeline()[seen..];
    let answer = between(events, out, answered).ok_or_else(|| incomplete("a warm response"))?;
    let ready = between(events, answered, next).ok_or_else(|| incomplete("its next /next"))?;
    Ok((nanoseconds(answer), nanoseconds(ready)))
}

async fn start(contender: &Contender, program: &Path, sinks: &Sinks) -> Function {
    let mut function =
        Function::builder("orders", program).xray(&sinks.xray).log_format(contender.log_format).memory(bootstrap::MEMORY_MB);
    let own = contender.env(sinks).into_iter();
    for (key, value) in own.chain(contender.without_warm_up().map(|(key, value)| (key, value.to_owned()))) {
        function = function.env(key, value);
    }
    function.build().await
}

/// One invocation, to the freeze after it.
async fn invoke(function: &Function) -> Option<()> {
    let event = Event { payload: r#"{"order":7,"sku":"tea"}"#.into(), ..Event::default() };
    let answer = function.invoke(event).await;
    function.wait_frozen().await;
    answer.result.ok().map(drop)
}

fn between(events: &[TimelineEvent], from: fn(&EventKind) -> bool, to: fn(&EventKind) -> bool) -> Option<Duration> {
    let start = events.iter().position(|event| from(&event.kind))?;
    let end = events[start..].iter().find(|event| to(&event.kind))?;
    end.offset.checked_sub(events[start].offset)
}

fn next(kind: &EventKind) -> bool {
    matches!(kind, EventKind::NextCalled)
}

fn out(kind: &EventKind) -> bool {
    matches!(kind, EventKind::EventOut { .. })
}

fn answered(kind: &EventKind) -> bool {
    matches!(kind, EventKind::ResponseIn { error: false, .. })
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
