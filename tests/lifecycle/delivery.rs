//! Responses that Lambda does not accept.

use crate::{
    behavior::Probe,
    kind::Kind,
    support::{Stage, Tested, all, ensure},
};
use lambda_lifecycle_sandbox::{
    Event, Failure, FunctionResponse,
    function::{FunctionBuilder, PostFault},
    xray::Document,
};
use libtest_mimic::Failed;
use serde_json::json;
use std::sync::Arc;

pub(crate) async fn too_large(kind: Kind) -> Tested {
    let posted = |function: FunctionBuilder| function.post_fault(PostFault::TooLarge, 8);
    refused(kind, posted, "response_too_large", |failure| *failure == Failure::TooLarge).await
}

pub(crate) async fn late(kind: Kind) -> Tested {
    let posted = |function: FunctionBuilder| function.post_fault(PostFault::Late, 8);
    refused(kind, posted, "late_response", |failure| matches!(failure, Failure::TimedOut { .. })).await
}

pub(crate) async fn otherwise(kind: Kind) -> Tested {
    let posted = |function: FunctionBuilder| function.post_fault(PostFault::Refused, 8);
    let by_lambda =
        |failure: &Failure| matches!(failure, Failure::Function { error_type, .. } if error_type == "Runtime.InvalidResponse");
    refused(kind, posted, "refused_response", by_lambda).await
}

/// As many concurrent invocations as there are workers, all of them refused.
async fn refused(
    kind: Kind,
    posted: fn(FunctionBuilder) -> FunctionBuilder,
    outcome: &'static str,
    by_lambda: fn(&Failure) -> bool,
) -> Tested {
    let stage = kind.stage(Probe::Value, posted).await?;
    // One after the other if the environment runs one at a time, until the faults are used up.
    for _ in 0..8 / kind.at_once {
        for answer in &at_once(&stage, &kind).await? {
            let failure = answer.result.as_ref().err().ok_or("the response was accepted")?;
            ensure(by_lambda(failure), format!("{failure}"))?;
            has_outcome(&stage, &kind, answer, outcome).await?;
        }
    }
    logged(&stage, outcome, 8).await?;
    serves_on(&stage, &kind, 1).await
}

/// A broken connection is reopened, and the response is sent again. If that fails too, the invocation is lost, and on demand
/// Lambda will not send another event to this process.
pub(crate) async fn broken(kind: Kind) -> Tested {
    let stage = kind.stage(Probe::Value, |function| function.post_fault(PostFault::Broken, 2)).await?;
    for answer in at_once(&stage, &kind).await? {
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    }
    serves_on(&stage, &kind, 1).await?;

    let attempts = 5 * kind.at_once;
    let stage = kind.stage(Probe::Value, |function| function.post_fault(PostFault::Broken, attempts)).await?;
    let begun: Vec<_> = (0..kind.at_once).map(|_| stage.begin(Event { payload: "{}".into(), ..Event::default() })).collect();
    logged(&stage, "undelivered_response", kind.at_once).await?;
    if kind.is_managed() {
        // The sandbox still waits for these responses.
        stage.function.expire();
    }
    for begun in begun {
        let answer = begun.answer("an undelivered response").await?;
        ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
        has_outcome(&stage, &kind, &answer, "undelivered_response").await?;
    }
    if kind.is_managed() {
        // The sandbox sends no more events before it has the lost responses.
        return ensure(stage.processes() == 1 && stage.function.pid().is_some(), "the process did not live");
    }
    serves_on(&stage, &kind, 2).await
}

async fn at_once(stage: &Stage, kind: &Kind) -> Result<Vec<FunctionResponse>, Failed> {
    all((0..kind.at_once).map(|_| stage.invoke(json!({})))).await
}

async fn has_outcome(stage: &Stage, kind: &Kind, answer: &FunctionResponse, outcome: &str) -> Tested {
    if !kind.is_traced() {
        return Ok(());
    }
    // On Managed Instances the environment is never frozen, because Lambda waits for the lost response.
    let finished = |document: &Document| document.trace_id == answer.trace_id && document.annotation("outcome").is_some();
    let documents = stage.traces.wait_for(1, finished).await?;
    let is_it = |document: &Arc<Document>| document.fault && document.annotation("outcome") == Some(outcome);
    ensure(documents.iter().all(is_it), format!("{documents:?}"))
}

async fn logged(stage: &Stage, outcome: &str, times: usize) -> Tested {
    stage.wait_for_reports("outcome", times).await?;
    let lines = stage.reported_as("outcome", outcome);
    ensure(lines.len() == times, format!("{lines:?}"))
}

async fn serves_on(stage: &Stage, kind: &Kind, processes: usize) -> Tested {
    for again in at_once(stage, kind).await? {
        ensure(again.result.is_ok(), format!("an invocation after it: {:?}", again.result))?;
    }
    stage.settle().await?;
    stage.documents_are_valid()?;
    ensure(stage.processes() == processes, format!("{} processes", stage.processes()))
}
