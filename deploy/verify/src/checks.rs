//! How each assertion is checked.

use crate::{
    acts::{ACTS, Act, Shown, act_named},
    hops::is_shipped,
    observed::{Acts, Movements, Observed, Order, Orders, Seen},
    parts::Part,
};
use lambda_lifecycle_sandbox::xray::{Document, Trace};
use serde_json::Value;
use std::sync::Arc;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

type Checked = Result<(), String>;

/// The result of an assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    /// With the reason.
    Failed(String),
    /// The stack lacks what it is about.
    Skipped(&'static str),
}

/// Times in the log are rounded to milliseconds.
const ROUNDING_MS: f64 = 2.0;

/// How often a message is received before it is given up: `maxReceiveCount` of the template.
const RECEIVES: usize = 5;

impl From<Checked> for Verdict {
    fn from(checked: Checked) -> Self {
        checked.map_or_else(Self::Failed, |()| Self::Passed)
    }
}

/// Whether a condition holds, and else why not.
fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn traced(observed: &Observed) -> Result<&Acts, String> {
    observed.environments.get(&Part::Traced).ok_or_else(|| "no function was invoked".to_owned())
}

fn seen<'a>(observed: &'a Observed, label: &str) -> Result<&'a Seen, String> {
    traced(observed)?.get(label).ok_or_else(|| format!("{label} was not invoked"))
}

fn act(label: &str) -> Result<&'static Act, String> {
    act_named(label).ok_or_else(|| format!("there is no act {label}"))
}

fn trace(seen: &Seen) -> Result<&Trace, String> {
    seen.trace.as_ref().ok_or_else(|| format!("X-Ray knows no trace {}", seen.invoked.trace_id))
}

fn invocation(seen: &Seen) -> Result<&Arc<Document>, String> {
    seen.invocation().ok_or_else(|| format!("trace {} has no span of the invocation", seen.invoked.trace_id))
}

fn outcome(document: &Document) -> &str {
    document.annotations.get("outcome").and_then(Value::as_str).unwrap_or("missing")
}

/// Whether the trace shows what it must.
fn shown(act: &Act, seen: &Seen) -> Checked {
    let label = act.label;
    match act.shown {
        Shown::Finished(wanted, fault) => {
            let found = invocation(seen)?;
            ensure(outcome(found) == wanted && found.fault == fault, || {
                format!("{label} has the outcome {}, and its fault flag is {}", outcome(found), found.fault)
            })
        }
        Shown::Unfinished => {
            let found = invocation(seen)?;
            ensure(found.in_progress, || format!("the span of {label} is finished: {:?}", found.annotations))
        }
        Shown::Nothing => Ok(()),
    }
}

fn caller_of(observed: &Observed, label: &str) -> Checked {
    act(label)?.check_caller(&seen(observed, label)?.invoked)
}

pub(crate) fn caller(observed: &Observed, label: &str) -> Verdict {
    caller_of(observed, label).into()
}

fn both(observed: &Observed, label: &str) -> Checked {
    caller_of(observed, label)?;
    shown(act(label)?, seen(observed, label)?)
}

pub(crate) fn row(observed: &Observed, label: &str) -> Verdict {
    both(observed, label).into()
}

pub(crate) fn panic(observed: &Observed) -> Verdict {
    let check = || {
        caller_of(observed, "panic")?;
        let next = &seen(observed, "respond-again")?.invoked;
        ensure(next.payload["number"] == 4, || format!("the next invocation was not the fourth of its process: {}", next.shown()))
    };
    check().into()
}

/// The four outcomes whose rows are split into what the caller, the annotation and the flag show.
const SPLIT: [&str; 4] = ["response", "error", "panic", "deadline"];

pub(crate) fn outcomes(observed: &Observed) -> Verdict {
    let check = |label: &str| {
        let Shown::Finished(wanted, _) = act(label)?.shown else { return Ok(()) };
        let found = outcome(invocation(seen(observed, label)?)?);
        ensure(found == wanted, || format!("{label} has the outcome {found}"))
    };
    SPLIT.into_iter().try_for_each(check).into()
}

