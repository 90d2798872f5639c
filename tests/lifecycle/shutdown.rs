//! The end of an environment.

use crate::{
    behavior::{Do, Probe},
    held::HeldFunction,
    kind::{SOON, UNTIL_KILLED, long_reserve},
    support::{Gate, Stage, Tested, all, code, ensure, kill, patience, test, within},
};
use lambda_lifecycle_sandbox::{
    Event, FunctionResponse,
    function::{EventKind, Exit, FunctionBuilder, TraceMode},
    xray::Document,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("SIGTERM: the document of an invocation that continues a W3C trace stays in Lambda's", continued_at_sigterm),
        test("SIGTERM: the document of an invocation without a parent names none", parentless_at_sigterm),
        test("SIGTERM: a span that outlived its invocation leaves", outlived_at_sigterm),
        test("SIGTERM on a runtime without timers: hooks run", shutdown_without_timers),
        test("SIGTERM while idle: hooks run in reverse order, and the process ends by itself", idle),
        test("SIGTERM at the timeout: hooks run", at_the_timeout),
        test("SIGTERM while a handler blocks the only thread: hooks run", || while_blocked("current_thread")),
        test("SIGTERM while a handler blocks its thread, one of several: hooks run", || while_blocked("multi_thread")),
        test("SIGTERM while handlers block every thread of the runtime: hooks run", all_blocked),
        test("a hanging shutdown hook is cancelled, and the process ends by itself", hanging),
        test("an invocation that starts during the shutdown is reported as cut off", begun_late),
        test("SIGTERM while responses are being posted: each invocation keeps its outcome", posting),
        test("SIGTERM while a handler runs: cut off, with what was annotated", running),
        test("SIGTERM during a burst: an invocation with a response is not reported as cut off", burst),
        test("without hooks no extension is registered", unregistered),
        test("spans kept for shutdown are flushed then", last_flush),
    ]
}

/// The invocation's document.
async fn cut_off(stage: &Stage, client_context: Option<String>) -> Result<(FunctionResponse, Value), Failed> {
    let payload = Do::Hang.to_string().into();
    let answer = stage.invoke_event(Event { payload, client_context, timeout: Some(UNTIL_KILLED), ..Event::default() }).await?;
    ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    stage.exited().await?;
    stage.settle().await?;
    let documents = stage.traces.find(|document| document.annotation("trigger").is_some());
    let [document] = documents.as_slice() else { return Err(format!("{} documents", documents.len()).into()) };
    ensure(document.annotation("outcome") == Some("shut_down"), format!("{:?}", document.raw))?;
    Ok((answer, document.raw.clone()))
}

async fn continued_at_sigterm() -> Tested {
    let function = |function: FunctionBuilder| {
        function.kill_delay(Duration::ZERO).env("LAMBDA_LIFECYCLE_DEADLINE", "off").env("OTEL_PROPAGATORS", "xray,tracecontext")
    };
    let stage = Stage::with(Probe::Shutdown, TraceMode::Active, function).await?;
    let context = json!({ "w3c": { "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" } });
    let (answer, document) = cut_off(&stage, Some(context.to_string())).await?;
    let below_lambda = document["trace_id"] == answer.trace_id && document["type"] == "subsegment";
    ensure(below_lambda, document.to_string())
}

async fn parentless_at_sigterm() -> Tested {
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    let function = |function: FunctionBuilder| function.kill_delay(Duration::ZERO).env("LAMBDA_LIFECYCLE_DEADLINE", "off");
    let stage = Stage::with(Probe::Shutdown, TraceMode::Raw(header.to_owned()), function).await?;
    let (_, document) = cut_off(&stage, None).await?;
    ensure(document.get("type").is_none(), document.to_string())
}

async fn outlived_at_sigterm() -> Tested {
    let stage = Stage::with(Probe::Shutdown, TraceMode::Active, |function| function.managed(2)).await?;
    let gate = Gate::new().await?;
    let answer = stage.invoke(Do::Outlive { gate: gate.address()? }).await?;
    let span = gate.held().await?;
    stage.finished_document(&answer).await?;
    span.release();
    stage.wait_for_logs("outlived its invocation", 1).await?;
    within("the shutdown", stage.function.shutdown()).await?;
    stage.settle().await?;
    let outliving = stage.traces.find(|document| document.name == "outliving");
    ensure(outliving.len() == 1, "the span is lost")
}

