//! What is rare: it costs no span and no process either.

use crate::{
    kind::UNTIL_KILLED,
    support::{Gate, Stage, Tested, ensure, test, within},
};
use lambda_lifecycle_sandbox::{
    Event,
    function::{FunctionBuilder, TraceMode},
};
use libtest_mimic::Trial;
use serde_json::json;
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, time::Duration};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("SIGTERM: the document of an invocation with a foreign parent stays a segment", foreign_at_sigterm),
        test("SIGTERM: the document of an invocation without a parent names none", parentless_at_sigterm),
        test("SIGTERM: a span that outlived its invocation leaves", outlived_at_sigterm),
        test("an exporter gets the spans of a handler that blocked for a while", exported_after_blocking),
        test("a subscriber that was only in scope for a while is not in the way", scoped_before),
        test("ten thousand spans that end at once end", chain),
        test("a thread may log when it ends", thread_end),
        test("a thread may make spans when it ends, and drop those it held", spans_at_thread_end),
        test("after the response: what a task stores while an exporter is at work runs", stored_late),
        test(
            "after the response: work that stores work without end does not keep the next invocation waiting",
            stored_without_end,
        ),
        test("an exporter for which there is no thread is told, the process lives", no_thread),
        test("a daemon's address and a log filter that are no text are told about, once", no_text),
        test("where the daemon's address is unset or empty documents go to the default one", default_daemon),
        test("a misspelled variable is told about, once", misspelled),
        test("init: a daemon's name needs none of Tokio's threads", named_daemon),
        test("OpenTelemetry may log while it holds the context", too_many_contexts),
        test("a blocked handler: a span that a remote caller waits for is not taken for the invocation's", served),
    ]
}

async fn cut_off(stage: &Stage, client_context: Option<String>) -> Tested {
    let payload = json!({ "do": "hang" }).to_string().into();
    let answer = stage.invoke_event(Event { payload, client_context, timeout: Some(UNTIL_KILLED), ..Event::default() }).await?;
    ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    stage.exited().await?;
    stage.settle().await?;
    let documents = stage.traces.find(|document| document.annotation("trigger").is_some());
    let [document] = documents.as_slice() else { return Err(format!("{} documents", documents.len()).into()) };
    ensure(document.annotation("outcome") == Some("shut_down"), format!("{:?}", document.raw))?;
    ensure(document.raw.get("type").is_none(), format!("{:?}", document.raw))
}

async fn foreign_at_sigterm() -> Tested {
    let function = |function: FunctionBuilder| {
        function.kill_delay(Duration::ZERO).env("LAMBDA_LIFECYCLE_DEADLINE", "off").env("LAMBDA_LIFECYCLE_TRACE_PARENT", "w3c")
    };
    let stage = Stage::with("shutdown", TraceMode::Active, function).await?;
    let context = json!({ "w3c": { "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" } });
    cut_off(&stage, Some(context.to_string())).await
}

async fn parentless_at_sigterm() -> Tested {
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1";
    let function = |function: FunctionBuilder| function.kill_delay(Duration::ZERO).env("LAMBDA_LIFECYCLE_DEADLINE", "off");
    let stage = Stage::with("shutdown", TraceMode::Raw(header.to_owned()), function).await?;
    cut_off(&stage, None).await
}

async fn outlived_at_sigterm() -> Tested {
    let stage = Stage::with("shutdown", TraceMode::Active, |function| function.managed(2)).await?;
    let gate = Gate::new().await?;
    let answer = stage.invoke(json!({ "do": "outlive", "gate": gate.address()? })).await?;
    let span = gate.held().await?;
    stage.finished_document(&answer).await?;
    span.release();
    stage.wait_for_logs("outlived its invocation", 1).await?;
    within("the shutdown", stage.function.shutdown()).await?;
    stage.settle().await?;
    let outliving = stage.traces.find(|document| document.name == "outliving");
    ensure(outliving.len() == 1, "the span is lost")
}

async fn exported_after_blocking() -> Tested {
    let stage = Stage::new("exporter", TraceMode::Active).await?;
    let gate = Gate::new().await?;
    let begun = stage.begin_within(UNTIL_KILLED, json!({ "do": "block at the gate", "gate": gate.address()? }));
    let held = gate.held().await?;
    stage.traces.wait_for(2, |document| document.fault).await?;
    held.release();
    begun.answer("a handler that blocks for a while").await?;
    stage.settle().await?;
    let exported = stage.logged("exported");
    ensure(exported.iter().any(|line| line.contains("blocking query") && line.contains("probe")), format!("{exported:?}"))
}

async fn scoped_before() -> Tested {
    let stage = Stage::new("scoped-before", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "log" })).await?;
    stage.document(&answer).await?;
    ensure(stage.traces.find(|document| document.name == "work").len() == 1, "the user's span is lost")?;
    ensure(stage.logged("a line of the user's").len() == 1, "nothing is logged")
}

async fn lives(what: &'static str) -> Result<Stage, libtest_mimic::Failed> {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": what })).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    ensure(stage.invoke(json!({})).await?.result.is_ok() && stage.processes() == 1, "the process did not live")?;
    Ok(stage)
}

async fn chain() -> Tested {
    lives("chain").await.map(drop)
}

