//! What is recorded, and where it ends up.

use crate::support::{Stage, Tested, all, ensure, test};
use lambda_lifecycle_sandbox::{
    Event,
    function::{FunctionBuilder, TraceMode},
    xray::{Document, Problem},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a subscriber of the user's own loses no span", own_subscriber),
        test("a subscriber that records nothing is told how to, once", strange_subscriber),
        test("OpenTelemetry's methods of a span find it in the default subscriber", span_extension),
        test("no marked byte is in any datagram with a redactor set", redacted),
        test("of 10,000 spans none is lost silently", ten_thousand_spans),
        test("of spans beyond the budget the invocation's document knows the number", beyond_the_budget),
        test(
            "Managed Instances: where spans are made faster than they may leave, whole invocations' are left out and counted",
            backlog,
        ),
        test("provisioned concurrency: init is a trace of its own, linked both ways, and nothing is a cold start", provisioned),
        test("an error logged outside of any span is an exception of the invocation", logged_errors),
        test("of many logged errors the invocation keeps some, counts the others, and its own comes first", many_logged_errors),
        test("SnapStart: a restore is not a cold start, and init is a trace of its own", snap_start),
        test("PassThrough in both forms, and not sampled: one line says that nothing is recorded", not_sampled),
        test("a W3C parent in the client context is continued where it is asked for", w3c_parent),
        test("a sampled Root without a Parent is recorded as a segment", without_parent),
    ]
}

async fn own_subscriber() -> Tested {
    let stage = Stage::new("own-subscriber", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "log" })).await?;
    stage.document(&answer).await?;
    ensure(stage.traces.find(|document| document.name == "work").len() == 1, "the user's span is lost")?;
    ensure(stage.logged("subscriber is set already").is_empty(), "a connected subscriber is complained about")
}

async fn strange_subscriber() -> Tested {
    let stage = Stage::new("strange-subscriber", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "log" })).await?;
    // The invocation's own span depends on no subscriber.
    stage.document(&answer).await?;
    ensure(stage.logged("Lifecycle::tracing_layer()").len() == 1, "it is not told how to connect it")
}

async fn span_extension() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "ask the span" })).await?;
    stage.document(&answer).await?;
    let asked = stage.traces.find(|document| document.name == "asked");
    ensure(asked.len() == 1 && asked[0].raw["annotations"]["asked"] == true, "what was set on the span is lost")?;
    ensure(
        answer.result.as_deref().ok() == Some(asked[0].raw["id"].to_string().as_bytes()),
        "the span's id is another one than the document's",
    )
}

async fn redacted() -> Tested {
    let secret = "marked-secret-77ab";
    let stage = Stage::with("redacting", TraceMode::Active, |function| function.env("RUST_LOG", "trace")).await?;
    for ending in ["log", "fail with it", "panic with it", "instrument it"] {
        stage.invoke(json!({ "do": ending, "secret": secret })).await?;
    }
    stage.settle().await?;
    let datagrams = stage.traces.datagrams();
    let texts: Vec<_> = datagrams.iter().map(|datagram| String::from_utf8_lossy(datagram)).collect();
    ensure(texts.iter().any(|text| text.contains("(redacted)")), "nothing was redacted: this test shows nothing")?;
    let leak = texts.iter().find(|text| text.contains("marked"));
    ensure(leak.is_none(), format!("{leak:?}"))?;
    stage.documents_are_valid()
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

/// How many were reported left out; the others have arrived.
async fn many_spans(count: u64, change: impl FnOnce(FunctionBuilder) -> FunctionBuilder) -> Result<u64, libtest_mimic::Failed> {
    let stage = Stage::with("value", TraceMode::Active, change).await?;
    let answer = stage.invoke(json!({ "do": "many spans", "count": count })).await?;
    let document = stage.document(&answer).await?;
    let arrived = stage.traces.find(|document| document.name == "numbered").len() as u64;
    let left_out = document.raw.pointer("/metadata/lambda_lifecycle/spans_left_out").and_then(Value::as_u64).unwrap_or(0);
    let too_large = stage.traces.check().iter().any(|problem| matches!(problem, Problem::TraceTooLarge { .. }));
    ensure(too_large == (left_out == 0), format!("the trace is too large: {too_large}"))?;
    ensure(arrived + left_out == count, format!("{arrived} arrived, {left_out} were reported left out of {count}"))?;
    Ok(left_out)
}

async fn backlog() -> Tested {
    const SPANS: u64 = 6_000;
    let slow = |function: FunctionBuilder| {
        let function = function.managed(8);
        function.env("LAMBDA_LIFECYCLE_TRACE_BUDGET", "100000000")
    };
    let stage = Stage::with("value", TraceMode::Active, slow).await?;
    let invoke = || stage.invoke(json!({ "do": "many spans", "count": SPANS }));
    let answers = all((0..4).map(|_| invoke())).await?;
    let mut alone = 0;
    for answer in &answers {
        let document = stage.finished_document(answer).await?;
        let left_out = document.raw.pointer("/metadata/lambda_lifecycle/spans_left_out").and_then(Value::as_u64);
        // Of many documents the own one of the invocation is the last to leave.
        let wanted = SPANS - left_out.unwrap_or(0);
        let its = |document: &Document| document.name == "numbered" && document.trace_id == answer.trace_id;
        let arrived = stage.traces.wait_for(usize::try_from(wanted)?, its).await?.len() as u64;
        ensure(arrived == wanted, format!("{left_out:?} were reported left out, more than that arrived"))?;
        alone += u64::from(wanted == 0);
    }
    ensure(alone > 0, "everything waited: this test shows nothing")?;
    ensure(stage.logged("spans are made faster").len() == 1, "it is not told once")
}

async fn provisioned() -> Tested {
    let stage =
        Stage::with("init-works", TraceMode::Active, |function| function.initialization_type("provisioned-concurrency")).await?;
    crate::support::within("the warm-up", stage.function.warm_up()).await??;
    let answer = stage.invoke(json!({})).await?;
    let document = stage.document(&answer).await?;
    ensure(document.annotations.get("cold_start") == Some(&json!(false)), "it is a cold start")?;
    let setups = stage.traces.find(|document| document.name == "init place");
    let [setup] = setups.as_slice() else { return Err(format!("{} set-ups", setups.len()).into()) };
    ensure(setup.trace_id != answer.trace_id, "init is in the invocation's trace")?;
    let segment = stage.traces.find(|document| Some(&document.id) == setup.parent_id.as_ref());
    let [segment] = segment.as_slice() else { return Err("the set-up has no segment above it".into()) };
    let links = |from: &Document, to: &Document| from.links.iter().any(|link| link.trace_id == to.trace_id && link.id == to.id);
    ensure(links(segment, &document) && links(&document, segment), format!("{:?} {:?}", segment.links, document.links))
}

async fn logged_errors() -> Tested {
    let kinds = [("value", 1), ("own-subscriber", 1), ("value", 4), ("own-subscriber", 4)];
    for (probe, at_once) in kinds {
        let managed = |function: FunctionBuilder| if at_once > 1 { function.managed(at_once) } else { function };
        let stage = Stage::with(probe, TraceMode::Active, managed).await?;
        let answer = stage.invoke(json!({ "do": "log errors" })).await?;
        let document = stage.finished_document(&answer).await?;
        let messages = |document: &Document| -> Vec<String> {
            document.exceptions().iter().filter_map(|exception| exception.message.clone()).collect()
        };
        ensure(messages(&document) == ["disk full", "sector 7"], format!("{probe}: {:?}", document.raw["cause"]))?;
        // The invocation itself has succeeded.
        ensure(!document.fault && document.annotation("outcome") == Some("answered"), format!("{probe}: {:?}", document.raw))?;
        for (name, message) in [("inner", "inside a span"), ("after response", "cleaning failed")] {
            stage.traces.wait_for(1, |document| document.name == name).await?;
            let found = stage.only(name, |document| document.name == name)?;
            ensure(messages(&found) == [message], format!("{probe}: {:?}", found.raw))?;
        }
    }
    Ok(())
}

async fn many_logged_errors() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "log many errors and fail" })).await?;
    let document = stage.document(&answer).await?;
    let first = document.exceptions().first().and_then(|exception| exception.message.clone());
    ensure(first.as_deref() == Some("no stock") && document.fault, format!("{:?}", document.raw["cause"]))?;
    let dropped = &document.raw["metadata"]["otel"]["dropped_events"];
    ensure(dropped == &json!(300 - 128), format!("{dropped}"))
}

