//! The contents of a trace, and its destinations.

use crate::{
    behavior::{Do, Probe},
    kind::KINDS,
    support::{Stage, Tested, all, ensure, test, value},
};
use lambda_lifecycle_sandbox::{
    function::{FunctionBuilder, TraceMode},
    xray::{Document, Problem},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("ten thousand spans that end at once end", chain),
        test("a thread may make spans when it ends, and drop those it held", spans_at_thread_end),
        test("a span with an explicit parent that is none belongs to the invocation", explicit_parent),
        test("Managed Instances: spans of invocations at once are each in their own trace", side_by_side),
        test("a malformed trace header does no harm", malformed_header),
        test("the trace header is sent on unchanged if nothing is recorded", header_handed_on),
        test("of 10,000 spans none is lost silently", ten_thousand_spans),
        test("the invocation's document has the number of spans beyond the budget", beyond_the_budget),
        test(
            "Managed Instances: if spans are created faster than they can be sent, those of whole invocations are left out and counted",
            backlog,
        ),
        test("an error logged outside of any span is an exception of the invocation", logged_errors),
        test("of many logged errors the invocation keeps some, counts the others, and its own comes first", many_logged_errors),
        test("PassThrough in both forms, and not sampled: one line says that nothing is recorded", not_sampled),
        test("a sampled Root without a Parent is recorded as a segment", without_parent),
        test("LAMBDA_LIFECYCLE_TRACE=off sends nothing, and the header is sent on", trace_off),
        test("LAMBDA_LIFECYCLE_TRACE_EXPORT=stdout prints the documents", stdout),
        test("LAMBDA_LIFECYCLE_TRACE_IN_PROGRESS=off sends one document an invocation", not_announced),
    ]
}

/// Invokes a function with this behavior, and once more in the same process.
pub(crate) async fn lives(what: Do) -> Result<Stage, libtest_mimic::Failed> {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let answer = stage.invoke(what).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    ensure(stage.invoke(json!({})).await?.result.is_ok() && stage.processes() == 1, "the process did not live")?;
    Ok(stage)
}

async fn chain() -> Tested {
    lives(Do::ChainSpans).await.map(drop)
}

async fn spans_at_thread_end() -> Tested {
    let stage = lives(Do::SpansAtEndOfThreads).await?;
    ensure(!stage.logged("an event at the end").is_empty(), "it is not logged")?;
    stage.settle().await?;
    stage.documents_are_valid()
}

async fn explicit_parent() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let answer = stage.invoke(Do::ExplicitParent).await?;
    let document = stage.document(&answer).await?;
    let spans = stage.traces.find(|span| span.name == "explicit");
    ensure(spans.len() == 1 && spans[0].parent_id.as_ref() == Some(&document.id), format!("{spans:?}"))?;
    let inner = stage.traces.find(|span| span.name == "careless");
    ensure(inner.len() == 1 && inner[0].parent_id.as_ref() == Some(&spans[0].id), format!("{inner:?}"))
}

async fn side_by_side() -> Tested {
    let stage = KINDS[3].stage(Probe::Value, |function| function).await?;
    let answers = all((0..24).map(|_| stage.invoke(Do::Log.then_work("work")))).await?;
    for answer in &answers {
        let document = stage.finished_document(answer).await?;
        let work = stage.traces.find(|span| span.trace_id == answer.trace_id && span.name == "work");
        ensure(work.len() == 1 && work[0].parent_id.as_ref() == Some(&document.id), format!("{work:?}"))?;
        let lines = stage.logged("the user's line");
        let of_it = |line: &&String| line.contains(&answer.request_id) && line.contains(&answer.trace_id);
        ensure(lines.iter().filter(of_it).count() == 1, format!("{lines:?}"))?;
    }
    Ok(())
}

