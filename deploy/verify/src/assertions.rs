//! The assertions, as data: what is asserted, how it is read, and the fault that makes it fail.

use crate::walk::{Observed, Order, Seen, is_shipped};
use lambda_lifecycle_sandbox::xray::{Document, Trace};
use serde_json::Value;
use std::sync::Arc;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Where the fault of an assertion is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The function itself does something else: `PLANTED_FAULT` of `examples/outcomes.rs`.
    Function,
    /// A variable of the function.
    Variable(&'static str, &'static str),
    /// Documents are changed or lost on their way to the daemon.
    Relay,
    /// Lambda's pollers do something else.
    Mapping,
}

/// One assertion.
pub(crate) struct Assertion {
    pub(crate) id: &'static str,
    /// What is asserted.
    pub(crate) claim: &'static str,
    /// How it is read.
    pub(crate) source: &'static str,
    pub(crate) fault: Fault,
    pub(crate) check: fn(&Observed) -> Result<(), String>,
}

/// All assertions, in the order of the report.
pub(crate) const ASSERTIONS: [Assertion; 16] = [
    Assertion {
        id: "response",
        claim: "The caller gets the handler's response.",
        source: "Invoke",
        fault: Fault::Function,
        check: response,
    },
    Assertion {
        id: "error",
        claim: "The caller gets the handler's error.",
        source: "Invoke",
        fault: Fault::Function,
        check: error,
    },
    Assertion {
        id: "panic",
        claim: "A panic reaches the caller as Lifecycle.Panic, and the process serves the next invocation.",
        source: "Invoke",
        fault: Fault::Function,
        check: panic,
    },
    Assertion {
        id: "deadline",
        claim: "The caller gets Lifecycle.DeadlineExceeded before Lambda ends the invocation.",
        source: "Invoke",
        fault: Fault::Function,
        check: deadline,
    },
    Assertion {
        id: "outcomes",
        claim: "The trace names the outcome of each invocation.",
        source: "X-Ray",
        fault: Fault::Relay,
        check: outcomes,
    },
    Assertion {
        id: "faults",
        claim: "Failed invocations are faults in the trace, and no others.",
        source: "X-Ray",
        fault: Fault::Relay,
        check: faults,
    },
    Assertion {
        id: "init-spans",
        claim: "The first invocation of a process has the spans of its initializers.",
        source: "X-Ray",
        fault: Fault::Function,
        check: init_spans,
    },
    Assertion {
        id: "in-progress",
        claim: "An invocation whose process ends is in the trace, unfinished.",
        source: "X-Ray",
        fault: Fault::Variable("LAMBDA_LIFECYCLE_TRACE_IN_PROGRESS", "off"),
        check: in_progress,
    },
    Assertion {
        id: "after-response",
        claim: "Work after the response ends after the caller has its response.",
        source: "X-Ray",
        fault: Fault::Function,
        check: after_response,
    },
    Assertion {
        id: "billed",
        claim: "Work after the response is done before the environment is frozen, and it is billed.",
        source: "CloudWatch Logs",
        fault: Fault::Function,
        check: billed,
    },
    Assertion {
        id: "sent",
        claim: "X-Ray shows every document that a function logged as sent.",
        source: "CloudWatch Logs, X-Ray",
        fault: Fault::Relay,
        check: sent,
    },
    Assertion {
        id: "log",
        claim: "A log line carries the request id and the trace id of its invocation.",
        source: "CloudWatch Logs",
        fault: Fault::Function,
        check: log,
    },
    Assertion {
        id: "sqs-node",
        claim: "The call to SQS is in the sender's trace with the fields that make it a node of the trace map.",
        source: "X-Ray",
        fault: Fault::Relay,
        check: sqs_node,
    },
    Assertion {
        id: "links",
        claim: "Lambda's segment of the worker links to the trace of the sender.",
        source: "X-Ray",
        fault: Fault::Mapping,
        check: links,
    },
    Assertion {
        id: "partial-batch",
        claim: "A message that succeeds is delivered once, although another of its queue fails.",
        source: "CloudWatch Logs",
        fault: Fault::Mapping,
        check: partial_batch,
    },
    Assertion {
        id: "redelivery",
        claim: "A message that fails is delivered again, and then succeeds.",
        source: "CloudWatch Logs",
        fault: Fault::Mapping,
        check: redelivery,
    },
];

