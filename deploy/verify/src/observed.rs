//! What callers, the log and X-Ray show of the invocations of a walk.

use crate::{
    acts::Shown,
    metrics::Counted,
    parts::Part,
    target::{Failure, Invoked, Named, Node, Target},
};
use lambda_lifecycle_sandbox::xray::{Document, Kind, Trace};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// One invocation, and all that is shown of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) function: String,
    pub(crate) invoked: Invoked,
    pub(crate) trace: Option<Trace>,
    /// The lines with its request id.
    pub(crate) lines: Vec<Value>,
    /// The documents that it logged as sent.
    pub(crate) sent: Vec<Value>,
}

/// Invocations by their labels.
pub(crate) type Acts = BTreeMap<&'static str, Seen>;

/// Two orders, and all that is shown of them.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// The function that takes them, and their queue.
    pub(crate) api: String,
    pub(crate) queue_url: String,
    /// An order that is shipped, and one that fails at first.
    pub(crate) good: Order,
    pub(crate) late: Order,
    /// The traces in which the worker shipped them.
    pub(crate) worker_traces: Vec<Trace>,
    /// The trace map of the first order.
    pub(crate) map: Vec<Node>,
}

/// An order, its caller's view, and the worker's lines about its message.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) invoked: Invoked,
    pub(crate) trace: Option<Trace>,
    pub(crate) message_id: String,
    pub(crate) lines: Vec<Value>,
}

/// Three movements of one account, the second of which fails until it is moved to the dead-letter queue.
#[derive(Clone, Debug)]
pub(crate) struct Movements {
    /// The function's lines about the account, in the order in which they were written.
    pub(crate) booked: Vec<Value>,
    /// Its lines about the message that fails.
    pub(crate) failed: Vec<Value>,
}

/// A question, and what was seen.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) asked: &'static str,
    pub(crate) seen: String,
}

/// All that is compared. A part that the stack does not have is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) environments: BTreeMap<Part, Acts>,
    /// The metrics of the traced functions.
    pub(crate) counted: Option<Counted>,
    pub(crate) orders: Option<Orders>,
    pub(crate) movements: Option<Movements>,
    pub(crate) questions: Vec<Question>,
}

/// Called with each step.
pub(crate) type Progress<'a> = &'a (dyn Fn(&str) + Sync);

impl Seen {
    /// The span of the invocation.
    pub(crate) fn invocation(&self) -> Option<&Arc<Document>> {
        invocation(self.trace.as_ref()?, &self.function)
    }

    /// A line of the platform, as in `platform.report`.
    pub(crate) fn platform(&self, kind: &str) -> Option<&Value> {
        self.lines.iter().find(|line| line["type"] == kind)
    }

    /// The metrics that it wrote.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(|line| line["_aws"].is_object())
    }
}

/// The span of the invocation of a function in a trace.
pub(crate) fn invocation<'a>(trace: &'a Trace, function: &str) -> Option<&'a Arc<Document>> {
    trace.documents.iter().find(|document| document.kind == Kind::Subsegment && document.name == function)
}

/// Reads what is shown of an invocation, once it is there.
pub(crate) async fn see(
    target: &Target,
    named: &Named,
    invoked: Invoked,
    shown: Shown,
    keeps_running: bool,
) -> Result<Seen, Failure> {
    let has_begun = shown != Shown::Nothing;
    let is_reported = |lines: &[Value]| !has_begun || lines.iter().any(|line| line["type"] == "platform.report");
    let lines = target.lines(named, &invoked.request_id, is_reported).await?;
    let mut seen = Seen { function: named.function.clone(), invoked, trace: None, lines, sent: Vec::new() };
    let trace_id = seen.invoked.trace_id.clone();
    let printed = target.lines(named, &trace_id, |_| true).await?;
    for document in printed.into_iter().filter(|line| line["trace_id"] == trace_id.as_str() && line["id"].is_string()) {
        flatten(document, &mut seen.sent);
    }
    let has_arrived = |trace: &Trace| {
        let is_there = |document: &Value| document["id"].as_str().is_some_and(|id| trace.document(id).is_some());
        let is_over = |span: &Arc<Document>| !span.in_progress || shown == Shown::Unfinished;
        invocation(trace, &named.function).is_some_and(is_over) && seen.sent.iter().all(is_there)
    };
    seen.trace = if seen.invoked.is_sampled && has_begun {
        target.trace_of(&trace_id, has_arrived, keeps_running).await?
    } else {
        target.trace_now(&trace_id).await?
    };
    Ok(seen)
}

/// A document and those that are nested in it, each by itself.
fn flatten(mut document: Value, documents: &mut Vec<Value>) {
    let nested = document.as_object_mut().and_then(|fields| fields.remove("subsegments"));
    documents.push(document);
    for document in nested.as_ref().and_then(Value::as_array).into_iter().flatten() {
        flatten(document.clone(), documents);
    }
}
