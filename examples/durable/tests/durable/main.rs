//! Durable executions with real processes, against a service that stores their state: this binary is both the tests and, where `PROBE`
//! names one, the function.

mod correlation;
mod function;
mod service;
#[path = "../../../../tests/support/mod.rs"]
mod support;

use function::{Plan, Probe};
use lambda_lifecycle_sandbox::{
    FunctionResponse,
    function::{FunctionBuilder, TraceMode},
    xray::Document,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use service::{EXECUTION, Service};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};
use support::{Stage, Tested, ensure, function_error, test, this_program, value};

/// The waits of [`Plan::Everything`].
const WAITS: usize = 3;
/// The bodies of its steps, and how often each runs.
const BODIES: [(&str, usize); 6] =
    [("branch", 3), ("child after", 1), ("child before", 1), ("first", 1), ("last", 1), ("spawned", 1)];
/// Its lines outside of steps.
const LINES: [(&str, usize); 9] = [
    ("branch begins", 3),
    ("child begins", 1),
    ("child resumed", 1),
    ("handler begins", 1),
    ("handler ends", 1),
    ("handler resumed", 1),
    ("noted once", 1),
    ("reckoned", 2),
    ("step runs", 8),
];

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    let mut tests = vec![
        test("the example is charged in its first invocation and shipped in its second", example),
        test("an execution that fails is a fault, and its invocation has responded", fails),
        test("a step that never ends fails before the timeout, and its retry policy counts", hangs),
        test("a call that records a step is not cut off by the soft deadline", records_late),
        test("a step without a limit ends with its invocation, and nothing counts", hangs_unlimited),
        test("a state in pages is read, and nothing is repeated", pages),
    ];
    for probe in [Probe::Default, Probe::OwnSubscriber] {
        for managed in [false, true] {
            let kind = if managed { "Managed Instances" } else { "on demand" };
            let name = format!("{probe:?}, {kind}: every step and line of four invocations is recorded once, in one trace");
            tests.push(test(name, move || everything(probe, managed)));
        }
        tests.push(test(format!("{probe:?}, not traced: every line of four invocations is written once"), move || lines(probe)));
    }
    support::run([tests, correlation::tests()] as [Vec<Trial>; 2])
}

async fn stage(
    service: &Service,
    program: PathBuf,
    change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
) -> Result<Stage, Failed> {
    let address = service.address().to_owned();
    Stage::of_program(program, |function| change(function.env("AWS_ENDPOINT_URL_LAMBDA", address))).await
}

async fn probe(
    service: &Service,
    probe: Probe,
    change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
) -> Result<Stage, Failed> {
    stage(service, this_program(), |function| change(function.env("PROBE", format!("{probe:?}")))).await
}

/// The invocations' own documents, in their order.
async fn invocations(stage: &Stage, answers: &[FunctionResponse]) -> Result<Vec<Arc<Document>>, Failed> {
    stage.settle().await?;
    let mut found = Vec::new();
    for answer in answers {
        let is_own =
            |document: &Document| document.metadata.values().any(|values| values["faas.invocation_id"] == answer.request_id);
        stage.traces.wait_for(1, |document| is_own(document) && document.annotation("outcome").is_some()).await?;
        found.push(stage.only("the invocation's", is_own)?);
    }
    stage.is_sound()?;
    Ok(found)
}

fn annotations(invocation: &Document, keys: &[&str]) -> Vec<Value> {
    keys.iter().map(|key| invocation.annotations.get(*key).cloned().unwrap_or_default()).collect()
}

