//! Invokes the functions in every way that is compared, and collects what the caller, the log and X-Ray show of it.

use crate::{
    acts::{ACTS, Act, Class, Shown},
    hops::{self, Movements, Orders},
    questions::{self, Question},
    target::{Environment, Failure, Header, Invoked, Named, Target},
};
use futures_util::future::try_join_all;
use lambda_lifecycle_sandbox::xray::{Document, Kind, Trace};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The parts of a walk, each of which can be observed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// On demand, with active tracing, sampled.
    Traced,
    /// The same, not sampled.
    NotSampled,
    /// On demand, under `PassThrough`, from callers without a trace header.
    PassThrough,
    /// On Managed Instances.
    Managed,
    /// Orders, their queue and their worker.
    Orders,
    /// Movements, their FIFO queue and their worker.
    Movements,
    /// Open questions.
    Questions,
}

/// The environments.
pub(crate) const ENVIRONMENTS: [Part; 4] = [Part::Traced, Part::NotSampled, Part::PassThrough, Part::Managed];

/// All parts, in the order of the walk.
pub(crate) const PARTS: [Part; 7] =
    [Part::Traced, Part::NotSampled, Part::PassThrough, Part::Managed, Part::Orders, Part::Movements, Part::Questions];

impl Part {
    /// Whether functions of this class are in its environment.
    pub(crate) fn has(self, class: Class) -> bool {
        let in_every = matches!(class, Class::Plain | Class::Deadline | Class::CleanUp | Class::HungWork);
        match self {
            Self::Traced | Self::NotSampled => true,
            Self::PassThrough => in_every || class == Class::Blocking,
            Self::Managed => in_every,
            Self::Orders | Self::Movements | Self::Questions => false,
        }
    }

    /// The beginning of the names of its functions in the stack's outputs, if it has separate ones.
    pub(crate) fn output(self) -> Option<&'static str> {
        match self {
            Self::Traced => Some("Outcomes"),
            Self::PassThrough => Some("OutcomesPassThrough"),
            Self::Managed => Some("OutcomesManaged"),
            Self::NotSampled | Self::Orders | Self::Movements | Self::Questions => None,
        }
    }

    /// The trace header of its callers.
    pub(crate) fn header(self) -> Header {
        match self {
            Self::NotSampled => Header::NotSampled,
            Self::PassThrough => Header::None,
            _ => Header::Sampled,
        }
    }
}

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

/// All that is compared. A part that the stack does not have is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) environments: BTreeMap<Part, Acts>,
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

/// Observes these parts of a stack, and leaves the others as they were.
pub(crate) async fn walk(
    target: &Target,
    parts: &[Part],
    observed: &mut Observed,
    progress: Progress<'_>,
) -> Result<(), Failure> {
    for &part in parts {
        match part {
            Part::Orders => observed.orders = Some(hops::orders(target, progress).await?),
            Part::Movements => observed.movements = hops::movements(target, progress).await?,
            Part::Questions => observed.questions = questions::ask(target, observed, progress).await?,
            part => {
                if let Some(environment) = target.environments.iter().find(|environment| environment.part == part) {
                    observed.environments.insert(part, acts(target, environment, progress).await?);
                }
            }
        }
    }
    Ok(())
}

/// Does every act that the environment has a function for: one after the other in each function, and the functions at the same time.
async fn acts(target: &Target, environment: &Environment, progress: Progress<'_>) -> Result<Acts, Failure> {
    let mut of_function: BTreeMap<&str, (&Named, Vec<&Act>)> = BTreeMap::new();
    for act in &ACTS {
        if let Some(named) = environment.functions.get(&act.class) {
            of_function.entry(&named.function).or_insert((named, Vec::new())).1.push(act);
        }
    }
    let invoking = of_function.into_values().map(|(named, acts)| async move {
        let mut invoked = Vec::new();
        for act in acts {
            progress(&format!("invoking {}: {}", named.function, act.label));
            let result = target.invoke(named, act.event, environment.part.header()).await?;
            // A process that keeps running may be ended by the next act before it has sent all of this one.
            if environment.part == Part::Managed {
                see(target, named, result.clone(), act.shown, true).await?;
            }
            invoked.push((act, named, result));
        }
        Ok::<_, Failure>(invoked)
    });
    let invoked = try_join_all(invoking).await?;
    if environment.part == Part::NotSampled {
        // Nothing should arrive, so there is nothing to wait for but the time in which it could.
        tokio::time::sleep(6 * target.pause).await;
    }
    let mut seen = Acts::new();
    for (act, named, invoked) in invoked.into_iter().flatten() {
        progress(&format!("reading log and trace: {}", act.label));
        let seen_act = see(target, named, invoked, act.shown, environment.part == Part::Managed).await?;
        seen.insert(act.label, seen_act);
    }
    Ok(seen)
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