async fn malformed_header() -> Tested {
    for header in ["", "garbage", "Root=;Parent=;Sampled=1", "Root=1-zz-zz;Sampled=1", ";;;=;=", "Sampled=1"] {
        let stage = Stage::new(Probe::Value, TraceMode::Raw(header.to_owned())).await?;
        let answer = stage.invoke(json!({})).await?;
        ensure(answer.result.is_ok(), format!("{header:?}: {:?}", answer.result))?;
        stage.settle().await?;
        ensure(stage.traces.rejected().is_empty(), format!("{header:?}: {:?}", stage.traces.rejected()))?;
        ensure(stage.processes() == 1, format!("{header:?}: the process did not live"))?;
    }
    Ok(())
}

async fn header_handed_on() -> Tested {
    let header =
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a87bd80c:1|68fd508a:5;Foo=bar";
    let stage = Stage::new(Probe::Value, TraceMode::Raw(header.to_owned())).await?;
    let answer = stage.invoke(json!({})).await?;
    let body = value(&answer)?;
    ensure(body["header"] == header, body.to_string())
}

async fn ten_thousand_spans() -> Tested {
    many_spans(10_000, |function| function.env("LAMBDA_LIFECYCLE_TRACE_BUDGET", "100000000")).await.map(|left_out| {
        assert_eq!(left_out, 0, "spans were left out within the budget");
    })
}

async fn beyond_the_budget() -> Tested {
    let left_out = many_spans(10_000, |function| function).await?;
    // With Lambda's own segments, which count too.
    ensure(left_out > 5_000, format!("{left_out} spans are left out of 10,000: the budget of 500 KB is not kept"))
}

/// The number of spans that were reported as left out. The others have arrived.
async fn many_spans(count: u64, change: impl FnOnce(FunctionBuilder) -> FunctionBuilder) -> Result<u64, libtest_mimic::Failed> {
    let stage = Stage::with(Probe::Value, TraceMode::Active, change).await?;
    let answer = stage.invoke(Do::ManySpans { count }).await?;
    let document = stage.document(&answer).await?;
    let arrived = stage.traces.find(|document| document.name == "numbered").len() as u64;
    let left_out = document.raw.pointer("/metadata/lambda_lifecycle/spans_left_out").and_then(Value::as_u64).unwrap_or(0);
    let too_large = stage.traces.check().iter().any(|problem| matches!(problem, Problem::TraceTooLarge { .. }));
    ensure(too_large == (left_out == 0), format!("the trace is too large: {too_large}"))?;
    ensure(arrived + left_out == count, format!("{arrived} arrived, {left_out} were reported left out of {count}"))?;
    Ok(left_out)
}

async fn backlog() -> Tested {
    // As long as one of them waits, with an assumed or a written size, the others leave theirs out. It alone does not take all the room there is, so
    // the documents of the others wait too.
    const SPANS: u64 = 40_000;
    let slow = |function: FunctionBuilder| {
        let function = function.managed(8);
        function.env("LAMBDA_LIFECYCLE_TRACE_BUDGET", "100000000")
    };
    let stage = Stage::with(Probe::Value, TraceMode::Active, slow).await?;
    let invoke = |count| stage.invoke(Do::ManySpans { count });
    let mut answers = all((0..3).map(|_| invoke(SPANS))).await?;
    // It may start while too much waits.
    answers.push(invoke(5).await?);
    let mut alone = 0;
    for (index, answer) in answers.iter().enumerate() {
        let made = if index < 3 { SPANS } else { 5 };
        let document = stage.finished_document(answer).await?;
        let left_out = document.raw.pointer("/metadata/lambda_lifecycle/spans_left_out").and_then(Value::as_u64);
        // With many documents, the invocation's own one is sent last.
        let wanted = made - left_out.unwrap_or(0);
        let its = |document: &Document| document.name == "numbered" && document.trace_id == answer.trace_id;
        let arrived = stage.traces.wait_for(usize::try_from(wanted)?, its).await?.len() as u64;
        ensure(arrived == wanted, format!("{left_out:?} were reported left out, more than that arrived"))?;
        alone += u64::from(wanted == 0);
    }
    ensure(alone > 0, "everything waited, so this test shows nothing")?;
    let problems = stage.problems();
    ensure(problems.len() == 1, format!("{problems:?}"))
}