/// How often each of the function's own lines was written.
fn written(stage: &Stage) -> BTreeMap<String, usize> {
    let mut written = BTreeMap::new();
    for line in stage.logged("\"executionArn\"") {
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        if line["executionArn"] == EXECUTION && line["target"].as_str().is_some_and(|target| target.starts_with("durable")) {
            *written.entry(line["message"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    written
}

fn expected(counts: &[(&str, usize)]) -> BTreeMap<String, usize> {
    counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

async fn everything(kind: Probe, managed: bool) -> Tested {
    let service = Service::start().await?;
    let stage = probe(&service, kind, |function| if managed { function.managed(4) } else { function }).await?;
    let answers = service.execute(&stage, &json!(Plan::Everything)).await?;
    let responses: Vec<_> = answers.iter().map(|answer| answer.result.clone().unwrap_or_default()).collect();
    ensure(responses.len() == WAITS + 1, format!("{responses:?}"))?;
    ensure(responses[..WAITS].iter().all(|response| &response[..] == br#"{"Status":"PENDING"}"#), format!("{responses:?}"))?;
    let result = json!("first, child before, child after, spawned, last").to_string();
    ensure(value(&answers[WAITS])? == json!({ "Status": "SUCCEEDED", "Result": result }), format!("{:?}", responses[WAITS]))?;

    let own = invocations(&stage, &answers).await?;
    for (index, invocation) in own.iter().enumerate() {
        let keys = ["trigger", "durable_execution_arn", "durable_resumed", "durable_status", "outcome"];
        let status = if index < WAITS { "PENDING" } else { "SUCCEEDED" };
        let wanted = [json!("durable_execution"), json!(EXECUTION), json!(index > 0), json!(status), json!("responded")];
        ensure(annotations(invocation, &keys) == wanted, format!("{index}: {:?}", invocation.annotations))?;
        ensure(!invocation.fault && !invocation.error, format!("{index} is a fault"))?;
        ensure(invocation.trace_id == own[0].trace_id, "the invocations are in several traces")?;
    }
    once(&stage, &service, &own)?;
    ensure(written(&stage) == expected(&LINES), format!("lines: {:?}", written(&stage)))?;
    ensure(stage.problems().is_empty(), stage.problems().join("; "))
}

/// Each step is in the trace once, in the invocation that ran it, and so is the work between them.
fn once(stage: &Stage, service: &Service, own: &[Arc<Document>]) -> Tested {
    let documents = stage.traces.find(|document| document.trace_id == own[0].trace_id);
    let field = |document: &Document, key: &str| {
        let mut values = document.metadata.values().filter_map(|values| values[key].as_str());
        values.next().map(str::to_owned)
    };
    let mut steps: Vec<String> = documents
        .iter()
        .filter(|document| document.name == "durable_operation")
        .filter_map(|document| field(document, "operationId"))
        .collect();
    let mut started = service.steps();
    steps.sort();
    started.sort();
    ensure(started.len() == 8 && steps == started, format!("steps: {steps:?}, started: {started:?}"))?;
    let mut bodies: BTreeMap<String, usize> = BTreeMap::new();
    for body in documents.iter().filter(|document| document.name == "step_body") {
        *bodies.entry(field(body, "step").unwrap_or_default()).or_default() += 1;
        let around = documents.iter().find(|other| body.parent_id.as_ref() == Some(&other.id));
        ensure(around.is_some_and(|around| around.name == "durable_operation"), "a body is not in its step")?;
    }
    ensure(bodies == expected(&BODIES), format!("bodies: {bodies:?}"))?;
    for (name, count) in [("reckon", 2), ("aside", 2)] {
        let found = documents.iter().filter(|document| document.name == name).count();
        ensure(found == count, format!("{found} of {name}"))?;
    }
    // One for each invocation, one for each invocation in which the child did something new, and one for each branch.
    let executions = documents.iter().filter(|document| document.name == "durable_execution").count();
    ensure(executions == WAITS + 1 + 2 + 3, format!("{executions} execution spans"))?;
    // A line at ERROR is a fault of the span around it, and of no other.
    let faults: Vec<&str> = documents.iter().filter(|document| document.fault).map(|document| document.name.as_str()).collect();
    ensure(faults == ["durable_execution"], format!("faults: {faults:?}"))
}

async fn lines(kind: Probe) -> Tested {
    let service = Service::start().await?;
    let stage = probe(&service, kind, |function| function.trace_mode(TraceMode::PassThrough)).await?;
    let answers = service.execute(&stage, &json!(Plan::Everything)).await?;
    stage.settle().await?;
    ensure(answers.len() == WAITS + 1, format!("{} invocations", answers.len()))?;
    ensure(written(&stage) == expected(&LINES), format!("lines: {:?}", written(&stage)))
}

async fn pages() -> Tested {
    let service = Service::start().await?;
    service.send_pages();
    let stage = probe(&service, Probe::Default, |function| function).await?;
    let answers = service.execute(&stage, &json!(Plan::Everything)).await?;
    let own = invocations(&stage, &answers).await?;
    ensure(service.reads() == WAITS, format!("{} reads", service.reads()))?;
    let resumed: Vec<Value> = own.iter().flat_map(|invocation| annotations(invocation, &["durable_resumed"])).collect();
    ensure(resumed == [false, true, true, true].map(Value::from), format!("{resumed:?}"))?;
    once(&stage, &service, &own)?;
    // The calls that read and record the state have the names of their operations.
    for (name, calls) in [("Lambda.GetDurableExecutionState", WAITS), ("Lambda.CheckpointDurableExecution", 1)] {
        let found = stage.traces.find(|document| {
            document.aws.get("operation").is_some_and(|operation| name.ends_with(operation.as_str().unwrap_or("?")))
        });
        ensure(found.len() >= calls, format!("{} calls of {name}", found.len()))?;
    }
    Ok(())
}

async fn fails() -> Tested {
    let service = Service::start().await?;
    let stage = probe(&service, Probe::Default, |function| function).await?;
    let answers = service.execute(&stage, &json!(Plan::Fail)).await?;
    let response = value(&answers[0])?;
    ensure(response["Status"] == "FAILED" && response["Error"]["ErrorMessage"] == "no stock", response.to_string())?;
    let own = invocations(&stage, &answers).await?;
    let wanted = [json!("responded"), json!("FAILED")];
    ensure(annotations(&own[0], &["outcome", "durable_status"]) == wanted, format!("{:?}", own[0].annotations))?;
    ensure(own[0].fault, "the execution failed, and the trace does not show it")
}

async fn hangs() -> Tested {
    let service = Service::start().await?;
    let stage = probe(&service, Probe::Default, |function| {
        function.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "58000").env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "1000")
    })
    .await?;
    let input = json!(Plan::Hang);
    // The grace period is long enough for the call that records the failure, however busy the machine is.
    let first = service.invoke(&stage, &input, Some(DEADLINE)).await?;
    ensure(value(&first)? == json!({ "Status": "PENDING" }), format!("{:?}", first.result))?;
    let step = service.operation("hangs");
    ensure(step["Status"] == "PENDING" && step["StepDetails"]["Attempt"] == 1, step.to_string())?;
    let error = step["StepDetails"]["Error"]["ErrorMessage"].as_str().unwrap_or_default();
    ensure(!error.is_empty(), step.to_string())?;
    let second = service.invoke(&stage, &input, None).await?;
    ensure(value(&second)? == json!({ "Status": "SUCCEEDED", "Result": "\"2\"" }), format!("{:?}", second.result))?;
    ensure(service.actions("hangs") == ["START", "RETRY", "START", "SUCCEED"], format!("{:?}", service.actions("hangs")))?;
    ensure(stage.processes() == 1, "the process was killed")?;
    let own = invocations(&stage, &[first, second]).await?;
    for (invocation, status) in own.iter().zip(["PENDING", "SUCCEEDED"]) {
        let found = annotations(invocation, &["outcome", "durable_status"]);
        ensure(found == [json!("responded"), json!(status)] && !invocation.fault, format!("{:?}", invocation.annotations))?;
    }
    Ok(())
}

async fn records_late() -> Tested {
    let service = Service::start().await?;
    service.wait_for_cancellation();
    let stage = probe(&service, Probe::Default, |function| {
        function.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "58000").env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "1000")
    })
    .await?;
    let answer = service.invoke(&stage, &json!(Plan::RecordLate), Some(DEADLINE)).await?;
    ensure(value(&answer)? == json!({ "Status": "SUCCEEDED", "Result": "\"7\"" }), format!("{:?}", answer.result))?;
    ensure(service.actions("late") == ["START", "SUCCEED"], format!("{:?}", service.actions("late")))
}

/// The soft deadline comes after two seconds, and the hard one 58 seconds later.
const DEADLINE: Duration = Duration::from_secs(61);

async fn hangs_unlimited() -> Tested {
    let service = Service::start().await?;
    let stage = probe(&service, Probe::Default, |function| {
        function.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "100").env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "500")
    })
    .await?;
    let input = json!(Plan::HangUnlimited);
    let answer = service.invoke(&stage, &input, Some(Duration::from_secs(4))).await?;
    ensure(function_error(&answer)?.0 == "Lifecycle.DeadlineExceeded", format!("{:?}", answer.result))?;
    let step = service.operation("hangs");
    ensure(step["StepDetails"]["Attempt"].is_null(), step.to_string())?;
    // On a busy machine the deadline may come before the step.
    let actions = service.actions("hangs");
    ensure(actions.iter().all(|action| action == "START"), format!("{actions:?}"))
}

async fn example() -> Tested {
    let service = Service::start().await?;
    let stage = stage(&service, env!("CARGO_BIN_EXE_durable-example").into(), |function| function).await?;
    let answers = service.execute(&stage, &json!({ "id": 7, "cents": 100 })).await?;
    let statuses: Vec<Value> = answers.iter().filter_map(|answer| Some(value(answer).ok()?["Status"].clone())).collect();
    ensure(statuses == ["PENDING", "SUCCEEDED"], format!("{statuses:?}"))?;
    let own = invocations(&stage, &answers).await?;
    for (name, invocation) in [("charge", &own[0]), ("ship", &own[1])] {
        let step = stage.only(name, |document| document.name == name)?;
        let lineage = std::iter::successors(Some(step), |inner| {
            let around = stage.traces.find(|document| inner.parent_id.as_ref() == Some(&document.id));
            around.into_iter().next()
        });
        let names: Vec<String> =
            lineage.take_while(|document| document.id != invocation.id).map(|document| document.name.clone()).collect();
        ensure(names == [name, "durable_operation", "durable_execution"], format!("{names:?}"))?;
    }
    Ok(())
}
