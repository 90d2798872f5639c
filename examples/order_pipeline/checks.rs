//! The checks of a run.

use crate::{CARD, Placed, Run};
use lambda_lifecycle_sandbox::{
    function::{EventKind, Function, LogLine, Output},
    sqs::BatchOutcome,
    xray::{Document, Trace},
};
use serde_json::Value;
use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

type Check = (&'static str, fn(&Run) -> Result<(), String>);

const CHECKS: [Check; 12] = [
    ("three orders are accepted, the malformed one is refused", callers_have_their_answers),
    ("the initializers are spans of the first invocation's trace", init_is_in_the_first_trace),
    ("the caller has its response before the work after the response starts", answer_comes_first),
    ("method, route and status of the API are in its document", route_and_status_are_known),
    ("the malformed order's trace is flagged", malformed_is_flagged),
    ("the queue's node hangs on the call that sent the message", queue_hangs_on_the_call),
    ("the worker has a span per message that names and links its producer", messages_name_their_producers),
    ("the call that announces a shipped order hangs on the message of that order", shipped_is_announced),
    ("only the failed message is retried, and then succeeds", one_message_comes_back),
    ("the failed message's span is a fault with its exception", failed_message_is_a_fault),
    ("every document is valid, and every parent exists", documents_are_valid),
    ("no byte of the card is in any datagram, and every log line names its request", nothing_leaks),
];

/// Prints every check; true if one failed.
pub(crate) fn report(run: &Run) -> bool {
    let mut failed = 0;
    eprintln!("CHECKS\n");
    for (name, check) in CHECKS {
        match check(run) {
            Ok(()) => eprintln!("  ok      {name}"),
            Err(why) => {
                failed += 1;
                eprintln!("  FAILED  {name}: {why}");
            }
        }
    }
    eprintln!("\n{} passed, {failed} failed", CHECKS.len() - failed);
    failed > 0
}

fn ensure(holds: bool, otherwise: impl Into<String>) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

fn trace(run: &Run, id: &str) -> Result<Trace, String> {
    run.traces.trace(id).ok_or_else(|| format!("X-Ray has no trace {id}"))
}

fn only<'t>(trace: &'t Trace, what: &str, wanted: impl Fn(&Document) -> bool) -> Result<&'t Arc<Document>, String> {
    let found: Vec<_> = trace.documents.iter().filter(|document| wanted(document)).collect();
    match found.as_slice() {
        [document] => Ok(document),
        others => Err(format!("{} documents instead of one are {what} in trace {}", others.len(), trace.id)),
    }
}

/// Our own document of an invocation: the one below Lambda's that says how it ended.
fn invocation(trace: &Trace) -> Result<&Arc<Document>, String> {
    only(trace, "the invocation", |document| document.annotation("outcome").is_some())
}

fn accepted(run: &Run) -> impl Iterator<Item = &Placed> {
    run.orders.iter().filter(|order| order.status == 202)
}

fn first_event(function: &Function, wanted: impl Fn(&EventKind) -> bool) -> Option<SystemTime> {
    function.timeline().iter().find(|event| wanted(&event.kind)).map(|event| event.at)
}

fn callers_have_their_answers(run: &Run) -> Result<(), String> {
    let statuses: Vec<u16> = run.orders.iter().map(|order| order.status).collect();
    ensure(statuses == [202, 202, 202, 422], format!("{statuses:?}"))
}

fn init_is_in_the_first_trace(run: &Run) -> Result<(), String> {
    let first = trace(run, &run.orders[0].trace_id)?;
    let root = invocation(&first)?;
    for (setup, inner) in [("init prices", Some("load prices")), ("init queue", None)] {
        let setup = only(&first, setup, |document| document.name == setup)?;
        ensure(setup.parent_id.as_deref() == Some(root.id.as_str()), "an initializer has another parent")?;
        ensure(setup.end.is_some_and(|end| end <= root.start), "an initializer ended after the invocation began")?;
        if let Some(inner) = inner {
            let inner = only(&first, inner, |document| document.name == inner)?;
            ensure(inner.parent_id.as_deref() == Some(setup.id.as_str()), "the span inside the initializer has another parent")?;
        }
    }
    ensure(root.annotations.get("cold_start") == Some(&Value::Bool(true)), "the first invocation is not a cold start")?;
    let later = trace(run, &run.orders[1].trace_id)?;
    ensure(invocation(&later)?.annotations.get("cold_start") == Some(&Value::Bool(false)), "the second one is a cold start")
}