/// Whether a condition holds, and else why not.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn act<'a>(observed: &'a Observed, label: &str) -> Result<&'a Seen, String> {
    observed.acts.get(label).ok_or_else(|| format!("{label} was not invoked"))
}

fn trace<'a>(observed: &'a Observed, label: &str) -> Result<&'a Trace, String> {
    let seen = act(observed, label)?;
    seen.trace.as_ref().ok_or_else(|| format!("X-Ray knows no trace {} ({label})", seen.invoked.trace_id))
}

fn invocation<'a>(observed: &'a Observed, label: &str) -> Result<&'a Arc<Document>, String> {
    let seen = act(observed, label)?;
    let function =
        if label == "wait" { seen.trace.as_ref().and_then(name_of).unwrap_or_default() } else { observed.outcomes.clone() };
    let missing = || format!("trace {} ({label}) has no span of the invocation", seen.invoked.trace_id);
    seen.invocation(&function).ok_or_else(missing)
}

/// The function of a trace, which Lambda's segment names.
fn name_of(trace: &Trace) -> Option<String> {
    trace
        .documents
        .iter()
        .find(|document| document.origin.as_deref() == Some("AWS::Lambda::Function"))
        .map(|document| document.name.clone())
}

fn response(observed: &Observed) -> Result<(), String> {
    let invoked = &act(observed, "respond")?.invoked;
    ensure(invoked.function_error.is_none() && invoked.payload["number"] == 1, || format!("the caller got {}", invoked.payload))
}

fn fails_with(observed: &Observed, label: &str, kind: &str, message: &str) -> Result<(), String> {
    let invoked = &act(observed, label)?.invoked;
    let text = |key: &str| invoked.payload[key].as_str().unwrap_or_default().to_owned();
    let fits = text("errorType").contains(kind) && text("errorMessage").contains(message);
    ensure(invoked.function_error.is_some() && fits, || format!("the caller of {label} got {}", invoked.payload))
}

fn error(observed: &Observed) -> Result<(), String> {
    fails_with(observed, "fail", "", "failed as asked")
}

fn panic(observed: &Observed) -> Result<(), String> {
    fails_with(observed, "panic", "Lifecycle.Panic", "panicked as asked")?;
    let next = &act(observed, "respond_again")?.invoked;
    ensure(next.payload["number"] == 4, || format!("the next invocation was not the fourth of its process: {}", next.payload))
}

fn deadline(observed: &Observed) -> Result<(), String> {
    fails_with(observed, "wait", "Lifecycle.DeadlineExceeded", "")
}

fn outcomes(observed: &Observed) -> Result<(), String> {
    for (label, wanted) in [("respond", "responded"), ("fail", "failed"), ("panic", "panicked"), ("wait", "deadline_exceeded")] {
        let found = &invocation(observed, label)?.annotations;
        ensure(found.get("outcome").is_some_and(|outcome| outcome == wanted), || {
            format!("{label} has the annotations {found:?}")
        })?;
    }
    Ok(())
}

fn faults(observed: &Observed) -> Result<(), String> {
    for (label, wanted) in [("respond", false), ("fail", true), ("panic", true), ("wait", true)] {
        let found = invocation(observed, label)?.fault;
        ensure(found == wanted, || format!("the fault flag of {label} is {found}"))?;
    }
    Ok(())
}

fn init_spans(observed: &Observed) -> Result<(), String> {
    let found = trace(observed, "respond")?.named("init outcomes").len();
    ensure(found == 1, || format!("the trace of a cold start has {found} spans of the initializer"))
}

fn in_progress(observed: &Observed) -> Result<(), String> {
    let found = invocation(observed, "abort")?;
    ensure(found.in_progress, || format!("the span is finished: {:?}", found.annotations))
}

fn after_response(observed: &Observed) -> Result<(), String> {
    let trace = trace(observed, "after_response")?;
    let responded =
        trace.documents.iter().find(|document| document.origin.as_deref() == Some("AWS::Lambda")).and_then(|segment| segment.end);
    let responded = responded.ok_or("Lambda's segment is missing or unfinished")?;
    let work = trace.named("work").first().and_then(|work| work.end).ok_or("the span of the work is missing or unfinished")?;
    ensure(work > responded, || format!("the work ended {:.0} ms before the response", (responded - work) * 1e3))
}

fn moment(text: &Value) -> Result<OffsetDateTime, String> {
    let text = text.as_str().ok_or("a log line has no time")?;
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| format!("{text}: {error}"))
}

