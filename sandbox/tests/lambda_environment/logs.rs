//! Lambda's own lines in a function's log.

use crate::support::{Outcome, SHORT, echo, ensure, ensure_eq, event, invoke, printed, probe, trial};
use lambda_lifecycle_sandbox::{
    Event, Invoke,
    function::{Function, Output, TraceMode},
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("lambdas_lines_surround_an_invocation_and_tell_its_cost", start_end_report),
        trial("lambdas_lines_name_a_sampled_trace_only", trace),
        trial("lambdas_lines_tell_a_timeout_an_exit_and_an_error", failures),
        trial("lambdas_lines_tell_an_init_that_failed", init),
        trial("lambdas_lines_bill_restores_and_leave_init_ahead_of_requests_out", ahead),
        trial("lambdas_lines_are_json_where_the_log_format_is", as_json),
        trial("lambdas_lines_of_concurrent_invocations_are_all_there", concurrent),
    ]
}

fn platform(function: &Function) -> Vec<String> {
    let lines = function.logs().into_iter().filter(|line| line.output == Output::Platform);
    lines.map(|line| line.text).collect()
}

/// The number between a title and its unit.
fn number(line: &str, title: &str) -> Result<f64, Failed> {
    let column = line.split('\t').find_map(|column| column.strip_prefix(title)?.strip_prefix(": "));
    let value = column.and_then(|column| column.split(' ').next());
    Ok(value.ok_or_else(|| format!("no {title} in {line}"))?.parse()?)
}

fn last(function: &Function) -> Result<String, Failed> {
    platform(function).pop().ok_or_else(|| "no line".into())
}

async fn start_end_report() -> Outcome {
    let function = probe("").memory(256).build().await;
    let answer = invoke(&function, json!({ "print": "from the function" })).await;
    function.wait_frozen().await;
    printed(&function, "from the function").await;
    let lines = platform(&function);
    let id = &answer.request_id;
    ensure_eq(
        lines[..3].to_vec(),
        [
            "INIT_START Runtime Version: provided:al2023".to_owned(),
            format!("START RequestId: {id} Version: $LATEST"),
            format!("END RequestId: {id}"),
        ],
    )?;
    let report = &lines[3];
    ensure(report.starts_with(&format!("REPORT RequestId: {id}\t")), report)?;
    let (took, init) = (number(report, "Duration")?, number(report, "Init Duration")?);
    let billed = number(report, "Billed Duration")?;
    ensure(billed >= took + init - 0.02 && billed < took + init + 1.02, report)?;
    ensure_eq(number(report, "Memory Size")?, 256.0)?;
    ensure(number(report, "Max Memory Used")? > 0.0, report)?;
    invoke(&function, echo("warm")).await;
    function.wait_frozen().await;
    ensure(!last(&function)?.contains("Init Duration"), "no Init in the second report")
}

async fn trace() -> Outcome {
    let traced = probe("").trace_mode(TraceMode::Active).build().await;
    let trace_header = Some("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1".to_owned());
    traced.invoke(Event { payload: "{}".into(), trace_header, ..Event::default() }).await;
    traced.wait_frozen().await;
    let line = last(&traced)?;
    ensure(line.contains("\tXRAY TraceId: 1-5759e988-bd862e3fe1be46a994272793\tSegmentId: "), &line)?;
    let untraced = probe("").trace_mode(TraceMode::PassThrough).build().await;
    invoke(&untraced, echo("hello")).await;
    untraced.wait_frozen().await;
    ensure(!last(&untraced)?.contains("XRAY"), "not traced")
}

async fn failures() -> Outcome {
    for (task, status, before) in [
        (json!({ "hang": true }), "\tStatus: timeout", "Task timed out after 0.30 seconds"),
        (json!({ "exit": 3 }), "\tStatus: error\tError Type: Runtime.ExitError", "Runtime exited with error: exit status 3"),
        (json!({ "error": "no" }), "\tStatus: error\tError Type: ", "START RequestId"),
    ] {
        let timeout = task.to_string().contains("hang").then_some(SHORT);
        let function = probe("").build().await;
        function.invoke(Event { timeout, ..event(&task) }).await;
        function.wait_idle().await;
        let lines = platform(&function);
        ensure(lines.last().is_some_and(|line| line.contains(status)), format!("{lines:?}"))?;
        ensure(lines[lines.len() - 3].contains(before), format!("{lines:?}"))?;
    }
    Ok(())
}

async fn init() -> Outcome {
    let function = probe("init-hang").init_limit(Duration::from_millis(100)).timeout(Duration::from_millis(200)).build().await;
    invoke(&function, json!(null)).await;
    let lines = platform(&function);
    let reports: Vec<_> = lines.iter().filter(|line| line.starts_with("INIT_REPORT")).collect();
    ensure_eq(reports.len(), 2)?;
    ensure(reports[0].ends_with("ms\tPhase: init\tStatus: timeout"), reports[0])?;
    ensure(reports[1].ends_with("ms\tPhase: invoke\tStatus: timeout"), reports[1])?;
    let function = probe("init-error").build().await;
    ensure(function.warm_up().await.is_err(), "Init fails")?;
    ensure(last(&function)?.ends_with("\tStatus: error\tError Type: Probe.NoDatabase"), last(&function)?)
}

async fn ahead() -> Outcome {
    for (kind, restore) in [("provisioned-concurrency", false), ("snap-start", true)] {
        let function = probe("").initialization_type(kind).build().await;
        function.warm_up().await?;
        invoke(&function, echo("hello")).await;
        function.wait_frozen().await;
        let line = last(&function)?;
        ensure(!line.contains("Init Duration"), &line)?;
        ensure_eq(number(&line, "Restore Duration").is_ok(), restore)?;
    }
    Ok(())
}

async fn as_json() -> Outcome {
    let function = probe("").log_format("JSON").build().await;
    let answer = invoke(&function, json!({ "error": "no" })).await;
    function.wait_frozen().await;
    let lines: Vec<Value> = platform(&function).iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;
    let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap_or_default()).collect();
    ensure_eq(kinds, ["platform.initStart", "platform.start", "platform.report"])?;
    ensure_eq(lines[1]["record"].clone(), json!({ "requestId": answer.request_id, "version": "$LATEST" }))?;
    let report = &lines[2]["record"];
    ensure_eq((report["requestId"].as_str(), report["status"].as_str()), (Some(answer.request_id.as_str()), Some("error")))?;
    ensure(report["metrics"]["initDurationMs"].as_f64().is_some_and(|init| init > 0.0), report)?;
    ensure(report["tracing"]["value"].as_str().is_some_and(|value| value.contains(&answer.trace_id)), report)?;
    ensure(lines[0]["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24), &lines[0])
}

async fn concurrent() -> Outcome {
    let function = probe("").managed(4).queue_when_busy().build().await;
    let calls: Vec<_> = (0..8).map(|number| function.invoke(event(&json!({ "answer": number })))).collect();
    for call in calls {
        let id = call.await.request_id;
        // A report is there when the caller has the response.
        let lines = platform(&function);
        let report = lines.iter().find(|line| line.starts_with(&format!("REPORT RequestId: {id}\t"))).ok_or("a report")?;
        ensure(!report.contains("Billed Duration"), "billed by the instance")?;
        ensure(lines.contains(&format!("START RequestId: {id} Version: $LATEST")), "a start")?;
    }
    Ok(())
}