pub(crate) fn faults(observed: &Observed) -> Verdict {
    let check = |label: &str| {
        let Shown::Finished(_, wanted) = act(label)?.shown else { return Ok(()) };
        let found = invocation(seen(observed, label)?)?.fault;
        ensure(found == wanted, || format!("the fault flag of {label} is {found}"))
    };
    SPLIT.into_iter().try_for_each(check).into()
}

pub(crate) fn hung_work(observed: &Observed) -> Verdict {
    let check = || {
        both(observed, "hung-work")?;
        let spans = trace(seen(observed, "hung-work")?)?.named("after response");
        ensure(spans.first().is_some_and(|span| span.fault), || {
            format!("{} spans of the work, none of them a fault", spans.len())
        })
    };
    check().into()
}

pub(crate) fn panicking_hook(observed: &Observed) -> Verdict {
    let check = || {
        both(observed, "panicking-hook")?;
        let lines = &seen(observed, "panicking-hook")?.lines;
        let has = |key: &str, value: &str| lines.iter().any(|line| line[key] == value);
        ensure(has("code", "hook_panicked"), || "the log has no hook_panicked".to_owned())?;
        ensure(has("message", "the next hook ran"), || "the next hook did not run".to_owned())
    };
    check().into()
}

pub(crate) fn in_progress(observed: &Observed) -> Verdict {
    let check = |act: &Act| match traced(observed)?.get(act.label) {
        Some(seen) => act.check_caller(&seen.invoked).and_then(|()| shown(act, seen)),
        // No function of this stack has a limit of memory.
        None if act.label == "memory" => Ok(()),
        None => Err(format!("{} was not invoked", act.label)),
    };
    ACTS.iter().filter(|act| act.shown == Shown::Unfinished).try_for_each(check).into()
}

pub(crate) fn init_spans(observed: &Observed) -> Verdict {
    let check = || {
        let found = trace(seen(observed, "response")?)?.named("init outcomes").len();
        ensure(found == 1, || format!("the trace of a cold start has {found} spans of the initializer"))
    };
    check().into()
}

pub(crate) fn after_response(observed: &Observed) -> Verdict {
    let check = || {
        let trace = trace(seen(observed, "after-response")?)?;
        let segment = trace.documents.iter().find(|document| document.origin.as_deref() == Some("AWS::Lambda"));
        let responded = segment.and_then(|segment| segment.end).ok_or("Lambda's segment is missing or unfinished")?;
        let work =
            trace.named("work").first().and_then(|work| work.end).ok_or("the span of the work is missing or unfinished")?;
        ensure(work > responded, || format!("the work ended {:.0} ms before the response", (responded - work) * 1e3))
    };
    check().into()
}

fn moment(text: &Value) -> Result<OffsetDateTime, String> {
    let text = text.as_str().ok_or("a log line has no time")?;
    OffsetDateTime::parse(text, &Rfc3339).map_err(|error| format!("{text}: {error}"))
}

/// A metric of Lambda's report, in milliseconds.
pub(crate) fn reported(seen: &Seen, metric: &str) -> Option<f64> {
    seen.platform("platform.report")?["record"]["metrics"][metric].as_f64()
}

pub(crate) fn billed(observed: &Observed) -> Verdict {
    let check = || {
        let seen = seen(observed, "billed")?;
        let start = seen.platform("platform.start").ok_or("the log has no platform.start")?;
        let billed = reported(seen, "billedDurationMs").ok_or("the log has no platform.report with a billed duration")?;
        let done = seen.lines.iter().find(|line| line["message"] == "work is done");
        let done = done.ok_or("the log does not say that the work is done")?;
        let took = (moment(&done["timestamp"])? - moment(&start["time"])?).as_seconds_f64() * 1e3;
        ensure(billed + ROUNDING_MS >= took, || format!("{billed} ms are billed, but the work was done after {took:.0} ms"))
    };
    check().into()
}

pub(crate) fn billed_without(observed: &Observed) -> Verdict {
    let check = || {
        let seen = seen(observed, "respond-again")?;
        let billed = reported(seen, "billedDurationMs").ok_or("the log has no platform.report with a billed duration")?;
        let took = reported(seen, "durationMs").ok_or("the report has no duration")?;
        ensure(billed <= took.ceil() + ROUNDING_MS, || {
            format!("{billed} ms are billed of a warm invocation that took {took} ms")
        })?;
        let work = seen.metrics().find_map(|line| line["AfterResponseDuration"].as_f64());
        ensure(work.is_none(), || format!("{work:?} ms of work after the response are measured"))
    };
    check().into()
}