async fn shutdown_without_timers() -> Tested {
    let stage = Stage::new(Probe::ShutdownWithoutTimers, TraceMode::Active).await?;
    ensure(stage.invoke(json!({})).await?.result.is_ok(), "the invocation failed")?;
    stage.settle().await?;
    let ended = within("the shutdown", stage.function.shutdown()).await?.ended;
    ensure(ended.len() == 1 && ended[0].exit == Exit::Code(0), format!("{ended:?}"))?;
    let said: Vec<Value> = stage.logged("hook ").into_iter().filter(|line| code(line).is_none()).map(Value::from).collect();
    ensure(said == ["hook two", "hook one"], format!("{said:?}"))
}

async fn idle() -> Tested {
    let stage = Stage::new(Probe::Shutdown, TraceMode::Active).await?;
    ensure(stage.invoke(json!({})).await?.result.is_ok(), "the invocation failed")?;
    stage.settle().await?;
    let ended = within("the shutdown", stage.function.shutdown()).await?.ended;
    let [ended] = ended.as_slice() else { return Err(format!("{ended:?}").into()) };
    ensure(ended.exit == Exit::Code(0) && ended.sigterm, format!("{ended:?}"))?;
    let said: Vec<String> = stage.logged("hook ").into_iter().filter(|line| code(line).is_none()).collect();
    ensure(said == ["hook two", "hook one"], format!("{said:?}"))?;
    ensure(stage.codes() == ["hook_panicked"], format!("{:?}", stage.problems()))
}

async fn at_the_timeout() -> Tested {
    let change = |function: FunctionBuilder| function.kill_delay(Duration::ZERO).env("LAMBDA_LIFECYCLE_DEADLINE", "off");
    let stage = Stage::with(Probe::Shutdown, TraceMode::Active, change).await?;
    // With a registered extension, the platform sends SIGTERM at the timeout. The library's deadline is disabled, so the handler
    // is still running then.
    let answer = stage.invoke_within(UNTIL_KILLED, Do::Hang).await?;
    ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    stage.exited().await?;
    ensure(stage.logged("hook two").len() == 1 && stage.logged("hook one").len() == 1, "the hooks did not run")?;
    ensure(stage.invoke(json!({})).await?.result.is_ok() && stage.processes() == 2, "no new process serves")
}

async fn while_blocked(flavor: &'static str) -> Tested {
    let change = |function: FunctionBuilder| function.kill_delay(Duration::ZERO).env("FLAVOR", flavor);
    let stage = Stage::with(Probe::Shutdown, TraceMode::Active, change).await?;
    let answer = stage.invoke_within(UNTIL_KILLED, Do::Block).await?;
    ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    // The process ends when its thread yields, or with SIGKILL.
    stage.wait_for_logs("hook two", 1).await?;
    stage.wait_for_logs("hook one", 1).await.map(drop)
}

async fn all_blocked() -> Tested {
    let stage = Stage::with(Probe::Shutdown, TraceMode::Active, |function| function.managed(4)).await?;
    let _running = stage.begin_within(patience(), Do::BlockEveryThread);
    // As many as the probe's runtime has threads.
    stage.wait_for_logs("blocks", 2).await?;
    kill(&stage.function, "-TERM")?;
    stage.wait_for_logs("hook two", 1).await?;
    stage.wait_for_logs("hook one", 1).await?;
    Ok(())
}

async fn hanging() -> Tested {
    let stage = Stage::new(Probe::HangingShutdown, TraceMode::Active).await?;
    stage.invoke(json!({})).await?;
    stage.settle().await?;
    let ended = within("the shutdown", stage.function.shutdown()).await?.ended;
    ensure(ended.len() == 1 && ended[0].exit == Exit::Code(0), format!("{ended:?}"))?;
    ensure(stage.logged("not reached").is_empty(), "a hook ran after the time was over")?;
    ensure(stage.codes() == ["hook_cancelled"], format!("{:?}", stage.problems()))
}

async fn begun_late() -> Tested {
    // The hook hangs for less than half a second. If the second event comes later, it is another environment's.
    for _ in 0..10 {
        let stage = Stage::with(Probe::HangingShutdown, TraceMode::Active, |function| long_reserve(function).managed(2)).await?;
        let outcome = |word: &'static str| move |document: &Document| document.annotation("outcome") == Some(word);
        let first = stage.begin_within(patience(), Do::Hang);
        let begun = |document: &Document| document.in_progress && document.annotation("trigger").is_some();
        stage.traces.wait_for(1, begun).await?;
        kill(&stage.function, "-TERM")?;
        stage.traces.wait_for(1, outcome("shut_down")).await?;
        let second = stage.invoke_within(SOON, Do::Hang).await?;
        let first = first.answer("a handler that hangs").await?;
        ensure(first.result.is_err() && second.result.is_err(), "there is a response")?;
        stage.settle().await?;
        stage.documents_are_valid()?;
        if stage.traces.find(outcome("deadline_exceeded")).is_empty() {
            let seen = stage.traces.find(outcome("shut_down")).len();
            return ensure(seen == 2, format!("{seen} are reported as cut off"));
        }
    }
    Err("the second event never came in time".into())
}

