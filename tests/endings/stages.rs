//! The stages beyond an invocation's ending: the watchdog, hooks and policies after the response, exporters, settings.

use crate::{
    kind::{LATER, SOON, UNTIL_KILLED, long_grace, long_reserve},
    support::{Gate, Stage, Tested, all, ensure, function_error, patience, test, value},
};
use lambda_lifecycle_sandbox::{
    Failure,
    function::{EventKind, FunctionBuilder, TraceMode},
};
use libtest_mimic::Trial;
use serde_json::json;
use std::time::Duration;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a handler that sleeps its thread away is reported before the kill", || blocked("block", "blocking query")),
        test("a handler that spins is reported before the kill", || blocked("spin", "endless loop")),
        test("a handler that blocks into the reserve and then gives way has one document of each span", blocked_for_a_while),
        test("Managed Instances: an answer after the deadline is told, for the caller has an error", late_answer),
        test("Managed Instances: the axum function serves eight at a time, each its own", axum_at_once),
        test("without the watchdog a blocked handler leaves its beginning", unwatched),
        test("hooks after the response: a panic costs that hook alone", hooks),
        test("hooks after the response: a hang costs that hook alone", hanging_hook),
        test("freeze: unfinished work goes on in the next invocation, its spans stay out of its trace", freeze),
        test("cancel: unfinished work is cancelled at once", cancel),
        test("idle and on_thaw know how long the environment slept", thaw),
        test("a fallback answers the deadline", fallback),
        test("a spawned task keeps its invocation", spawned),
        test("an exporter gets every span, after the response", || exporter("", "exported work, probe")),
        test("an exporter that fails is told, the process lives", || exporter("fails", "an exporter did not take its spans")),
        test("an exporter that panics is told, the process lives", || exporter("panics", "an exporter panicked")),
        test("an exporter that hangs is not waited for beyond the deadline", || {
            exporter("hangs", "was not done before the deadline")
        }),
        test("an exporter that blocks is not waited for beyond the deadline", || {
            exporter("blocks", "was not done before the deadline")
        }),
        test("every setting that is not understood is told once and changes nothing", bad_settings),
        test("LAMBDA_LIFECYCLE_TRACE=off sends nothing, and hands the header on", trace_off),
        test("LAMBDA_LIFECYCLE_TRACE_EXPORT=stdout prints the documents", stdout),
        test("LAMBDA_LIFECYCLE_TRACE_IN_PROGRESS=off sends one document an invocation", not_announced),
        test("LAMBDA_LIFECYCLE_DEADLINE_GRACE and _RESERVE move the points", grace_and_reserve),
        test("a grace or a reserve as long as the invocation is none: told once, and the default stays", || async {
            too_long("LAMBDA_LIFECYCLE_DEADLINE_GRACE").await?;
            too_long("LAMBDA_LIFECYCLE_DEADLINE_RESERVE").await
        }),
    ]
}

async fn blocked(how: &'static str, culprit: &str) -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let begun = stage.begin_within(UNTIL_KILLED, json!({ "do": how }));
    stage.wait_for_logs("the handler blocks its thread past the deadline", 1).await?;
    stage.traces.wait_for(2, |document| document.fault).await?;
    stage.function.expire();
    let answer = begun.answer("a handler that blocks").await?;
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), format!("{:?}", answer.result))?;
    let document = stage.document(&answer).await?;
    ensure(document.fault && !document.in_progress, format!("{:?}", document.raw))?;
    ensure(document.annotation("outcome") == Some("blocked"), format!("{:?}", document.annotations))?;
    let named = |message: &str| message.contains(culprit);
    let told = |document: &lambda_lifecycle_sandbox::xray::Document| {
        document.exceptions().iter().any(|exception| exception.message.as_deref().is_some_and(named))
    };
    ensure(told(&document), format!("{:?}", document.exceptions()))?;
    let inner = stage.traces.find(|document| document.name == culprit);
    ensure(inner.len() == 1 && inner[0].fault && told(&inner[0]), format!("{inner:?}"))?;
    ensure(stage.logged("the handler blocks its thread past the deadline").len() == 1, "not one line in the log")?;
    ensure(stage.invoke(json!({})).await?.result.is_ok() && stage.processes() == 2, "no new process serves")
}