fn answer_comes_first(run: &Run) -> Result<(), String> {
    let answered = first_event(&run.api, |kind| matches!(kind, EventKind::ResponseIn { .. })).ok_or("no answer")?;
    let answered = answered.duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs_f64();
    let first = trace(run, &run.orders[0].trace_id)?;
    let after = only(&first, "after the response", |document| document.name == "after response")?;
    let work = only(&first, "the work", |document| document.name == "remember demand")?;
    ensure(work.parent_id.as_deref() == Some(after.id.as_str()), "the work hangs elsewhere")?;
    // The sandbox records the response some microseconds after the function has sent it.
    ensure(
        work.end.is_some_and(|end| end > answered),
        format!("the work ended at {:?}, the response was posted at {answered}", work.end),
    )?;
    ensure(after.start > invocation(&first)?.end.unwrap_or(f64::MAX), "the work started before the response was posted")
}

fn route_and_status_are_known(run: &Run) -> Result<(), String> {
    for order in &run.orders {
        let trace = trace(run, &order.trace_id)?;
        let document = invocation(&trace)?;
        let http = document.http.clone().unwrap_or_default();
        ensure(http.status == Some(order.status), format!("status {:?} for {}", http.status, order.title))?;
        ensure(http.method.as_deref() == Some("POST"), format!("method {:?}", http.method))?;
        ensure(document.annotation("route") == Some("POST /orders"), format!("route {:?}", document.annotation("route")))?;
    }
    Ok(())
}

fn malformed_is_flagged(run: &Run) -> Result<(), String> {
    let refused = run.orders.iter().find(|order| order.status == 422).ok_or("no order was refused")?;
    let trace = trace(run, &refused.trace_id)?;
    let document = invocation(&trace)?;
    ensure(document.error && !document.fault, format!("error {}, fault {}", document.error, document.fault))
}

fn queue_hangs_on_the_call(run: &Run) -> Result<(), String> {
    for order in accepted(run) {
        let trace = trace(run, &order.trace_id)?;
        let call = only(&trace, "the SQS call", |document| document.name == "SQS")?;
        ensure(call.namespace.as_deref() == Some("aws"), "its namespace is not aws")?;
        for key in ["operation", "queue_url", "region", "request_id"] {
            ensure(call.aws.get(key).is_some_and(Value::is_string), format!("no {key} in its aws block"))?;
        }
        ensure(call.aws["operation"] == "SendMessage", "its operation is another")?;
        ensure(call.parent_id.as_deref() == Some(invocation(&trace)?.id.as_str()), "it hangs elsewhere")?;
    }
    Ok(())
}

/// The spans of the messages, in all the worker's traces.
fn messages(run: &Run) -> Vec<Arc<Document>> {
    run.traces.find(|document| document.annotation("message_id").is_some())
}

fn messages_name_their_producers(run: &Run) -> Result<(), String> {
    for order in accepted(run) {
        let id = order.message_id().ok_or("the caller got no message id")?;
        let handled: Vec<_> = messages(run).into_iter().filter(|span| span.annotation("message_id") == Some(&id)).collect();
        ensure(!handled.is_empty(), format!("no span for the message of {}", order.title))?;
        let producer = trace(run, &order.trace_id)?;
        let call = only(&producer, "the SQS call", |document| document.name == "SQS")?;
        for span in handled {
            ensure(span.name == "process", format!("named {}", span.name))?;
            ensure(span.annotation("producer_trace_id") == Some(&order.trace_id), "another producer is named")?;
            let linked = span.links.iter().any(|link| link.trace_id == order.trace_id && link.id == call.id);
            ensure(linked && span.links.len() == 1, format!("links {:?}", span.links))?;
            ensure(span.trace_id != order.trace_id, "the worker has no separate trace")?;
        }
    }
    let batch = run.traces.find(|document| document.name == "process orders");
    let links = batch.iter().map(|batch| batch.links.len()).max();
    ensure(links == Some(3), format!("the batch of three producers has {links:?} links"))
}

