//! The invocation itself: its event, its handler, its response.

use crate::{
    behavior::{Do, Probe},
    support::{Stage, Tested, ensure, function_error, test},
};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("stream: an error that panics when it is formatted has an outcome too", stream_with_a_bad_error),
        test("a service that is not ready has an outcome too", unready),
        test("undecodable event: the error names the position in every kind of event", undecodable_event),
        test("stream: read to its end", || streams(json!({}), None, "responded")),
        test("an event that is not UTF-8 does no harm under RUST_LOG=trace", not_utf8),
        test("a spawned task keeps its invocation", spawned),
    ]
}

async fn stream_with_a_bad_error() -> Tested {
    let stage = Stage::new(Probe::Stream, TraceMode::Active).await?;
    let answer = stage.invoke(Do::BadError).await?;
    let (error_type, _) = function_error(&answer)?;
    ensure(error_type == "Lifecycle.Panic", error_type)?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("panicked"), format!("{:?}", document.annotations))?;
    stage.lives().await
}

async fn unready() -> Tested {
    let stage = Stage::new(Probe::Unready, TraceMode::Active).await?;
    for (kind, part) in [("Error", "pool is shut"), ("Lifecycle.Panic", "fuse was lit")] {
        let answer = stage.invoke(json!({})).await?;
        let (error_type, message) = function_error(&answer)?;
        ensure(error_type == kind && message.contains(part), format!("{error_type}: {message}"))?;
    }
    stage.lives().await
}

async fn undecodable_event() -> Tested {
    for event in ["{\"do\":", "", "[1,", "\"\\ud800\""] {
        let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
        let answer = stage.invoke_raw(event).await?;
        let (error_type, message) = function_error(&answer)?;
        ensure(
            error_type == "Lifecycle.UndecodableEvent" && message.contains("line 1"),
            format!("{event}: {error_type}: {message}"),
        )?;
        let document = stage.document(&answer).await?;
        ensure(document.annotation("outcome") == Some("undecodable_event"), format!("{:?}", document.annotations))?;
        ensure(stage.reported_as("outcome", "undecodable_event").len() == 1, "not one line in the log")?;
        stage.lives().await?;
    }
    Ok(())
}

async fn streams(event: Value, broken: Option<&str>, outcome: &str) -> Tested {
    let stage = Stage::new(Probe::Stream, TraceMode::Active).await?;
    let answer = stage.invoke(event).await?;
    // The part before the break has arrived, and nothing besides the body.
    let whole = answer.result.as_ref().is_ok_and(|body| body.ends_with(b"chunk 0;chunk 1;chunk 2;"));
    ensure(answer.streamed && whole, format!("{answer:?}"))?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some(outcome), format!("{:?}", document.annotations))?;
    if let Some(part) = broken {
        let told =
            document.exceptions().iter().any(|exception| exception.message.as_deref().is_some_and(|text| text.contains(part)));
        ensure(told, format!("{:?}", document.exceptions()))?;
    }
    stage.lives().await
}

async fn not_utf8() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| function.env("RUST_LOG", "trace")).await?;
    stage.invoke_raw(&b"\"\xff\xfe\""[..]).await?;
    ensure(stage.invoke(json!({})).await?.result.is_ok(), "the invocation after it failed")?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn spawned() -> Tested {
    let stage = Stage::new(Probe::Value, TraceMode::Active).await?;
    let answer = stage.invoke(Do::Spawn).await?;
    ensure(answer.result.as_deref() == Ok(&b"true"[..]), format!("{:?}", answer.result))
}