async fn logged_errors() -> Tested {
    let kinds = [(Probe::Value, 1), (Probe::OwnSubscriber, 1), (Probe::Value, 4), (Probe::OwnSubscriber, 4)];
    for (probe, at_once) in kinds {
        let managed = |function: FunctionBuilder| if at_once > 1 { function.managed(at_once) } else { function };
        let stage = Stage::with(probe, TraceMode::Active, managed).await?;
        let answer = stage.invoke(Do::LogErrors).await?;
        let document = stage.finished_document(&answer).await?;
        let messages = |document: &Document| -> Vec<String> {
            document.exceptions().iter().filter_map(|exception| exception.message.clone()).collect()
        };
        ensure(messages(&document) == ["disk full", "sector 7"], format!("{probe}: {:?}", document.raw["cause"]))?;
        // The invocation itself has succeeded.
        ensure(!document.fault && document.annotation("outcome") == Some("responded"), format!("{probe}: {:?}", document.raw))?;
        for (name, message) in [("inner", "inside a span"), ("after response", "cleaning failed")] {
            stage.traces.wait_for(1, |document| document.name == name).await?;
            let found = stage.only(name, |document| document.name == name)?;
            ensure(messages(&found) == [message], format!("{probe}: {:?}", found.raw))?;
        }
    }
    Ok(())
}

async fn many_logged_errors() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let answer = stage.invoke(Do::LogManyErrorsAndFail).await?;
    let document = stage.document(&answer).await?;
    let first = document.exceptions().first().and_then(|exception| exception.message.clone());
    ensure(first.as_deref() == Some("no stock") && document.fault, format!("{:?}", document.raw["cause"]))?;
    let dropped = &document.raw["metadata"]["otel"]["dropped_events"];
    ensure(dropped == &json!(300 - 128), format!("{dropped}"))
}

async fn not_sampled() -> Tested {
    for (mode, lines) in [
        (TraceMode::PassThrough, 1),
        (TraceMode::PassThroughNotSampled, 1),
        (TraceMode::NotSampled, 1),
        (TraceMode::Active, 0),
        (TraceMode::Absent, 0),
    ] {
        let stage = Stage::new(Probe::Value, mode.clone()).await?;
        for _ in 0..2 {
            stage.invoke(json!({})).await?;
            stage.settle().await?;
        }
        let logged = stage.reported_as("code", "not_sampled").len();
        ensure(logged == lines, format!("{mode:?}: logged {logged} times"))?;
    }
    Ok(())
}

async fn without_parent() -> Tested {
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    let stage = Stage::new(Probe::Value, TraceMode::Raw(header.to_owned())).await?;
    stage.invoke(Do::Log).await?;
    stage.settle().await?;
    stage.documents_are_valid()?;
    let segments = stage.traces.find(|document| document.trace_id.ends_with("bd862e3fe1be46a994272793"));
    let names: Vec<&str> = segments.iter().map(|document| document.name.as_str()).collect();
    ensure(names.contains(&"probe") && names.contains(&"work"), format!("{names:?}"))
}

async fn trace_off() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_TRACE", "off")).await?;
    let answer = stage.invoke(Do::Sleep { ms: 20 }).await?;
    let body = value(&answer)?;
    ensure(body["header"].as_str().is_some_and(|header| header.contains(&answer.trace_id)), body.to_string())?;
    stage.settle().await?;
    ensure(stage.traces.datagrams().is_empty(), "documents were sent")
}

async fn stdout() -> Tested {
    let stage =
        Stage::with(Probe::Value, TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_TRACE_EXPORT", "stdout")).await?;
    stage.invoke(json!({})).await?;
    stage.settle().await?;
    ensure(stage.traces.datagrams().is_empty(), "documents went to the daemon")?;
    stage.wait_for_logs("\"type\":\"subsegment\"", 2).await.map(drop)
}

async fn not_announced() -> Tested {
    let stage =
        Stage::with(Probe::Value, TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_TRACE_IN_PROGRESS", "off"))
            .await?;
    let answer = stage.invoke(json!({})).await?;
    stage.document(&answer).await?;
    ensure(stage.traces.datagrams().len() == 1, format!("{} datagrams", stage.traces.datagrams().len()))
}