pub(crate) fn times(observed: &Observed) -> Verdict {
    let check = || {
        let mut measured = 0;
        for (label, seen) in traced(observed)? {
            let waited = seen.invoked.waited.as_secs_f64() * 1e3;
            for handler in seen.metrics().filter_map(|line| line["HandlerDuration"].as_f64()) {
                measured += 1;
                let took = reported(seen, "durationMs").ok_or_else(|| format!("the log has no platform.report of {label}"))?;
                let most = took.min(waited) + ROUNDING_MS;
                ensure(handler <= most, || {
                    format!(
                        "the handler of {label} took {handler} ms, the invocation {took} ms, and the caller waited {waited:.1} ms"
                    )
                })?;
            }
        }
        ensure(measured > 0, || "no function measured its handler: is the namespace of metrics set?".to_owned())
    };
    check().into()
}

pub(crate) fn sent(observed: &Observed) -> Verdict {
    let check = || {
        let mut documents = 0;
        for (label, seen) in traced(observed)? {
            documents += seen.sent.len();
            let is_shown = |document: &Value| {
                let found = document["id"].as_str().and_then(|id| seen.trace.as_ref()?.document(id));
                found.is_some_and(|found| document["name"] == found.name.as_str())
            };
            let lost: Vec<&Value> =
                seen.sent.iter().filter(|document| !is_shown(document)).map(|document| &document["name"]).collect();
            ensure(lost.is_empty(), || format!("X-Ray does not show these documents of {label}: {lost:?}"))?;
        }
        ensure(documents > 0, || "no function logged a document: is LAMBDA_LIFECYCLE_TRACE_PRINT on?".to_owned())
    };
    check().into()
}

pub(crate) fn log(observed: &Observed) -> Verdict {
    let check = || {
        let seen = seen(observed, "response")?;
        let line = seen.lines.iter().find(|line| line["message"] == "responding");
        let line = line.ok_or_else(|| format!("no line of the function has the request id {}", seen.invoked.request_id))?;
        ensure(line["traceId"] == seen.invoked.trace_id.as_str(), || format!("the trace id is {}", line["traceId"]))
    };
    check().into()
}

pub(crate) fn metrics(observed: &Observed) -> Verdict {
    let check = |act: &Act| {
        // A process that SIGTERM ends has little time for its last lines.
        let Shown::Finished(wanted, _) = act.shown else { return Ok(()) };
        let Some(seen) = traced(observed)?.get(act.label).filter(|_| act.label != "shut-down") else { return Ok(()) };
        // The outcomes of other rows are asserted with the rows.
        let wanted = if SPLIT.contains(&act.label) { wanted } else { outcome(invocation(seen)?) };
        let found: Vec<&str> = seen.metrics().filter_map(|line| line["outcome"].as_str()).collect();
        ensure(found == [wanted], || format!("the metrics of {} have the outcomes {found:?} instead of {wanted}", act.label))
    };
    ACTS.iter().try_for_each(check).into()
}

pub(crate) fn metrics_found(observed: &Observed) -> Verdict {
    let check = || {
        let counted = observed.counted.as_ref().ok_or("CloudWatch was not asked")?;
        ensure(!counted.written.is_empty(), || "no function wrote metrics: is their namespace set?".to_owned())?;
        counted.written.iter().try_for_each(|(metric, written)| {
            let found = counted.found.get(metric).copied().unwrap_or_default();
            ensure(found == *written, || format!("{written} values of {metric} were written, and CloudWatch has {found}"))
        })
    };
    check().into()
}

/// What callers get in an environment; on Managed Instances, what the trace shows too.
pub(crate) fn environment(observed: &Observed, part: Part) -> Verdict {
    let Some(acts) = observed.environments.get(&part) else { return Verdict::Skipped("the stack has no such function") };
    let check = |act: &Act| {
        let Some(seen) = acts.get(act.label) else { return Ok(()) };
        act.check_caller(&seen.invoked)?;
        if part == Part::Managed { shown(act, seen) } else { Ok(()) }
    };
    ACTS.iter().try_for_each(check).into()
}