async fn blocked_for_a_while() -> Tested {
    let (stage, gate) = (Stage::new("value", TraceMode::Active).await?, Gate::new().await?);
    let begun = stage.begin_within(UNTIL_KILLED, json!({ "do": "block at the gate", "gate": gate.address()? }));
    let held = gate.held().await?;
    stage.traces.wait_for(2, |document| document.fault).await?;
    held.release();
    let answer = begun.answer("a handler that blocks for a while").await?;
    stage.document(&answer).await?;
    let blocking = stage.traces.find(|document| document.name == "blocking query");
    ensure(blocking.len() == 1 && blocking[0].fault, format!("{blocking:?}"))
}

async fn late_answer() -> Tested {
    // The caller is told at the deadline itself: from then on the answer is late.
    let managed = |function: FunctionBuilder| function.managed(8).kill_delay(Duration::ZERO);
    let (stage, gate) = (Stage::with("value", TraceMode::Active, managed).await?, Gate::new().await?);
    let begun = stage.begin_within(UNTIL_KILLED, json!({ "do": "block at the gate", "gate": gate.address()? }));
    let held = gate.held().await?;
    let answer = begun.answer("a handler that blocks").await?;
    held.release();
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), format!("{:?}", answer.result))?;
    stage.wait_for_logs("the answer came after the deadline", 1).await?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn axum_at_once() -> Tested {
    let stage = Stage::with("http", TraceMode::Active, |function| function.managed(8)).await?;
    let event = |id: usize| crate::invocation::http_event(&format!("/orders/{id}"));
    let answers = all((0..24).map(|id| stage.invoke(event(id)))).await?;
    for answer in &answers {
        let body = value(answer)?;
        ensure(body["statusCode"] == 200, body.to_string())?;
        let document = stage.finished_document(answer).await?;
        ensure(document.annotation("route") == Some("GET /orders/{id}"), format!("{:?}", document.annotations))?;
        ensure(document.http.as_ref().and_then(|http| http.status) == Some(200), format!("{:?}", document.http))?;
    }
    ensure(stage.processes() == 1, "the process did not live")
}

async fn unwatched() -> Tested {
    // Only the kill itself shows that nothing came before it.
    let change = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_WATCHDOG", "off").kill_delay(Duration::ZERO);
    let stage = Stage::with("value", TraceMode::Active, change).await?;
    let answer = stage.invoke_within(UNTIL_KILLED, json!({ "do": "block" })).await?;
    ensure(matches!(answer.result, Err(Failure::TimedOut { .. })), format!("{:?}", answer.result))?;
    ensure(stage.document(&answer).await?.in_progress, "the invocation is finished in its trace")
}

async fn hooks() -> Tested {
    let stage = Stage::new("hooks", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "fail", "after": "work" })).await?;
    function_error(&answer)?;
    stage.settle().await?;
    ensure(stage.logged("hook one").iter().any(|line| line.contains("failed")), "the first hook did not see the outcome")?;
    ensure(stage.logged("a hook after the response panicked: fuse was lit").len() == 1, "the panic is not in the log")?;
    let third = stage.logged("hook three");
    ensure(third.len() == 1 && third[0].contains("\"finished\":1"), format!("{third:?}"))?;
    ensure(third[0].contains(&answer.request_id), format!("{} is not of {}", third[0], answer.request_id))?;

    stage.invoke_within(LATER, json!({ "do": "late work" })).await?;
    stage.settle().await?;
    ensure(stage.logged("\"message\":\"unfinished\"").len() == 1, "on_unfinished was not called")?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn hanging_hook() -> Tested {
    let stage = Stage::new("hanging-hook", TraceMode::Active).await?;
    let answer = stage.invoke_within(LATER, json!({})).await?;
    stage.document(&answer).await?;
    ensure(stage.logged("a hook after the response was not done in its time").len() == 1, "it is not in the log")?;
    stage.lives().await
}

