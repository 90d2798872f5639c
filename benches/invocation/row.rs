//! The rows of the table. Each runs in a separate process.

use lambda_lifecycle::{Environment, Lifecycle};
use lambda_lifecycle_benches::{
    function::{self, Answered, Work},
    measure::{self, Cost},
};
use lambda_runtime::{Error, LambdaInvocation, service_fn};
use std::{net::UdpSocket, process::ExitCode, thread, time::Duration};
use tower::Service;

type Variables = &'static [(&'static str, &'static str)];

pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) env: Variables,
    pub(crate) title: bool,
    work: Work,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bare,
    BareAlone(usize),
    NotSampled,
    /// Sampled, one after the other.
    Made,
    /// Every other one sampled.
    Alternating,
    /// Not sampled, each invocation alone, so many times.
    Alone(usize),
    /// Sampled, each invocation alone, so many times.
    Sampled(usize),
}

/// As Lambda sets them.
pub(crate) const COMMON: Variables = &[
    ("AWS_LAMBDA_FUNCTION_NAME", "orders"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1024"),
    ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/orders"),
];

const OFF: Variables = &[("LAMBDA_LIFECYCLE_TRACE", "off"), ("LAMBDA_LIFECYCLE_LOG", "off")];
const OFF_CONCURRENT: Variables =
    &[("LAMBDA_LIFECYCLE_TRACE", "off"), ("LAMBDA_LIFECYCLE_LOG", "off"), ("AWS_LAMBDA_MAX_CONCURRENCY", "8")];
const OFF_NO_DEADLINE: Variables =
    &[("LAMBDA_LIFECYCLE_TRACE", "off"), ("LAMBDA_LIFECYCLE_LOG", "off"), ("LAMBDA_LIFECYCLE_DEADLINE", "off")];
const METRICS: Variables =
    &[("LAMBDA_LIFECYCLE_TRACE", "off"), ("LAMBDA_LIFECYCLE_LOG", "off"), ("POWERTOOLS_METRICS_NAMESPACE", "Shop")];
const METRICS_CONCURRENT: Variables = &[
    ("LAMBDA_LIFECYCLE_TRACE", "off"),
    ("LAMBDA_LIFECYCLE_LOG", "off"),
    ("POWERTOOLS_METRICS_NAMESPACE", "Shop"),
    ("AWS_LAMBDA_MAX_CONCURRENCY", "8"),
];
const NO_LOG: Variables = &[("LAMBDA_LIFECYCLE_LOG", "off")];
const CONCURRENT: Variables = &[("AWS_LAMBDA_MAX_CONCURRENCY", "8")];
const CONCURRENT_NO_LOG: Variables = &[("AWS_LAMBDA_MAX_CONCURRENCY", "8"), ("LAMBDA_LIFECYCLE_LOG", "off")];
const NO_WATCHDOG: Variables = &[("LAMBDA_LIFECYCLE_WATCHDOG", "off")];
/// Recorded for a daemon whose address is invalid, so that nothing is sent.
const UNSENT: Variables = &[("AWS_XRAY_DAEMON_ADDRESS", "nowhere")];
const UNSENT_UNWATCHED: Variables = &[("AWS_XRAY_DAEMON_ADDRESS", "nowhere"), ("LAMBDA_LIFECYCLE_WATCHDOG", "off")];
const NOT_ANNOUNCED: Variables = &[("LAMBDA_LIFECYCLE_TRACE_IN_PROGRESS", "off")];

/// Between two invocations that are measured alone.
const REST: Duration = Duration::from_millis(6);

/// Row, what it is measured against, nanoseconds it may be above that.
pub(crate) const GOALS: &[(&str, &str, f64)] = &[
    ("not recorded, ten spans", "no tracing, ten spans", 500.0),
    ("not recorded, ten spans, with the log", "no tracing, ten spans", 500.0),
    ("not recorded, ten spans, concurrent", "no tracing, ten spans, concurrent", 4_000.0),
    ("not recorded, ten spans, concurrent, with the log", "no tracing, ten spans, concurrent", 4_000.0),
    ("metrics", "no tracing", 5_000.0),
    ("metrics, three custom", "no tracing", 5_000.0),
    ("metrics, concurrent", "no tracing, concurrent", 5_000.0),
];

const fn title(what: &'static str) -> Row {
    Row { name: "", what, env: &[], title: true, work: Work::Spans(0), kind: Kind::Bare }
}

const fn row(name: &'static str, kind: Kind, work: Work, env: Variables) -> Row {
    Row { name, what: name, env, title: false, work, kind }
}

pub(crate) const ROWS: &[Row] = &[
    title("WITHOUT THE LIBRARY"),
    row("bare", Kind::Bare, Work::Spans(0), &[]),
    row("bare, ten spans and no subscriber", Kind::Bare, Work::Spans(10), &[]),
    title("THE LIBRARY, LAMBDA_LIFECYCLE_TRACE=off"),
    row("no tracing", Kind::NotSampled, Work::Spans(0), OFF),
    row("no tracing, no deadline", Kind::NotSampled, Work::Spans(0), OFF_NO_DEADLINE),
    row("no tracing, token taken", Kind::NotSampled, Work::Token, OFF),
    row("no tracing, annotate", Kind::NotSampled, Work::Annotate, OFF),
    row("no tracing, after_response", Kind::NotSampled, Work::AfterResponse, OFF),
    row("no tracing, ten spans", Kind::NotSampled, Work::Spans(10), OFF),
    row("no tracing, ten spans, concurrent", Kind::NotSampled, Work::Spans(10), OFF_CONCURRENT),
    title("METRICS, LAMBDA_LIFECYCLE_TRACE=off"),
    row("metrics", Kind::NotSampled, Work::Spans(0), METRICS),
    row("metrics, three custom", Kind::NotSampled, Work::Metrics, METRICS),
    row("no tracing, concurrent", Kind::NotSampled, Work::Spans(0), OFF_CONCURRENT),
    row("metrics, concurrent", Kind::NotSampled, Work::Spans(0), METRICS_CONCURRENT),
    title("NOT RECORDED (Sampled=0)"),
    row("not recorded", Kind::NotSampled, Work::Spans(0), &[]),
    row("not recorded, ten spans", Kind::NotSampled, Work::Spans(10), NO_LOG),
    row("not recorded, ten spans, with the log", Kind::NotSampled, Work::Spans(10), &[]),
    row("not recorded, ten spans, concurrent", Kind::NotSampled, Work::Spans(10), CONCURRENT_NO_LOG),
    row("not recorded, ten spans, concurrent, with the log", Kind::NotSampled, Work::Spans(10), CONCURRENT),
    title("RECORDED (Sampled=1), nothing sent: what making spans costs"),
    row("made, no span", Kind::Made, Work::Spans(0), UNSENT),
    row("made, ten spans", Kind::Made, Work::Spans(10), UNSENT),
    row("made, ten spans, without the watchdog", Kind::Made, Work::Spans(10), UNSENT_UNWATCHED),
    row("made, ten spans, every other invocation", Kind::Alternating, Work::Spans(10), UNSENT),
    row("made, 1,000 spans, without the watchdog", Kind::Made, Work::Spans(1_000), UNSENT_UNWATCHED),
    title("EACH ALONE after 6 ms, documents to a socket that is drained"),
    row("bare, alone", Kind::BareAlone(300), Work::Spans(0), &[]),
    row("no tracing, alone", Kind::Alone(300), Work::Spans(0), OFF),
    row("metrics, alone", Kind::Alone(300), Work::Spans(0), METRICS),
    row("not recorded, ten spans, alone", Kind::Alone(300), Work::Spans(10), &[]),
    row("recorded", Kind::Sampled(300), Work::Spans(0), &[]),
    row("recorded, without the watchdog", Kind::Sampled(300), Work::Spans(0), NO_WATCHDOG),
    row("recorded, without the document at the start", Kind::Sampled(300), Work::Spans(0), NOT_ANNOUNCED),
    row("recorded, annotate", Kind::Sampled(300), Work::Annotate, &[]),
    row("recorded, after_response", Kind::Sampled(300), Work::AfterResponse, &[]),
    row("recorded, 1 span", Kind::Sampled(300), Work::Spans(1), &[]),
    row("recorded, 10 spans", Kind::Sampled(300), Work::Spans(10), &[]),
    row("recorded, 10 spans, without the watchdog", Kind::Sampled(300), Work::Spans(10), NO_WATCHDOG),
    row("recorded, 100 spans", Kind::Sampled(100), Work::Spans(100), &[]),
    row("recorded, 1,000 spans", Kind::Sampled(30), Work::Spans(1_000), &[]),
    row("recorded, 10,000 spans", Kind::Sampled(7), Work::Spans(10_000), &[]),
];

pub(crate) fn run(name: &str) -> ExitCode {
    let Some(row) = ROWS.iter().find(|row| row.name == name) else { return ExitCode::FAILURE };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return ExitCode::FAILURE };
    match runtime.block_on(measure(row)) {
        Ok(cost) => {
            println!("measured {} {}", cost.answer, cost.cpu);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(row: &Row) -> Result<Cost, Error> {
    let (work, answered) = (row.work, Answered::default());
    let handler = service_fn(move |event| function::handle(work, event));
    if matches!(row.kind, Kind::Bare | Kind::BareAlone(_)) {
        return Ok(cost(row, function::bare(handler, answered.clone()), &answered).await);
    }
    // The program itself knows the daemon's address only now, and it is read from the environment: so it starts itself again.
    if Environment::current().xray_daemon_address.is_none() {
        return again(row);
    }
    let _life = Lifecycle::from_env();
    Ok(cost(row, function::ours(handler, answered.clone()), &answered).await)
}

async fn cost<S>(row: &Row, mut service: S, answered: &Answered) -> Cost
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    let header = |sampled| format!("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled={sampled}");
    match row.kind {
        Kind::Sampled(times) | Kind::Alone(times) | Kind::BareAlone(times) => {
            let header = header(u8::from(matches!(row.kind, Kind::Sampled(_))));
            // The first invocations initialize shared state, which is not part of an invocation's cost.
            measure::one_by_one(&mut service, &header, 3, answered, REST, measure::thread_cpu).await;
            measure::one_by_one(&mut service, &header, times, answered, REST, measure::thread_cpu).await
        }
        _ => {
            // Where invocations run side by side the stage after the response is a task.
            let settle = Environment::current().is_concurrent();
            let (rounds, each) = match row.work {
                Work::Spans(1_000..) => (20, 20),
                _ => (40, 2_000),
            };
            let headers = match row.kind {
                Kind::Made => [1, 1],
                Kind::Alternating => [0, 1],
                _ => [0, 0],
            };
            measure::in_rounds(&mut service, headers.map(header), settle, rounds, each).await
        }
    }
}

/// Runs the row in a process that has this one's socket as its daemon.
fn again(row: &Row) -> Result<Cost, Error> {
    let daemon = UdpSocket::bind("127.0.0.1:0")?;
    let address = daemon.local_addr()?.to_string();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while daemon.recv(&mut buffer).is_ok() {}
    });
    let output = std::process::Command::new(std::env::current_exe()?)
        .env("ROW", row.name)
        .env("AWS_XRAY_DAEMON_ADDRESS", address)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers = said.lines().rev().find_map(|line| line.strip_prefix("measured "));
    let (answer, cpu) = numbers.and_then(|numbers| numbers.split_once(' ')).ok_or("no measurement")?;
    Ok(Cost { answer: answer.parse()?, cpu: cpu.parse()? })
}
