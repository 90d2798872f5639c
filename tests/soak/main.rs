//! Managed Instances for long: no span lost or doubled, no memory, task or thread left behind.
//!
//! 4,000 invocations by default; `SOAK_INVOCATIONS=100000 cargo test --test soak` for the whole of it. This binary is both the test
//! and, where `PROBE` is set, the function.

use lambda_lifecycle::{Error, Export, Invocation, LambdaEvent, Lifecycle, service_fn};
use lambda_lifecycle_sandbox::{
    Answer, Event, Invoke,
    function::{Function, TraceMode},
};
use libtest_mimic::{Arguments, Failed, Trial};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    process::ExitCode,
    sync::Mutex,
    time::Duration,
};

const AT_ONCE: usize = 64;
const WARM_UP: usize = 1_000;
/// `handler`, `step` twice, `send mail` below `after response`, and the invocation itself.
const SPANS_EACH: usize = 6;

fn main() -> ExitCode {
    if std::env::var_os("PROBE").is_some() {
        return match function() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("Error: {error:?}");
                ExitCode::FAILURE
            }
        };
    }
    let count = std::env::var("SOAK_INVOCATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(4_000);
    let name = format!("{count} invocations, {AT_ONCE} at a time, leave nothing behind and lose nothing");
    let soak = Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(1_200), soak(count)).await? })
    });
    libtest_mimic::run(&Arguments::from_args(), vec![soak]).exit_code()
}

#[tokio::main(worker_threads = 2)]
async fn function() -> Result<(), Error> {
    let path = std::env::var("SPANS")?;
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let life = Lifecycle::builder().export(Export::None).exporter(ToFile(Mutex::new(file))).build();
    life.run_concurrent(service_fn(handler)).await
}

#[tracing::instrument(skip_all)]
async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    if event.payload["do"] == "count" {
        return Ok(json!({ "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks() }));
    }
    let invocation = Invocation::current();
    step().await;
    invocation.spawn(step()).await?;
    let id = invocation.request_id().to_owned();
    invocation.after_response(async move { tracing::info_span!("send mail", id).in_scope(|| ()) });
    Ok(json!(Invocation::current().request_id() == event.context.request_id))
}

#[tracing::instrument]
async fn step() {
    tokio::task::yield_now().await;
}

/// Writes what it gets where nothing is lost: a line a span.
#[derive(Debug)]
struct ToFile(Mutex<File>);

impl SpanExporter for ToFile {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let lines: String =
            batch.iter().map(|span| format!("{} {}\n", span.span_context.trace_id(), span.span_context.span_id())).collect();
        let mut file = self.0.lock().expect("nobody panics with it");
        file.write_all(lines.as_bytes())
            .map_err(|error| opentelemetry_sdk::error::OTelSdkError::InternalFailure(error.to_string()))
    }
}

/// What a process holds.
#[derive(Debug)]
struct Held {
    resident_kb: u64,
    threads: u64,
    tasks: u64,
}

async fn soak(count: usize) -> Result<(), Failed> {
    let spans = Scratch::new();
    let function = Function::builder("soak", std::env::current_exe()?)
        .env("PROBE", "soak")
        .env("SPANS", &spans.0)
        .managed(AT_ONCE)
        .trace_mode(TraceMode::Active)
        .timeout(Duration::from_secs(30))
        .build()
        .await;
    let mut traces = invoke(&function, WARM_UP).await?;
    let before = held(&function, &mut traces).await?;
    let pid = function.pid();
    traces.extend(invoke(&function, count).await?);
    let after = held(&function, &mut traces).await?;

    ensure(function.pid() == pid, "the process was replaced")?;
    ensure(after.tasks <= before.tasks, format!("{before:?}, then {after:?}"))?;
    // Tokio's blocking threads, on which exporters run, come and go.
    ensure(after.threads <= before.threads + 4, format!("{before:?}, then {after:?}"))?;
    ensure(after.resident_kb < before.resident_kb + 4_096, format!("{before:?}, then {after:?}"))?;
    eprintln!("{before:?}, then {after:?}");
    spans.check(&traces).await
}

/// Invokes so often, and gives the traces. The last of them may still be flushing.
async fn invoke(function: &Function, count: usize) -> Result<Vec<String>, Failed> {
    use futures_util::StreamExt;
    let answers = futures_util::stream::iter(0..count).map(|_| one(function, json!({}))).buffer_unordered(AT_ONCE);
    let answers: Vec<Answer> = answers.collect().await;
    for answer in &answers {
        ensure(answer.result.as_deref() == Ok(&b"true"[..]), format!("{:?}", answer.result))?;
    }
    Ok(answers.into_iter().map(|answer| answer.trace_id).collect())
}

async fn one(function: &Function, event: Value) -> Answer {
    function.invoke(Event { payload: event.to_string().into(), ..Event::default() }).await
}

async fn held(function: &Function, traces: &mut Vec<String>) -> Result<Held, Failed> {
    function.wait_idle().await;
    let pid = function.pid().ok_or("no process")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    let answer = one(function, json!({ "do": "count" })).await;
    let body: Value = serde_json::from_slice(answer.result.as_ref().map_err(ToString::to_string)?)?;
    traces.push(answer.trace_id);
    Ok(Held { resident_kb: number("VmRSS:"), threads: number("Threads:"), tasks: body["tasks"].as_u64().ok_or("no tasks")? })
}

fn ensure(holds: bool, otherwise: impl Into<String>) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("lambda-lifecycle-soak-{}", std::process::id())))
    }

    /// Every span once, of every invocation as many as it made.
    async fn check(&self, traces: &[String]) -> Result<(), Failed> {
        let wanted: usize = traces.len() * SPANS_EACH - 2 * (SPANS_EACH - 2);
        let mut text = String::new();
        // The flush of the last invocations holds nobody: it is waited for here.
        for _ in 0..200 {
            text = std::fs::read_to_string(&self.0)?;
            if text.lines().count() >= wanted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let mut seen = HashSet::new();
        let mut by_trace: HashMap<String, usize> = HashMap::new();
        for line in text.lines() {
            ensure(seen.insert(line), format!("{line} was exported twice"))?;
            let trace = line.split(' ').next().unwrap_or_default();
            *by_trace.entry(format!("1-{}-{}", &trace[..8], &trace[8..])).or_default() += 1;
        }
        let short: Vec<_> = traces.iter().filter(|trace| !matches!(by_trace.get(*trace), Some(&SPANS_EACH | &2))).collect();
        ensure(short.is_empty(), format!("{} of {} invocations lack spans", short.len(), traces.len()))?;
        ensure(seen.len() == wanted, format!("{} spans instead of {wanted}", seen.len()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
