//! Managed Instances for long: no span lost or doubled, no memory, task or thread left behind.
//!
//! 4,000 invocations by default; `SOAK_INVOCATIONS=100000 cargo test --test soak` for the whole of it. This binary is both the test
//! and, where `PROBE` is set, the function.

#[path = "../support/mod.rs"]
mod support;

use lambda_lifecycle::{Error, Export, Invocation, LambdaEvent, Lifecycle, service_fn};
use lambda_lifecycle_sandbox::{
    Event, FunctionResponse, Invoke,
    function::{Function, TraceMode},
};
use libtest_mimic::Failed;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    io::Write,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use support::{Stage, Tested, ensure, patience, this_program, value, within};
use tokio::runtime::Builder;

const AT_ONCE: usize = 64;
const WARM_UP: usize = 1_000;
/// `handler`, `step` twice, `send mail` below `after response`, and the invocation itself.
const SPANS_EACH: usize = 6;
/// `handler` and the invocation.
const SPANS_OF_A_LOOK: usize = 2;

/// The functions. `PROBE` names the one that a process is.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Probe {
    Soak,
}

/// The request of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Do {
    /// Make spans.
    Work,
    /// Return what the process holds.
    Look,
}

fn main() -> ExitCode {
    if let Some(Probe::Soak) = support::named("PROBE") {
        return support::function_main(Builder::new_multi_thread(), function());
    }
    let count = std::env::var("SOAK_INVOCATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(4_000);
    let name = format!("{count} invocations, {AT_ONCE} at a time, leave nothing behind and lose nothing");
    // As long as it takes: every wait in it ends by itself.
    support::run([vec![support::test_unbounded(name, move || soak(count))]])
}

async fn function() -> Result<(), Error> {
    let path = std::env::var("SPANS")?;
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    let life = Lifecycle::builder().export(Export::None).exporter(ToFile(Mutex::new(file))).build();
    life.run_concurrent(service_fn(handler)).await
}

#[tracing::instrument(skip_all)]
async fn handler(event: LambdaEvent<Do>) -> Result<Value, Error> {
    if event.payload == Do::Look {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        return Ok(json!({ "exported": EXPORTED.load(Ordering::Relaxed), "tasks": tasks }));
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

/// Spans that were written.
static EXPORTED: AtomicUsize = AtomicUsize::new(0);

/// Writes what it gets where nothing is lost: a line a span.
#[derive(Debug)]
struct ToFile(Mutex<File>);

impl SpanExporter for ToFile {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let lines: String =
            batch.iter().map(|span| format!("{} {}\n", span.span_context.trace_id(), span.span_context.span_id())).collect();
        let mut file = self.0.lock().expect("a lock that no panic poisoned");
        file.write_all(lines.as_bytes())
            .map_err(|error| opentelemetry_sdk::error::OTelSdkError::InternalFailure(error.to_string()))?;
        EXPORTED.fetch_add(batch.len(), Ordering::Relaxed);
        Ok(())
    }
}

/// The memory and the other resources of a process.
#[derive(Debug)]
struct Held {
    resident_kb: u64,
    threads: u64,
    tasks: u64,
}

async fn soak(count: usize) -> Tested {
    let spans = Scratch::new();
    // There is no daemon, so all documents are sent to the exporter.
    let function = Function::builder("soak", this_program())
        .env("PROBE", format!("{:?}", Probe::Soak))
        .env("SPANS", &spans.0)
        .managed(AT_ONCE)
        .queue_when_busy()
        .trace_mode(TraceMode::Active)
        .timeout(patience())
        .kill_delay(patience());
    let function = Stage::build(function).await;
    let mut traces = Traces::default();
    traces.invoke(&function, WARM_UP).await?;
    let before = traces.held(&function).await?;
    let pid = function.pid();
    traces.invoke(&function, count).await?;
    let after = traces.held(&function).await?;
    // Until what it looked at itself with is written, too.
    let (wanted, ids) = (traces.spans, std::mem::take(&mut traces.ids));
    traces.held(&function).await?;

    ensure(function.pid() == pid, "the process was replaced")?;
    // Some invocations may still be flushing when it is looked; a task left behind by each would be thousands.
    ensure(after.tasks < before.tasks + AT_ONCE as u64, format!("{before:?}, then {after:?}"))?;
    // Tokio's blocking threads, on which exporters run, come and go.
    ensure(after.threads <= before.threads + 4, format!("{before:?}, then {after:?}"))?;
    // Up to 10,000 spans wait for an exporter that gets no time on a busy machine.
    ensure(after.resident_kb < before.resident_kb + 16_384, format!("{before:?}, then {after:?}"))?;
    eprintln!("{before:?}, then {after:?}");
    spans.check(&ids, wanted)
}

/// The traces of what was invoked, and how many spans those must have.
#[derive(Default)]
struct Traces {
    ids: Vec<String>,
    spans: usize,
}

impl Traces {
    /// Invokes so often. The last of them may still be flushing.
    async fn invoke(&mut self, function: &Function, count: usize) -> Tested {
        use futures_util::StreamExt;
        let mut answers = futures_util::stream::iter(0..count).map(|_| one(function, Do::Work)).buffer_unordered(AT_ONCE);
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            ensure(answer.result.as_deref() == Ok(&b"true"[..]), format!("{:?}", answer.result))?;
            self.ids.push(answer.trace_id);
            self.spans += SPANS_EACH;
        }
        Ok(())
    }

    /// The resources of the process once all spans so far are written.
    async fn held(&mut self, function: &Function) -> Result<Held, Failed> {
        let wanted = self.spans;
        // An invocation does not wait for its flush. Spans that arrive during the flush are sent with the next one.
        let body = within("all spans to be written", async {
            loop {
                let answer = one(function, Do::Look).await?;
                self.ids.push(answer.trace_id.clone());
                self.spans += SPANS_OF_A_LOOK;
                let body = value(&answer)?;
                if body["exported"].as_u64().is_some_and(|exported| exported >= wanted as u64) {
                    return Ok::<_, Failed>(body);
                }
            }
        })
        .await??;
        let pid = function.pid().ok_or("no process")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Ok(Held { resident_kb: number("VmRSS:"), threads: number("Threads:"), tasks: body["tasks"].as_u64().ok_or("no tasks")? })
    }
}

async fn one(function: &Function, act: Do) -> Result<FunctionResponse, Failed> {
    let event = Event { payload: json!(act).to_string().into(), ..Event::default() };
    Ok(within("an answer", function.invoke(event)).await?)
}

/// A file that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("lambda-lifecycle-soak-{}", std::process::id())))
    }

    /// Every span once, of every invocation as many as it made.
    fn check(&self, traces: &[String], wanted: usize) -> Tested {
        let text = std::fs::read_to_string(&self.0)?;
        let mut seen = HashSet::new();
        let mut by_trace: HashMap<String, usize> = HashMap::new();
        for line in text.lines() {
            ensure(seen.insert(line), format!("{line} was exported twice"))?;
            let trace = line.split(' ').next().unwrap_or_default();
            *by_trace.entry(format!("1-{}-{}", &trace[..8], &trace[8..])).or_default() += 1;
        }
        let of = |trace: &String| by_trace.get(trace).copied().unwrap_or_default();
        let short = traces.iter().filter(|trace| !matches!(of(trace), SPANS_EACH | SPANS_OF_A_LOOK)).count();
        ensure(short == 0, format!("{short} of {} invocations lack spans", traces.len()))?;
        let all: usize = traces.iter().map(of).sum();
        ensure(all == wanted, format!("{all} spans instead of {wanted}"))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