async fn thread_end() -> Tested {
    let stage = lives("log at the end of a thread").await?;
    ensure(stage.logged("the thread ends").len() == 1, "it is not logged")
}

async fn spans_at_thread_end() -> Tested {
    let stage = lives("spans at the end of threads").await?;
    ensure(!stage.logged("an event at the end").is_empty(), "it is not logged")?;
    stage.settle().await?;
    stage.documents_are_valid()
}

async fn served() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let begun = stage.begin_within(UNTIL_KILLED, json!({ "do": "serve and block" }));
    stage.traces.wait_for(1, |document| document.name == "served").await?;
    stage.function.expire();
    begun.answer("a handler that blocks").await?;
    stage.settle().await?;
    let found = stage.traces.find(|document| document.name == "served");
    let [document] = found.as_slice() else { return Err(format!("{} documents", found.len()).into()) };
    ensure(document.parent_id.as_deref() == Some("0000000000000008"), format!("{}", document.raw))?;
    ensure(document.annotation("outcome").is_none(), format!("{}", document.raw))
}

async fn stored_late() -> Tested {
    let (exporting, task) = (Gate::new().await?, Gate::new().await?);
    let address = exporting.address()?;
    let stage = Stage::with("exporter", TraceMode::Active, |function| {
        function.env("EXPORTER", "waits at the gate").env("EXPORTER_GATE", address)
    })
    .await?;
    stage.invoke(json!({ "do": "store late", "gate": task.address()? })).await?;
    let (exporter, task) = (exporting.held().await?, task.held().await?);
    task.release();
    stage.wait_for_logs("a task has stored work", 1).await?;
    // The exporter is called again for what comes now, and is not to wait.
    drop(exporting);
    exporter.release();
    stage.settle().await?;
    ensure(stage.logged("the work runs").len() == 1, "the work is lost")
}

async fn stored_without_end() -> Tested {
    for budget in ["0", "100"] {
        let settings = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE_BUDGET", budget);
        let stage = Stage::with("value", TraceMode::Active, settings).await?;
        for _ in 0..2 {
            let answer = stage.invoke(json!({ "do": "store without end" })).await?;
            stage.document(&answer).await?;
        }
        ensure(stage.processes() == 1, "the process did not live")?;
    }
    Ok(())
}

async fn no_thread() -> Tested {
    let stage = Stage::new("exporter-without-threads", TraceMode::Active).await?;
    for _ in 0..2 {
        let answer = stage.invoke(json!({ "after": "exporter" })).await?;
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
        stage.settle().await?;
    }
    ensure(stage.processes() == 1, "the process did not live")?;
    ensure(stage.logged("\"note\":\"exporter\"").len() == 2, "the work did not run")?;
    ensure(!stage.logged("an exporter did not take its spans").is_empty(), "it is not told")
}

async fn too_many_contexts() -> Tested {
    let stage = lives("too many contexts").await?;
    ensure(!stage.logged("Context.AttachFailed").is_empty(), "OpenTelemetry did not log: this test shows nothing")
}

async fn no_text() -> Tested {
    let address = OsStr::from_bytes(b"127.0.0.1:2000\xff");
    let filter = OsStr::from_bytes(b"orders=debug\xff");
    let stage = Stage::with("value", TraceMode::Active, |function| {
        function.env("AWS_XRAY_DAEMON_ADDRESS", address).env("RUST_LOG", filter)
    })
    .await?;
    for _ in 0..2 {
        ensure(stage.invoke(json!({})).await?.result.is_ok(), "the invocation failed")?;
    }
    for problem in ["cannot be used, nothing is sent to X-Ray", "RUST_LOG="] {
        ensure(stage.logged(problem).len() == 1, format!("{problem} is not told once"))?;
    }
    Ok(())
}

async fn default_daemon() -> Tested {
    // Whatever else listens there, a daemon perhaps, would get the documents.
    let Ok(socket) = tokio::net::UdpSocket::bind("127.0.0.1:2000").await else { return Ok(()) };
    for address in [None, Some(""), Some(" ")] {
        let stage = Stage::with("value", TraceMode::Active, |function| match address {
            Some(address) => function.env("AWS_XRAY_DAEMON_ADDRESS", address),
            None => function.without_xray(),
        })
        .await?;
        let answer = stage.invoke(json!({})).await?;
        let mut datagram = vec![0; 65_536];
        while let (bytes, _) = within("a datagram", socket.recv_from(&mut datagram)).await??
            && !String::from_utf8_lossy(&datagram[..bytes]).contains(&answer.trace_id)
        {}
    }
    Ok(())
}

async fn misspelled() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, |function| function.env("LAMBDA_LIFECYLE_TRACE", "off")).await?;
    for _ in 0..2 {
        stage.invoke(json!({})).await?;
    }
    ensure(stage.logged("LAMBDA_LIFECYCLE_TRACE").len() == 1, "it is not told once")
}

async fn named_daemon() -> Tested {
    let stage = Stage::with("exporter-without-threads", TraceMode::Active, |function| {
        function.env("AWS_XRAY_DAEMON_ADDRESS", "localhost:2000")
    });
    let answer = stage.await?.invoke(json!({})).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))
}
