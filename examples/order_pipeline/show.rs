//! The output of a run in the terminal.

use crate::Run;
use lambda_lifecycle_sandbox::{
    function::{EventKind, Function, Output, TimelineEvent},
    render,
};
use serde_json::Value;
use std::collections::BTreeMap;

/// Answers, timelines, traces with their logs.
pub(crate) fn run(run: &Run) {
    println!("WHAT THE CALLERS GOT\n");
    for order in &run.orders {
        println!("  {} {:42} trace {}  {}", order.status, order.title, order.trace_id, order.body);
    }
    println!("\nWHAT THE ENVIRONMENTS DID\n");
    for function in [&run.api, &run.worker] {
        timeline(function);
    }
    println!("WHAT THE WORKER ANSWERED\n");
    for batch in run.mapping.batches() {
        println!(
            "  {} messages: {} done and deleted, {} reported and delivered again",
            batch.messages.len(),
            batch.deleted.len(),
            batch.failed.len()
        );
    }
    println!("\nWHAT X-RAY SHOWS, WITH THE LOGS BESIDE IT\n");
    let mut logs = logs(run);
    for trace in run.traces.traces() {
        println!("{}", render::waterfall(&trace));
        for line in logs.remove(&trace.id).unwrap_or_default() {
            println!("  log  {line}");
        }
        println!();
    }
}

/// The documents as they are, one a line.
pub(crate) fn documents(run: &Run) {
    for document in run.traces.history() {
        println!("{}", document.raw);
    }
}

fn timeline(function: &Function) {
    let mut environment = 0;
    for event in function.timeline() {
        let Some(text) = word(&event) else { continue };
        if event.environment != environment {
            environment = event.environment;
            println!("  {} · environment {environment}", function.name());
        }
        println!("  {:>9.1} ms  {text}", event.offset.as_secs_f64() * 1_000.0);
    }
    println!();
}

fn word(event: &TimelineEvent) -> Option<String> {
    Some(match &event.kind {
        EventKind::Spawned { pid, .. } => format!("spawned as process {pid}"),
        EventKind::InitDone { took } => format!("init done, after {:.1} ms", took.as_secs_f64() * 1_000.0),
        EventKind::Thawed => "thawed".to_owned(),
        EventKind::EventOut { .. } => "event out".to_owned(),
        EventKind::ResponseIn { bytes, error, .. } => {
            format!("  {} in, {bytes} bytes: the caller has it", if *error { "error" } else { "answer" })
        }
        EventKind::NextCalled if event.request_id.is_some() => {
            "    work after the response done: next event asked for".to_owned()
        }
        EventKind::Frozen => "frozen".to_owned(),
        kind @ (EventKind::TimedOut | EventKind::Killed | EventKind::Exited { .. } | EventKind::InitError { .. }) => {
            format!("{kind:?}")
        }
        _ => return None,
    })
}

/// Log lines by the trace they belong to.
fn logs(run: &Run) -> BTreeMap<String, Vec<String>> {
    const OF_EVERY_LINE: [&str; 7] = ["timestamp", "level", "message", "target", "requestId", "traceId", "spanId"];
    let mut by_trace: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for function in [&run.api, &run.worker] {
        for line in function.logs().into_iter().filter(|line| line.output != Output::Platform) {
            let Ok(entry) = serde_json::from_str::<Value>(&line.text) else { continue };
            let text = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
            let fields = entry.as_object().into_iter().flatten().filter(|(key, _)| !OF_EVERY_LINE.contains(&key.as_str()));
            let fields: Vec<_> = fields.map(|(key, value)| format!("{key}={value}")).collect();
            let (level, message, span) = (text("level"), text("message"), text("spanId"));
            let shown = format!("{level:5} {} {message} {} span {span}", function.name(), fields.join(" "));
            by_trace.entry(text("traceId")).or_default().push(shown);
        }
    }
    by_trace
}
