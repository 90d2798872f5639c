//! What users do that nobody expects of them.

use crate::{
    kind::{KINDS, LATER, SOON, STREAMING, long_grace, long_reserve},
    support::{Gate, Stage, Tested, all, ensure, function_error, test, value, within},
};
use lambda_lifecycle_sandbox::{
    Event,
    function::{EventKind, Exit, FunctionBuilder, TraceMode},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a builder's settings count beside a subscriber of the user's own", builder_and_own_subscriber),
        test("a redactor that panics costs what it was asked about, not the process", panicking_redactor),
        test("limits of Duration::MAX are no limits", no_bounds),
        test("after the response: work runs after a deadline", work_after_a_deadline),
        test("hooks after the response run after a deadline", hooks_after_a_deadline),
        test("after the response: an exporter that hangs costs the background work nothing", work_beside_an_exporter),
        test("after the response: the token tells unfinished work to stop", work_with_a_token),
        test("after the response: what a hook defers runs", deferring_hook),
        test("after the response: what work stores runs beside it", || stored_by_work("wait")),
        test("after the response: what unfinished work has stored runs, as it goes on, in the next invocation", || {
            stored_by_work("freeze")
        }),
        test("after the response: what is stored when the invocation is over is done, and belongs to it", stored_too_late),
        test("after the response: what a task stores while an exporter is at work runs", stored_by_a_task),
        test("a handler that computes and gives way meets its deadline", cooperative),
        test("stream: a body that is always ready meets the deadline", endless_stream),
        test("stream: an error that panics when it is told is an ending like any other", stream_with_a_bad_error),
        test("a span with an explicit parent that is none belongs to the invocation", explicit_parent),
        test("init: a span still open in the first invocation leaves no orphan", init_left_open),
        test("init: spans of a blocking set-up are its own", init_blocking_traced),
        test("init: a blocking set-up over the budget does not keep the process", init_blocking_hangs),
        test("a service that is not ready is an ending like any other", unready),
        test("a filter of the subscriber as a whole is told about, once", filtered_subscriber),
        test("work that outlives an invocation nobody traces stays out of a traced one", untraced_work),
        test("Managed Instances: spans of invocations at once are each in their own trace", side_by_side),
        test("http: API Gateway v1 and a load balancer reach the routes", other_gateways),
        test("an exporter is told whose spans they are", resource),
        test("SIGTERM on a runtime without timers: hooks run", shutdown_without_timers),
    ]
}

async fn builder_and_own_subscriber() -> Tested {
    let stage = Stage::new("own-subscriber-redacting", TraceMode::Active).await?;
    stage.invoke(json!({ "do": "instrument it", "secret": "marked-secret-77ab" })).await?;
    stage.settle().await?;
    let datagrams = stage.traces.datagrams();
    let told = |words: &str| datagrams.iter().any(|datagram| String::from_utf8_lossy(datagram).contains(words));
    ensure(told("(redacted)") && !told("marked"), "the redactor was not asked")
}

async fn panicking_redactor() -> Tested {
    let stage = Stage::new("panicking-redactor", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "instrument it", "secret": "marked-secret-77ab" })).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    let leaks = stage.traces.datagrams().iter().any(|datagram| String::from_utf8_lossy(datagram).contains("marked"));
    ensure(!leaks, "what the redactor did not decide about has left")?;
    stage.lives().await
}

async fn no_bounds() -> Tested {
    let stage = Stage::new("no-bounds", TraceMode::Active).await?;
    stage.invoke(json!({ "after": "unbounded" })).await?;
    stage.settle().await?;
    ensure(stage.logged("unbounded").len() == 1, "the work did not run")?;
    stage.lives().await
}

async fn work_after_a_deadline() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(SOON, json!({ "do": "hang", "after": "deadline" })).await?;
    function_error(&answer)?;
    stage.settle().await?;
    ensure(stage.logged("after the response").iter().any(|line| line.contains("\"note\":\"deadline\"")), "the work did not run")?;
    ensure(stage.logged("was not done in its time").is_empty(), "the work was cancelled")?;
    stage.lives().await
}

async fn hooks_after_a_deadline() -> Tested {
    let stage = Stage::with("hooks", TraceMode::Active, long_reserve).await?;
    function_error(&stage.invoke_within(SOON, json!({ "do": "hang" })).await?)?;
    stage.settle().await?;
    ensure(stage.logged("hook one").len() == 1 && stage.logged("hook three").len() == 1, "the hooks did not run")?;
    stage.lives().await
}

async fn work_beside_an_exporter() -> Tested {
    let hanging = |function: FunctionBuilder| function.env("EXPORTER", "hangs");
    let stage = Stage::with("exporter", TraceMode::Active, hanging).await?;
    stage.invoke_within(LATER, json!({ "after": "exporter" })).await?;
    stage.settle().await?;
    ensure(stage.logged("\"note\":\"exporter\"").len() == 1, "the work did not run")?;
    stage.lives().await
}

async fn work_with_a_token() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, long_grace).await?;
    stage.invoke_within(SOON, json!({ "do": "work with a token" })).await?;
    stage.settle().await?;
    ensure(stage.logged("told to stop").len() == 1, "the token was not cancelled")?;
    ensure(stage.logged("was not done in its time").is_empty(), "the work was cancelled")?;
    stage.lives().await
}