async fn snap_start() -> Tested {
    let stage = Stage::with("init-works", TraceMode::Active, |function| function.initialization_type("snap-start")).await?;
    let (first, second) = (stage.invoke(json!({})).await?, stage.invoke(json!({})).await?);
    let (first, second) = (stage.document(&first).await?, stage.document(&second).await?);
    for (document, restored) in [(&first, json!(true)), (&second, Value::Null)] {
        let found = (&document.raw["annotations"]["cold_start"], &document.raw["annotations"]["restored"]);
        ensure(found == (&json!(false), &restored), format!("{:?}", document.annotations))?;
    }
    let setups = stage.traces.find(|document| document.name == "init place");
    ensure(setups.len() == 1 && setups[0].trace_id != first.trace_id, format!("{setups:?}"))
}

async fn not_sampled() -> Tested {
    for (mode, lines) in [
        (TraceMode::PassThrough, 1),
        (TraceMode::PassThroughNotSampled, 1),
        (TraceMode::NotSampled, 1),
        (TraceMode::Active, 0),
        (TraceMode::Absent, 0),
    ] {
        let stage = Stage::new("value", mode.clone()).await?;
        for _ in 0..2 {
            stage.invoke(json!({})).await?;
            stage.settle().await?;
        }
        let logged = stage.logged("TracingConfig: Active").len();
        ensure(logged == lines, format!("{mode:?}: logged {logged} times"))?;
    }
    Ok(())
}

async fn w3c_parent() -> Tested {
    let context = json!({ "w3c": { "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" } }).to_string();
    let event =
        |payload: Value| Event { payload: payload.to_string().into(), client_context: Some(context.clone()), ..Event::default() };
    let stage = Stage::with("value", TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_TRACE_PARENT", "w3c")).await?;
    stage.invoke_event(event(json!({}))).await?;
    stage.settle().await?;
    let found = stage.traces.find(|document| document.trace_id == "1-0af76519-16cd43dd8448eb211c80319c");
    let [document] = found.as_slice() else { return Err(format!("{} documents", found.len()).into()) };
    ensure(document.parent_id.as_deref() == Some("b7ad6b7169203331"), format!("{:?}", document.raw))?;

    let stage = Stage::new("value", TraceMode::Active).await?;
    let answer = stage.invoke_event(event(json!({}))).await?;
    stage.document(&answer).await?;
    Ok(())
}

async fn without_parent() -> Tested {
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    let stage = Stage::new("value", TraceMode::Raw(header.to_owned())).await?;
    stage.invoke(json!({ "do": "log" })).await?;
    stage.settle().await?;
    stage.documents_are_valid()?;
    let segments = stage.traces.find(|document| document.trace_id.ends_with("bd862e3fe1be46a994272793"));
    let names: Vec<&str> = segments.iter().map(|document| document.name.as_str()).collect();
    ensure(names.contains(&"probe") && names.contains(&"work"), format!("{names:?}"))
}