fn billed(observed: &Observed) -> Result<(), String> {
    let lines = &act(observed, "billed")?.lines;
    let platform = |kind: &str| lines.iter().find(|line| line["type"] == kind).ok_or_else(|| format!("the log has no {kind}"));
    let done = lines.iter().find(|line| line["message"] == "work is done").ok_or("the log does not say that the work is done")?;
    let report = platform("platform.report")?;
    let billed = report["record"]["metrics"]["billedDurationMs"].as_f64().ok_or("the report has no billed duration")?;
    let took = (moment(&done["timestamp"])? - moment(&platform("platform.start")?["time"])?).as_seconds_f64() * 1e3;
    // Both times are rounded to milliseconds.
    ensure(billed + 2.0 >= took, || format!("{billed} ms are billed, but the work was done after {took:.0} ms"))
}

fn sent(observed: &Observed) -> Result<(), String> {
    let mut documents = 0;
    for (label, seen) in &observed.acts {
        documents += seen.sent.len();
        let shown = |document: &Value| {
            let found = document["id"].as_str().and_then(|id| seen.trace.as_ref()?.document(id));
            found.is_some_and(|found| document["name"] == found.name.as_str())
        };
        let lost: Vec<&Value> = seen.sent.iter().filter(|document| !shown(document)).map(|document| &document["name"]).collect();
        ensure(lost.is_empty(), || format!("X-Ray does not show these documents of {label}: {lost:?}"))?;
    }
    ensure(documents > 0, || "no function logged a document: is LAMBDA_LIFECYCLE_TRACE_PRINT on?".to_owned())
}

fn log(observed: &Observed) -> Result<(), String> {
    let seen = act(observed, "respond")?;
    let line = seen.lines.iter().find(|line| line["message"] == "responding");
    let line = line.ok_or_else(|| format!("no line of the function has the request id {}", seen.invoked.request_id))?;
    ensure(line["traceId"] == seen.invoked.trace_id.as_str(), || format!("the trace id is {}", line["traceId"]))
}

fn sqs_node(observed: &Observed) -> Result<(), String> {
    let order = &observed.good;
    let trace = order.trace.as_ref().ok_or_else(|| format!("X-Ray knows no trace {}", order.invoked.trace_id))?;
    let calls = trace.named("SQS");
    let call = calls.first().ok_or("the trace has no call to SQS")?;
    let has = |key: &str, value: &str| call.aws.get(key).is_some_and(|found| found == value);
    let is_node =
        call.namespace.as_deref() == Some("aws") && has("operation", "SendMessage") && has("queue_url", &observed.orders_url);
    ensure(is_node, || format!("the call has the fields {:?}, namespace {:?}", call.aws, call.namespace))
}

fn links(observed: &Observed) -> Result<(), String> {
    let segments = observed.worker_traces.iter().flat_map(|trace| &trace.documents);
    let linked: Vec<&str> = segments
        .filter(|document| document.origin.as_deref() == Some("AWS::Lambda"))
        .flat_map(|segment| &segment.links)
        .map(|link| link.trace_id.as_str())
        .collect();
    let sender = observed.good.invoked.trace_id.as_str();
    ensure(linked.contains(&sender), || format!("no link to {sender} among {linked:?}"))
}

fn shipped(order: &Order) -> usize {
    order.lines.iter().filter(|line| is_shipped(line)).count()
}

fn partial_batch(observed: &Observed) -> Result<(), String> {
    let times = shipped(&observed.good);
    ensure(times == 1, || format!("message {} was shipped {times} times", observed.good.message_id))
}

fn redelivery(observed: &Observed) -> Result<(), String> {
    let late = &observed.late;
    let failed = late.lines.iter().filter(|line| line["code"] == "message_failed").count();
    ensure(failed >= 1 && shipped(late) == 1, || {
        format!("message {} failed {failed} times, and was shipped {} times", late.message_id, shipped(late))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_the_assertions() {
        let page = include_str!("../../../docs/verify.md");
        let rows: Vec<String> = page.lines().filter(|line| line.starts_with("| `")).map(|line| line.replace('`', "")).collect();
        let wanted: Vec<String> = ASSERTIONS
            .iter()
            .map(|assertion| format!("| {} | {} | {} |", assertion.id, assertion.claim, assertion.source))
            .collect();
        assert_eq!(rows, wanted);
    }
}