/// An invocation, and one more, in which frozen work of the first goes on until it has logged these words.
async fn invoke_and_thaw(stage: &Stage, event: Value, words: &str) -> Tested {
    stage.invoke(event).await?;
    stage.settle().await?;
    thaw_until(stage, words).await
}

/// An invocation that runs until the function has logged these words.
async fn thaw_until(stage: &Stage, words: &str) -> Tested {
    let gate = Gate::new().await?;
    let payload = json!({ "do": "wait at the gate", "gate": gate.address()? }).to_string().into();
    let begun = stage.begin(Event { payload, ..Event::default() });
    let held = gate.held().await?;
    stage.wait_for_logs(words, 1).await?;
    held.release();
    begun.answer("the invocation that thaws").await?;
    stage.settle().await
}

async fn deferring_hook() -> Tested {
    let stage = Stage::new("deferring-hook", TraceMode::Active).await?;
    invoke_and_thaw(&stage, json!({}), "deferred by a hook").await
}

async fn stored_by_work(policy: &'static str) -> Tested {
    let stage = Stage::with("value", TraceMode::Active, |function| {
        function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE", policy).env("LAMBDA_LIFECYCLE_AFTER_RESPONSE_BUDGET", "3000")
    })
    .await?;
    invoke_and_thaw(&stage, json!({ "do": "work beside work that hangs" }), "stored by work").await?;
    ensure(stage.logged("stored by work").len() == 1, "the work is lost without a word")?;
    stage.lives().await
}

async fn stored_by_a_task() -> Tested {
    let (exporting, task) = (Gate::new().await?, Gate::new().await?);
    let address = exporting.address()?;
    let stage = Stage::with("exporter", TraceMode::Active, |function| {
        function.env("EXPORTER", "waits at the gate").env("EXPORTER_GATE", address)
    })
    .await?;
    stage.invoke(json!({ "do": "work of a task", "gate": task.address()? })).await?;
    let (exporter, task) = (exporting.held().await?, task.held().await?);
    task.release();
    stage.wait_for_logs("a task has stored work", 1).await?;
    // The exporter is called again for what comes now, and is not to wait.
    drop(exporting);
    exporter.release();
    stage.settle().await?;
    ensure(stage.logged("the work runs").len() == 1, "the work is lost")?;
    stage.lives().await
}

async fn stored_too_late() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let gate = Gate::new().await?;
    let first = stage.invoke(json!({ "do": "work of a late task", "gate": gate.address()? })).await?;
    let task = gate.held().await?;
    stage.settle().await?;
    task.release();
    thaw_until(&stage, "the late work is done").await?;
    // What ended late leaves with the next invocation.
    stage.invoke(json!({})).await?;
    stage.settle().await?;
    for name in ["late task", "late work"] {
        let spans = stage.traces.find(|span| span.name == name);
        ensure(spans.len() == 1 && spans[0].trace_id == first.trace_id, format!("{name}: {spans:?}"))?;
    }
    Ok(())
}

async fn cooperative() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(SOON, json!({ "do": "cooperate" })).await?;
    let (error_type, _) = function_error(&answer)?;
    ensure(error_type == "Lifecycle.DeadlineExceeded", error_type)?;
    stage.lives().await
}

async fn endless_stream() -> Tested {
    let stage = Stage::with("stream", TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(STREAMING, json!({ "do": "endless" })).await?;
    let (error_type, _) = function_error(&answer)?;
    ensure(error_type == "Lifecycle.DeadlineExceeded", error_type)?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("deadline_exceeded"), format!("{:?}", document.annotations))?;
    stage.lives().await
}

async fn stream_with_a_bad_error() -> Tested {
    let stage = Stage::new("stream", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "bad error" })).await?;
    let (error_type, _) = function_error(&answer)?;
    ensure(error_type == "Lifecycle.Panic", error_type)?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("panicked"), format!("{:?}", document.annotations))?;
    stage.lives().await
}

async fn explicit_parent() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "explicit parent" })).await?;
    let document = stage.document(&answer).await?;
    let spans = stage.traces.find(|span| span.name == "explicit");
    ensure(spans.len() == 1 && spans[0].parent_id.as_ref() == Some(&document.id), format!("{spans:?}"))?;
    let inner = stage.traces.find(|span| span.name == "careless");
    ensure(inner.len() == 1 && inner[0].parent_id.as_ref() == Some(&spans[0].id), format!("{inner:?}"))
}

async fn init_left_open() -> Tested {
    let stage = Stage::new("init-left-open", TraceMode::Active).await?;
    let answer = stage.invoke(json!({})).await?;
    stage.document(&answer).await?;
    ensure(stage.traces.find(|span| span.name == "work").len() == 1, "the finished span is lost")
}