async fn freeze() -> Tested {
    let stage =
        Stage::with("value", TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE", "freeze")).await?;
    let work = Gate::new().await?;
    let first = stage.invoke(json!({ "do": "ticking work", "gate": work.address()? })).await?;
    let ticking = work.held().await?;
    stage.settle().await?;
    ticking.release();
    ensure(stage.logged("\"tick\"").is_empty(), "the work was waited for")?;
    ensure(stage.logged("goes on in the next invocation").len() == 1, "it is not in the log")?;
    // The timers that ran out while the environment was frozen fire in the next invocation.
    let gate = Gate::new().await?;
    let begun = stage.begin_within(patience(), json!({ "do": "wait at the gate", "gate": gate.address()? }));
    let held = gate.held().await?;
    let line = stage.wait_for_logs("\"tick\"", 3).await?;
    held.release();
    let second = begun.answer("the invocation that thaws").await?;
    ensure(line.contains(&first.request_id), format!("{line} is not of {}", first.request_id))?;
    stage.document(&second).await?;
    let strangers = stage.traces.find(|document| document.trace_id == second.trace_id && document.name == "after response");
    ensure(strangers.is_empty(), format!("{strangers:?}"))
}

async fn cancel() -> Tested {
    let stage =
        Stage::with("value", TraceMode::Active, |function| long_grace(function).env("LAMBDA_LIFECYCLE_AFTER_RESPONSE", "cancel"))
            .await?;
    let work = Gate::new().await?;
    stage.invoke(json!({ "do": "ticking work", "gate": work.address()? })).await?;
    stage.settle().await?;
    // It could go on.
    drop(work);
    ensure(stage.logged("is cancelled").len() == 1, "it is not in the log")?;
    // As long as the work would have taken.
    stage.invoke_within(SOON, json!({ "do": "stop" })).await?;
    stage.settle().await?;
    ensure(stage.logged("\"tick\"").is_empty(), "the work was not cancelled")
}

async fn thaw() -> Tested {
    let stage = Stage::new("hooks", TraceMode::Active).await?;
    let idle = async || -> Result<Option<u64>, libtest_mimic::Failed> {
        let answer = stage.invoke(json!({ "do": "idle" })).await?;
        stage.settle().await?;
        Ok(value(&answer)?.as_u64())
    };
    ensure(idle().await?.is_none(), "the first invocation has slept")?;
    ensure(stage.logged("thawed").is_empty(), "on_thaw was called without a sleep")?;
    let told = idle().await?.ok_or("the second one did not sleep")?;
    let at =
        |wanted: EventKind| stage.function.timeline().into_iter().find(|event| event.kind == wanted).map(|event| event.offset);
    let (frozen, thawed) = (at(EventKind::Frozen).ok_or("no freeze")?, at(EventKind::Thawed).ok_or("no thaw")?);
    // It began to rest before it was frozen, and was at work again after it was thawed.
    let slept = thawed.saturating_sub(frozen);
    ensure(Duration::from_millis(told + 1) >= slept, format!("{told} ms are told, it slept {slept:?}"))?;
    ensure(stage.logged("thawed").len() == 1, "on_thaw was not called once")?;
    ensure(stage.logged("thawed after ages").is_empty(), "on_thaw was called for a shorter sleep")
}

async fn fallback() -> Tested {
    let stage = Stage::with("fallback", TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(SOON, json!({ "do": "hang" })).await?;
    ensure(answer.result.as_deref() == Ok(&b"\"fallback\""[..]), format!("{:?}", answer.result))?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("deadline_exceeded") && document.fault, format!("{:?}", document.raw))
}

async fn spawned() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "spawn" })).await?;
    ensure(answer.result.as_deref() == Ok(&b"true"[..]), format!("{:?}", answer.result))
}