pub(crate) fn silent(observed: &Observed) -> Verdict {
    let check = || {
        let acts = observed.environments.get(&Part::NotSampled).ok_or("no function was invoked")?;
        for (label, seen) in acts {
            let names: Vec<&str> =
                seen.trace.iter().flat_map(|trace| &trace.documents).map(|found| found.name.as_str()).collect();
            ensure(seen.sent.is_empty() && names.is_empty(), || {
                format!("{label} logged {} documents as sent, and X-Ray shows {names:?}", seen.sent.len())
            })?;
        }
        Ok(())
    };
    check().into()
}

fn with_orders(observed: &Observed, check: impl FnOnce(&Orders) -> Checked) -> Verdict {
    observed.orders.as_ref().ok_or_else(|| "no orders were placed".to_owned()).and_then(check).into()
}

pub(crate) fn sqs_node(observed: &Observed) -> Verdict {
    with_orders(observed, |orders| {
        let id = &orders.good.invoked.trace_id;
        let trace = orders.good.trace.as_ref().ok_or_else(|| format!("X-Ray knows no trace {id}"))?;
        let calls = trace.named("SQS");
        let call = calls.first().ok_or("the trace has no call to SQS")?;
        let has = |key: &str, value: &str| call.aws.get(key).is_some_and(|found| found == value);
        let is_complete = has("operation", "SendMessage") && has("queue_url", &orders.queue_url);
        ensure(is_complete, || format!("the call has the fields {:?}", call.aws))
    })
}

pub(crate) fn sqs_map(observed: &Observed) -> Verdict {
    with_orders(observed, |orders| {
        let queue = orders.map.iter().find(|node| node.kind.starts_with("AWS::SQS"));
        let queue = queue.ok_or_else(|| format!("the map has no queue: {:?}", orders.map))?;
        let is_called = orders.map.iter().any(|node| node.name == orders.api && node.calls.contains(&queue.id));
        ensure(is_called, || format!("{} does not call {}: {:?}", orders.api, queue.name, orders.map))
    })
}

pub(crate) fn links(observed: &Observed) -> Verdict {
    with_orders(observed, |orders| {
        let segments = orders.worker_traces.iter().flat_map(|trace| &trace.documents);
        let linked: Vec<&str> = segments
            .filter(|document| document.origin.as_deref() == Some("AWS::Lambda"))
            .flat_map(|segment| &segment.links)
            .map(|link| link.trace_id.as_str())
            .collect();
        let sender = orders.good.invoked.trace_id.as_str();
        ensure(linked.contains(&sender), || format!("no link to {sender} among {linked:?}"))
    })
}

fn shipped(order: &Order) -> usize {
    order.lines.iter().filter(|line| is_shipped(line)).count()
}

pub(crate) fn partial_batch(observed: &Observed) -> Verdict {
    with_orders(observed, |orders| {
        let times = shipped(&orders.good);
        ensure(times == 1, || format!("message {} was shipped {times} times", orders.good.message_id))
    })
}

pub(crate) fn redelivery(observed: &Observed) -> Verdict {
    with_orders(observed, |orders| {
        let late = &orders.late;
        let failed = failures(&late.lines).count();
        ensure(failed >= 1 && shipped(late) == 1, || {
            format!("message {} failed {failed} times, and was shipped {} times", late.message_id, shipped(late))
        })
    })
}

fn failures(lines: &[Value]) -> impl Iterator<Item = &Value> {
    lines.iter().filter(|line| line["code"] == "message_failed")
}

pub(crate) fn fifo_order(observed: &Observed) -> Verdict {
    let Some(Movements { booked, failed }) = &observed.movements else {
        return Verdict::Skipped("the stack has no FIFO queue");
    };
    let check = || {
        let [_, second] = booked.as_slice() else {
            return Err(format!("{} movements were booked instead of two", booked.len()));
        };
        let failures: Vec<&Value> = failures(failed).collect();
        ensure(failures.len() >= RECEIVES, || format!("the movement that fails was tried {} times", failures.len()))?;
        let last = failures[failures.len() - 1];
        ensure(moment(&last["timestamp"])? <= moment(&second["timestamp"])?, || {
            "a movement was booked before the one that failed was given up".to_owned()
        })
    };
    check().into()
}