async fn init_blocking_traced() -> Tested {
    let stage = Stage::new("init-blocking-traced", TraceMode::Active).await?;
    let answer = stage.invoke(json!({})).await?;
    stage.document(&answer).await?;
    let (init, inner) =
        (stage.traces.find(|span| span.name == "init database"), stage.traces.find(|span| span.name == "connect"));
    let below = init.len() == 1 && inner.len() == 1 && inner[0].parent_id.as_ref() == Some(&init[0].id);
    ensure(below, format!("{init:?} {inner:?}"))
}

async fn init_blocking_hangs() -> Tested {
    let stage =
        Stage::with("init-blocking-hangs", TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_INIT_BUDGET", "300"))
            .await?;
    let _ = stage.invoke(json!({})).await?;
    let exited = stage.exited().await?;
    let by_itself = matches!(exited, EventKind::Exited { exit: Exit::Code(1), .. });
    ensure(by_itself, format!("the process did not end by itself: {exited:?}"))
}

async fn filtered_subscriber() -> Tested {
    let stage = Stage::new("filtered-subscriber", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "log" })).await?;
    stage.document(&answer).await?;
    ensure(stage.logged("hides spans").len() == 1, "it is not told")
}

async fn untraced_work() -> Tested {
    let stage =
        // Beside no other layer a call site is asked in advance, and not where it is made.
        Stage::with("own-subscriber-redacting", TraceMode::Active, |function| function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE", "freeze")).await?;
    let untraced = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0";
    let payload = json!({ "do": "ticking spans" }).to_string().into();
    stage.invoke_event(Event { payload, trace_header: Some(untraced.to_owned()), ..Event::default() }).await?;
    stage.settle().await?;
    thaw_until(&stage, "the ticking is over").await?;
    let traced = stage.invoke(json!({})).await?;
    stage.document(&traced).await?;
    let strangers = stage.traces.find(|document| document.name == "work");
    ensure(strangers.is_empty(), format!("{strangers:?}"))
}

async fn side_by_side() -> Tested {
    let stage = KINDS[3].stage("value", |function| function).await?;
    let answers = all((0..24).map(|_| stage.invoke(json!({ "do": "log", "after": "work" })))).await?;
    for answer in &answers {
        let document = stage.finished_document(answer).await?;
        let work = stage.traces.find(|span| span.trace_id == answer.trace_id && span.name == "work");
        ensure(work.len() == 1 && work[0].parent_id.as_ref() == Some(&document.id), format!("{work:?}"))?;
        let lines = stage.logged("a line of the user's");
        let of_it = |line: &&String| line.contains(&answer.request_id) && line.contains(&answer.trace_id);
        ensure(lines.iter().filter(of_it).count() == 1, format!("{lines:?}"))?;
    }
    Ok(())
}

async fn other_gateways() -> Tested {
    let stage = Stage::new("http", TraceMode::Active).await?;
    let gateway = json!({
        "resource": "/{proxy+}", "path": "/orders/7", "httpMethod": "GET", "headers": { "host": "x.execute-api.eu-west-1.amazonaws.com" },
        "multiValueHeaders": { "host": ["x.execute-api.eu-west-1.amazonaws.com"] }, "queryStringParameters": null,
        "requestContext": { "stage": "$default", "path": "/orders/7", "httpMethod": "GET", "identity": {} },
        "body": null, "isBase64Encoded": false,
    });
    let balancer = json!({
        "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/x/1" } },
        "httpMethod": "GET", "path": "/orders/7", "queryStringParameters": {}, "headers": { "host": "example.com" },
        "body": "", "isBase64Encoded": false,
    });
    for event in [balancer, gateway] {
        let answer = stage.invoke(event).await?;
        let body = value(&answer)?;
        ensure(body["statusCode"] == 200 && body["body"] == "order", body.to_string())?;
        let document = stage.document(&answer).await?;
        ensure(document.annotation("route") == Some("GET /orders/{id}"), format!("{:?}", document.annotations))?;
    }
    Ok(())
}

async fn resource() -> Tested {
    let stage = Stage::new("exporter", TraceMode::Active).await?;
    stage.invoke(json!({})).await?;
    ensure(stage.logged("spans of probe").len() == 1, format!("{:?}", stage.logged("spans of")))
}

async fn unready() -> Tested {
    let stage = Stage::new("unready", TraceMode::Active).await?;
    for (kind, part) in [("Error", "pool is shut"), ("Lifecycle.Panic", "fuse was lit")] {
        let answer = stage.invoke(json!({})).await?;
        let (error_type, message) = function_error(&answer)?;
        ensure(error_type == kind && message.contains(part), format!("{error_type}: {message}"))?;
    }
    stage.lives().await
}

async fn shutdown_without_timers() -> Tested {
    let stage = Stage::new("shutdown-without-timers", TraceMode::Active).await?;
    ensure(stage.invoke(json!({})).await?.result.is_ok(), "the invocation failed")?;
    stage.settle().await?;
    let ended = within("the shutdown", stage.function.shutdown()).await?.ended;
    ensure(ended.len() == 1 && ended[0].exit == Exit::Code(0), format!("{ended:?}"))?;
    let said: Vec<Value> = stage.logged("hook ").into_iter().filter(|line| !line.contains("panicked")).map(Value::from).collect();
    ensure(said == ["hook two", "hook one"], format!("{said:?}"))
}
