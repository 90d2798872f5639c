//! Invokes the functions in every way that is compared, and collects what the caller, the log and X-Ray show of it.

use crate::target::{Failure, Invoked, Target};
use lambda_lifecycle_sandbox::xray::{Document, Kind, Trace};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// One invocation, and all that is shown of it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) invoked: Invoked,
    pub(crate) trace: Option<Trace>,
    /// The lines with its request id.
    pub(crate) lines: Vec<Value>,
    /// The documents that it logged as sent.
    pub(crate) sent: Vec<Value>,
}

/// All that is compared.
#[derive(Debug)]
pub(crate) struct Observed {
    /// The function's name, which is the name of its span.
    pub(crate) outcomes: String,
    pub(crate) acts: BTreeMap<&'static str, Seen>,
    pub(crate) orders_url: String,
    /// An order that is shipped, and one that fails at first.
    pub(crate) good: Order,
    pub(crate) late: Order,
    /// The traces in which the worker shipped them.
    pub(crate) worker_traces: Vec<Trace>,
}

/// An order, its caller's view, and the worker's lines about its message.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) invoked: Invoked,
    pub(crate) trace: Option<Trace>,
    pub(crate) message_id: String,
    pub(crate) lines: Vec<Value>,
}

/// `abort` comes first: the process that it ends makes the next invocation a cold start.
const ACTS: [(&str, &str); 8] = [
    ("abort", "abort"),
    ("respond", "respond"),
    ("fail", "fail"),
    ("panic", "panic"),
    ("respond_again", "respond"),
    ("after_response", "after_response"),
    ("billed", "billed"),
    ("wait", "wait"),
];

impl Seen {
    /// The span of the invocation.
    pub(crate) fn invocation(&self, function: &str) -> Option<&Arc<Document>> {
        invocation(self.trace.as_ref()?, function)
    }
}

fn invocation<'a>(trace: &'a Trace, function: &str) -> Option<&'a Arc<Document>> {
    trace.documents.iter().find(|document| document.kind == Kind::Subsegment && document.name == function)
}

pub(crate) async fn walk(target: &Target, progress: &(dyn Fn(&str) + Sync)) -> Result<Observed, Failure> {
    let mut invoked = Vec::new();
    for (label, act) in ACTS {
        progress(&format!("invoking {}: {label}", target.outcomes.function));
        let function = if act == "wait" { &target.deadline } else { &target.outcomes };
        invoked.push((label, target.invoke(function, &json!({ "act": act })).await?));
    }
    progress("placing two orders");
    let placed = [order(target, "tea").await?, order(target, "kettle").await?];

    let mut acts = BTreeMap::new();
    for (label, invoked) in invoked {
        progress(&format!("reading log and trace: {label}"));
        let function = if label == "wait" { &target.deadline } else { &target.outcomes };
        let is_reported = |lines: &[Value]| lines.iter().any(|line| line["type"] == "platform.report");
        let lines = target.lines(function, &invoked.request_id, is_reported).await?;
        let printed = target.lines(function, &invoked.trace_id, |_| true).await?;
        let mut sent = Vec::new();
        for document in printed.into_iter().filter(|line| line["trace_id"] == invoked.trace_id.as_str() && line["id"].is_string())
        {
            flatten(document, &mut sent);
        }
        let has_arrived = |trace: &Trace| {
            let is_there = |document: &Value| document["id"].as_str().is_some_and(|id| trace.document(id).is_some());
            invocation(trace, &function.function).is_some() && sent.iter().all(is_there)
        };
        let trace = target.trace(&invoked.trace_id, has_arrived).await?;
        acts.insert(label, Seen { invoked, trace, lines, sent });
    }

    let mut orders = Vec::new();
    for (invoked, message_id) in placed {
        progress(&format!("following message {message_id}"));
        let lines = target.lines(&target.worker, &message_id, |lines| lines.iter().any(is_shipped)).await?;
        let trace = target.trace(&invoked.trace_id, |trace| invocation(trace, &target.api.function).is_some()).await?;
        orders.push(Order { invoked, trace, message_id, lines });
    }
    let (Some(late), Some(good)) = (orders.pop(), orders.pop()) else { unreachable!("two orders are placed") };
    let mut worker_traces = Vec::new();
    for line in good.lines.iter().chain(&late.lines).filter(|line| is_shipped(line)) {
        let Some(id) = line["traceId"].as_str() else { continue };
        let is_whole = |trace: &Trace| invocation(trace, &target.worker.function).is_some();
        worker_traces.extend(target.trace(id, is_whole).await?);
    }
    let (outcomes, orders_url) = (target.outcomes.function.clone(), target.orders_url.clone());
    Ok(Observed { outcomes, acts, orders_url, good, late, worker_traces })
}

/// A document and those that are nested in it, each by itself.
fn flatten(mut document: Value, documents: &mut Vec<Value>) {
    let nested = document.as_object_mut().and_then(|fields| fields.remove("subsegments"));
    documents.push(document);
    for document in nested.as_ref().and_then(Value::as_array).into_iter().flatten() {
        flatten(document.clone(), documents);
    }
}

pub(crate) fn is_shipped(line: &Value) -> bool {
    line["message"] == "order shipped"
}

/// Places an order as a function URL would.
async fn order(target: &Target, sku: &str) -> Result<(Invoked, String), Failure> {
    let body = json!({ "sku": sku, "quantity": 1, "card": "none" }).to_string();
    let context = json!({ "http": { "method": "POST", "path": "/orders" }, "stage": "$default" });
    let event = json!({
        "version": "2.0", "rawPath": "/orders", "rawQueryString": "", "headers": { "content-type": "application/json" },
        "requestContext": context, "body": body, "isBase64Encoded": false,
    });
    let invoked = target.invoke(&target.api, &event).await?;
    let accepted: Value = serde_json::from_str(invoked.payload["body"].as_str().unwrap_or_default()).unwrap_or_default();
    match accepted["message_id"].as_str() {
        Some(id) => Ok((invoked, id.to_owned())),
        None => Err(format!("{} did not accept the order: {}", target.api.function, invoked.payload).into()),
    }
}