fn shipped_is_announced(run: &Run) -> Result<(), String> {
    let mut handled: Vec<String> = messages(run).iter().filter(|span| !span.fault).map(|span| span.id.clone()).collect();
    let calls = run.traces.find(|document| document.name == "SNS" && !document.in_progress);
    let mut callers: Vec<String> = calls.iter().filter_map(|call| call.parent_id.clone()).collect();
    handled.sort();
    callers.sort();
    ensure(handled.len() == 3 && callers == handled, format!("messages {handled:?}, calls from {callers:?}"))?;
    let well = |call: &Document| {
        call.namespace.as_deref() == Some("aws") && call.aws.get("operation").is_some_and(|name| name == "Publish")
    };
    ensure(calls.iter().all(|call| well(call) && !call.fault && !call.error), "a call failed, or is another")
}

fn one_message_comes_back(run: &Run) -> Result<(), String> {
    let kettle = run.orders[1].message_id().ok_or("the kettle has no message")?;
    let batches = run.mapping.batches();
    let [first, second] = batches.as_slice() else { return Err(format!("{} batches instead of two", batches.len())) };
    ensure(first.messages.len() == 3, format!("the first batch has {} messages", first.messages.len()))?;
    ensure(first.outcome == BatchOutcome::Partial && first.failed == [kettle.clone()], format!("failed {:?}", first.failed))?;
    ensure(second.messages == [kettle] && second.outcome == BatchOutcome::Succeeded, "the kettle was not processed then")
}

fn failed_message_is_a_fault(run: &Run) -> Result<(), String> {
    let kettle = run.orders[1].message_id().ok_or("the kettle has no message")?;
    let spans: Vec<_> = messages(run).into_iter().filter(|span| span.annotation("message_id") == Some(&kettle)).collect();
    let faults: Vec<bool> = spans.iter().map(|span| span.fault).collect();
    ensure(faults == [true, false], format!("faults of its two deliveries: {faults:?}"))?;
    let told = spans[0].exceptions().iter().any(|exception| exception.message.as_deref() == Some("no kettle in stock"));
    ensure(told, format!("exceptions {:?}", spans[0].exceptions()))?;
    let others = messages(run).iter().filter(|span| span.fault).count();
    ensure(others == 1, format!("{others} messages are faults"))
}

fn documents_are_valid(run: &Run) -> Result<(), String> {
    let problems: Vec<String> = run.traces.check().iter().map(ToString::to_string).collect();
    ensure(problems.is_empty(), problems.join("; "))?;
    let unfinished = run.traces.find(|document| document.in_progress).len();
    ensure(unfinished == 0, format!("{unfinished} documents are unfinished"))
}

fn nothing_leaks(run: &Run) -> Result<(), String> {
    let datagrams = run.traces.datagrams();
    ensure(!datagrams.is_empty(), "no datagram at all")?;
    let leak = datagrams.iter().find(|datagram| String::from_utf8_lossy(datagram).contains(CARD));
    ensure(leak.is_none(), format!("{leak:?}"))?;
    for function in [&run.api, &run.worker] {
        let own = |line: &LogLine| line.output != Output::Platform;
        let lines: Vec<_> = function.logs().into_iter().filter(own).collect();
        ensure(!lines.is_empty(), format!("{} logged nothing", function.name()))?;
        for line in lines {
            let entry: Value = serde_json::from_str(&line.text).map_err(|error| format!("{error}: {}", line.text))?;
            ensure(entry["requestId"].is_string() && entry["traceId"].is_string(), format!("no ids in {}", line.text))?;
        }
    }
    Ok(())
}