async fn posting() -> Tested {
    for at_once in [1, 4] {
        let events = [(Do::Nothing, "responded"), (Do::Fail, "failed"), (Do::Panic, "panicked"), (Do::Log, "responded")];
        for events in events.chunks(at_once) {
            let mut function = HeldFunction::start(Probe::Shutdown, at_once, events.iter().map(|(act, _)| act.clone())).await?;
            function.wait_for_posts(events.len()).await?;
            function.terminate().await?;
            for ((act, expected), document) in events.iter().zip(function.final_documents()?) {
                ensure(document.annotation("outcome") == Some(*expected), format!("{act}: {:?}", document.annotations))?;
                ensure(document.fault == (*expected != "responded"), format!("{act}: {:?}", document.raw))?;
            }
        }
    }
    Ok(())
}

async fn running() -> Tested {
    for at_once in [1, 2] {
        let mut function = HeldFunction::start(Probe::Shutdown, at_once, vec![Do::AnnotateAndHang; at_once]).await?;
        function.wait_for_lines("annotated", at_once).await?;
        function.terminate().await?;
        for document in function.final_documents()? {
            let found = (document.annotation("outcome"), document.annotation("plan"));
            ensure(found == (Some("shut_down"), Some("gold")) && document.fault, format!("{:?}", document.annotations))?;
        }
    }
    Ok(())
}

async fn burst() -> Tested {
    const AT_ONCE: usize = 8;
    for round in 0..12 {
        let stage = Stage::with(Probe::Shutdown, TraceMode::Active, |function| function.managed(AT_ONCE)).await?;
        let times = [0, 1, 2, 5, 10, 20, 40, 80];
        let invoke = |at: usize| stage.begin_within(patience(), Do::Sleep { ms: times[at % times.len()] });
        let invocations: Vec<_> = (0..3 * AT_ONCE).map(invoke).collect();
        stage.traces.wait_for(1 + round, |document| document.annotation("trigger").is_some()).await?;
        kill(&stage.function, "-TERM")?;
        let answers = all(invocations.into_iter().map(|begun| begun.answer("one of a burst"))).await?;
        stage.exited().await?;
        stage.settle().await?;
        stage.documents_are_valid()?;
        let history = stage.traces.history();
        for answer in &answers {
            let of_answer = history.iter().filter(|document| document.trace_id == answer.trace_id);
            let own: Vec<_> = of_answer.filter(|document| document.annotation("trigger").is_some()).collect();
            let outcomes: Vec<_> =
                own.iter().filter(|document| !document.in_progress).map(|document| document.annotation("outcome")).collect();
            let fits = match (&answer.result, outcomes.as_slice()) {
                (Ok(_), outcomes) => outcomes == [Some("responded")],
                // The response may have been in transit when the process ended.
                (Err(_), [outcome]) => matches!(outcome, Some("shut_down" | "responded")),
                // The environment never got this event.
                (Err(_), outcomes) => outcomes.is_empty() && own.is_empty(),
            };
            ensure(fits, format!("round {round}: {outcomes:?} of {:?}", answer.result))?;
        }
    }
    Ok(())
}

async fn unregistered() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    stage.invoke(json!({})).await?;
    stage.settle().await?;
    let registered = |kind: &EventKind| matches!(kind, EventKind::ExtensionRegistered { .. });
    ensure(!stage.function.timeline().iter().any(|event| registered(&event.kind)), "an extension is registered")
}

async fn last_flush() -> Tested {
    let stage = Stage::new(Probe::ExporterAtShutdown, TraceMode::Active).await?;
    for _ in 0..2 {
        stage.invoke(Do::Log).await?;
        stage.settle().await?;
    }
    ensure(stage.logged("exported").is_empty(), "spans were exported before shutdown")?;
    within("the shutdown", stage.function.shutdown()).await?;
    let exported = stage.logged("exported");
    ensure(exported == ["exported work, probe, work, probe"], format!("{exported:?}"))
}
