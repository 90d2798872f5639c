//! The cost of a log line with three span fields, compared with `lambda_runtime`'s own subscriber in the same run.
//!
//! Each subscriber runs in a separate process, which writes its lines to `/dev/null` and reports their CPU time. `line` logs
//! inside an existing span; `span` also creates the span. Our lines belong to an invocation that is not sampled, theirs to the
//! span that `lambda_runtime` creates. The bench fails when a line takes more than 1.3 times as long as theirs.

use criterion::{BenchmarkId, Criterion, criterion_group};
use lambda_lifecycle::{Error, Lifecycle};
use lambda_lifecycle_benches::measure::thread_cpu;
use lambda_runtime::{Context, LambdaInvocation};
use std::{
    future::ready,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStderr, ChildStdin, Command, ExitCode, Stdio},
    sync::Mutex,
    time::Duration,
};
use tower::{Layer as _, Service as _, service_fn};
use tracing::{info, info_span};

/// Lines of one measurement.
const ROUND: u64 = 2_000;
const HEADER: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
const REQUEST: &str = "8476a536-e9f4-11e8-9739-2dfe598c3fcd";
/// The limit: the time of our line, as a multiple of theirs.
const GOAL: f64 = 1.3;

fn main() -> ExitCode {
    if let Ok(subscriber) = std::env::var("SUBSCRIBER") {
        serve(&subscriber);
        return ExitCode::SUCCESS;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
    check()
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(3));
    targets = lines
}

fn lines(criterion: &mut Criterion) {
    for format in ["JSON", "Text"] {
        for what in ["line", "span"] {
            let mut group = criterion.benchmark_group(format!("{what}, {format}"));
            for subscriber in ["theirs", "ours"] {
                let measured = Measured::start(subscriber, format, what);
                group.bench_function(BenchmarkId::from_parameter(subscriber), |bencher| {
                    bencher.iter_custom(|times| measured.take(times));
                });
            }
        }
    }
}

/// Compares the best of many rounds, by turns.
fn check() -> ExitCode {
    let mut missed = false;
    for format in ["JSON", "Text"] {
        for what in ["line", "span"] {
            let [theirs, ours] = ["theirs", "ours"].map(|subscriber| Measured::start(subscriber, format, what));
            let mut best = [Duration::MAX; 2];
            for _ in 0..30 {
                best = [best[0].min(theirs.take(ROUND)), best[1].min(ours.take(ROUND))];
            }
            let [theirs, ours] = best.map(|time| time.as_nanos() as f64 / ROUND as f64);
            let ratio = ours / theirs;
            println!("{what}, {format}: lambda_runtime's {theirs:.0} ns, ours {ours:.0} ns, ratio {ratio:.2}");
            missed |= what == "line" && ratio > GOAL;
        }
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A process with one of the subscribers.
struct Measured(Mutex<(Child, ChildStdin, BufReader<ChildStderr>)>);

impl Measured {
    fn start(subscriber: &str, format: &str, what: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a program"))
            .env("SUBSCRIBER", subscriber)
            .env("AWS_LAMBDA_LOG_FORMAT", format)
            .env("WHAT", what)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
        Self(Mutex::new((child, input, BufReader::new(output))))
    }

    /// The CPU time of so many lines.
    fn take(&self, lines: u64) -> Duration {
        let mut process = self.0.lock().expect("no panic");
        let (_, input, output) = &mut *process;
        writeln!(input, "{lines}").expect("it listens");
        let mut taken = String::new();
        output.read_line(&mut taken).expect("it responds");
        Duration::from_nanos(taken.trim().parse().expect("nanoseconds"))
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Ok((child, ..)) = self.0.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Logs as many lines as each request asks for, until the requests end.
fn serve(subscriber: &str) {
    let makes_span = std::env::var("WHAT").is_ok_and(|what| what == "span");
    let rounds = move || {
        for asked in std::io::stdin().lines() {
            let lines = asked.ok().and_then(|lines| lines.parse().ok()).unwrap_or(0);
            eprintln!("{}", round(makes_span, lines).as_nanos());
        }
    };
    if subscriber == "theirs" {
        lambda_runtime::tracing::init_default_subscriber();
        return info_span!("Lambda runtime invoke", requestId = REQUEST, xrayTraceId = HEADER).in_scope(rounds);
    }
    let life = Lifecycle::from_env();
    let handler = service_fn(move |_: LambdaInvocation| {
        rounds();
        ready(Ok::<_, Error>(()))
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut context = Context::default();
    REQUEST.clone_into(&mut context.request_id);
    context.xray_trace_id = Some(HEADER.to_owned());
    let (parts, ()) = http::Response::new(()).into_parts();
    let invocation = LambdaInvocation { parts, body: bytes::Bytes::from_static(b"{}"), context };
    runtime.block_on(life.runtime_layer().layer(handler).call(invocation)).expect("it is served");
}

fn round(makes_span: bool, lines: u64) -> Duration {
    let span = || info_span!("place", order_id = 42, customer = "ada", express = true);
    let began = thread_cpu();
    if makes_span {
        for _ in 0..lines {
            span().in_scope(|| info!(item = "tea", "placed"));
        }
    } else {
        span().in_scope(|| (0..lines).for_each(|_| info!(item = "tea", "placed")));
    }
    thread_cpu() - began
}