async fn exporter(behavior: &'static str, words: &'static str) -> Tested {
    let change = |function: FunctionBuilder| function.env("EXPORTER", behavior);
    let stage = Stage::with("exporter", TraceMode::Active, change).await?;
    let answer = stage.invoke_within(LATER, json!({ "do": "log" })).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    ensure(stage.logged(words).len() == 1, format!("{words:?} is not in the log once"))?;
    stage.lives().await
}

async fn bad_settings() -> Tested {
    const SETTINGS: [&str; 4] = [
        "LAMBDA_LIFECYCLE_TRACE",
        "LAMBDA_LIFECYCLE_INIT_BUDGET",
        "LAMBDA_LIFECYCLE_AFTER_RESPONSE",
        "LAMBDA_LIFECYCLE_DEADLINE_GRACE",
    ];
    let stage = Stage::with("value", TraceMode::Active, |function| {
        SETTINGS.iter().fold(function, |function, name| function.env(name, "perhaps, or not"))
    })
    .await?;
    let answer = stage.invoke(json!({})).await?;
    stage.document(&answer).await?;
    for name in SETTINGS {
        ensure(stage.logged(&format!("{name}=")).len() == 1, format!("{name} is not told once"))?;
    }
    Ok(())
}

async fn trace_off() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_TRACE", "off")).await?;
    let answer = stage.invoke(json!({ "do": "sleep" })).await?;
    let body = value(&answer)?;
    ensure(body["header"].as_str().is_some_and(|header| header.contains(&answer.trace_id)), body.to_string())?;
    stage.settle().await?;
    ensure(stage.traces.datagrams().is_empty(), "documents were sent")
}

async fn stdout() -> Tested {
    let stage =
        Stage::with("value", TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_TRACE_EXPORT", "stdout")).await?;
    stage.invoke(json!({})).await?;
    stage.settle().await?;
    ensure(stage.traces.datagrams().is_empty(), "documents went to the daemon")?;
    stage.wait_for_logs("\"type\":\"subsegment\"", 2).await.map(drop)
}

async fn not_announced() -> Tested {
    let stage =
        Stage::with("value", TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_TRACE_IN_PROGRESS", "off")).await?;
    let answer = stage.invoke(json!({})).await?;
    stage.document(&answer).await?;
    ensure(stage.traces.datagrams().len() == 1, format!("{} datagrams", stage.traces.datagrams().len()))
}

async fn too_long(variable: &'static str) -> Tested {
    const SHORT: Duration = Duration::from_secs(1);
    let long = SHORT.as_millis().to_string();
    let stage = Stage::with("value", TraceMode::Active, |function| function.env(variable, long)).await?;
    for _ in 0..2 {
        let answer = stage.invoke_within(SHORT, json!({ "do": "stop" })).await?;
        // Both defaults are 50 ms. Who misses them has met the deadline, which would not have come either.
        let remaining = value(&answer).map_or(0, |body| body["remaining_ms"].as_u64().unwrap_or(u64::MAX));
        ensure(remaining <= 100, format!("{variable}: cancelled {remaining} ms before the kill"))?;
    }
    let told = stage.logged("is as long as the invocation");
    ensure(told.len() == 1 && told[0].contains(variable), format!("{told:?}"))
}

async fn grace_and_reserve() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, |function| {
        function.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "20000").env("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "9000")
    })
    .await?;
    let answer = stage.invoke_within(Duration::from_secs(30), json!({ "do": "stop" })).await?;
    let body = value(&answer)?;
    let remaining = body["remaining_ms"].as_u64().ok_or("no time is told")?;
    // Before the deadline, which is 9 s before the kill, and not before the grace.
    ensure((9_000..=29_000).contains(&remaining), format!("cancelled {remaining} ms before the kill"))
}
