//! Time on a busy machine: the best of many rounds and, where waiting does not count, the thread's own CPU time.

use crate::function::{self, Answered};
use lambda_runtime::{Error, LambdaInvocation};
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};
use tower::Service;

/// Nanoseconds: elapsed time from the event to the response, and this thread's CPU time in total.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Until the response.
    pub answer: f64,
    /// In all.
    pub cpu: f64,
}

/// Invocations one after the other, with two headers by turns, in rounds; the best round counts.
pub async fn in_rounds<S>(service: &mut S, headers: [String; 2], settle: bool, rounds: usize, each: usize) -> Cost
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    let contexts = headers.map(|header| function::context(&header));
    let mut best = Cost { answer: f64::MAX, cpu: f64::MAX };
    for _ in 0..rounds {
        let (began, cpu) = (Instant::now(), thread_cpu());
        for number in 0..each {
            // A failed invocation would be a wrong measurement.
            service.call(function::event(&contexts[number % 2])).await.expect("the stand-in does not fail");
            if settle {
                tokio::task::yield_now().await;
            }
        }
        let (took, used) = (began.elapsed(), thread_cpu() - cpu);
        best.answer = best.answer.min(took.as_nanos() as f64 / each as f64);
        best.cpu = best.cpu.min(used.as_nanos() as f64 / each as f64);
    }
    best
}

/// Invocations with a rest between them in which the pace's bucket fills again; the median counts.
pub async fn one_by_one<S>(
    service: &mut S,
    header: &str,
    times: usize,
    answered: &Answered,
    rest: Duration,
    cpu: fn() -> Duration,
) -> Cost
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    let context = function::context(header);
    let (mut answers, mut cpus) = (Vec::new(), Vec::new());
    for _ in 0..times {
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        let event = function::event(&context);
        let (began, before) = (Instant::now(), cpu());
        service.call(event).await.expect("the stand-in does not fail");
        let used = cpu() - before;
        answers.push(answered.since(began));
        cpus.push(used);
    }
    Cost { answer: median(answers), cpu: median(cpus) }
}

fn median(mut all: Vec<Duration>) -> f64 {
    all.sort_unstable();
    all.get(all.len() / 2).map_or(f64::NAN, |median| median.as_nanos() as f64)
}

/// The CPU time of this thread.
pub fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The CPU time of all threads, because some exporters run on their own thread.
pub fn process_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// With a unit that fits.
pub fn text(nanoseconds: f64) -> String {
    match nanoseconds {
        ..10_000.0 => format!("{nanoseconds:.0} ns"),
        ..10_000_000.0 => format!("{:.1} µs", nanoseconds / 1e3),
        _ => format!("{:.1} ms", nanoseconds / 1e6),
    }
}
