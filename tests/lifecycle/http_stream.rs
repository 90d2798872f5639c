//! HTTP responses that are streamed: each part reaches the caller as soon as it is available.

use crate::{
    behavior::Probe,
    http::http_event,
    kind::{SOON, long_reserve},
    support::{Gate, Stage, Tested, ensure, test, wait_at, within},
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::Path,
    http::header::SET_COOKIE,
    response::AppendHeaders,
    routing::get,
};
use futures_util::stream;
use lambda_lifecycle::{Error, Lifecycle};
use lambda_lifecycle_sandbox::{Event, FunctionResponse, Invoke as _, StreamPart, function::TraceMode};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{future::pending, time::Duration};
use tokio::sync::mpsc;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("http stream: the first part arrives before the last one is made", first_part),
        test("http stream: status, headers and cookies are in the prelude", prelude),
        test("http stream: no response before the deadline is a 504", deadline),
        test("http stream: an event that holds no valid request gets a 400", invalid),
        test("http stream: a body that fails breaks the response off", broken),
    ]
}

pub(crate) async fn serve(life: Lifecycle) -> Result<(), Error> {
    let rows = async || {
        Body::from_stream(stream::unfold(0, async |part| match part {
            0 => Some((Ok::<_, Error>(Bytes::from_static(b"first;")), 1)),
            1 => {
                wait_at(&std::env::var("GATE").unwrap_or_default()).await;
                Some((Ok(Bytes::from_static(b"last;")), 2))
            }
            _ => None,
        }))
    };
    let broken = async || Body::from_stream(stream::iter([Ok(Bytes::from_static(b"first;")), Err(Error::from("pipe burst"))]));
    let cookies = async || (AppendHeaders([(SET_COOKIE, "a=1"), (SET_COOKIE, "b=2")]), "hello");
    let slow = async |Path(_): Path<String>| pending::<&str>().await;
    let router = Router::new().route("/rows", get(rows)).route("/broken", get(broken)).route("/cookies", get(cookies));
    life.serve_streaming(router.route("/slow/{kind}", get(slow))).await
}

/// The prelude and the body of a streamed response.
fn parts(answer: &FunctionResponse) -> Result<(Value, String), Failed> {
    ensure(answer.streamed, "the response was not streamed")?;
    let bytes = answer.result.as_ref().map_err(ToString::to_string)?;
    let end = bytes.windows(8).position(|window| window == [0; 8]).ok_or("no prelude")?;
    Ok((serde_json::from_slice(&bytes[..end])?, String::from_utf8(bytes[end + 8..].to_vec())?))
}

async fn first_part() -> Tested {
    let gate = Gate::new().await?;
    let address = gate.address()?;
    let stage = Stage::with(Probe::HttpStream, TraceMode::Active, |function| function.env("GATE", &address)).await?;
    let (sender, mut received) = mpsc::channel(16);
    let function = stage.function.clone();
    let event = Event { payload: http_event("/rows").to_string().into(), ..Event::default() };
    let answer = tokio::spawn(async move { function.invoke_streaming(event, sender).await });
    // The function waits, so the last part does not exist yet.
    let held = gate.held().await?;
    let mut so_far = Vec::new();
    while !so_far.ends_with(b"first;") {
        if let StreamPart::Data(data) = within("the first part", received.recv()).await?.ok_or("the stream ended")? {
            so_far.extend_from_slice(&data);
        }
    }
    held.release();
    drop(received);
    let answer = within("the whole response", answer).await??;
    ensure(parts(&answer)?.1 == "first;last;", format!("{answer:?}"))?;
    let document = stage.document(&answer).await?;
    let shown = (document.annotation("outcome"), document.annotation("route"));
    ensure(shown == (Some("responded"), Some("GET /rows")), format!("{:?}", document.annotations))
}

async fn prelude() -> Tested {
    let stage = Stage::new(Probe::HttpStream, TraceMode::Active).await?;
    let (prelude, body) = parts(&stage.invoke(http_event("/cookies")).await?)?;
    ensure(prelude["statusCode"] == 200 && body == "hello", format!("{prelude} {body}"))?;
    ensure(prelude["cookies"] == serde_json::json!(["a=1", "b=2"]), prelude.to_string())?;
    ensure(prelude["headers"]["content-type"] == "text/plain; charset=utf-8", prelude.to_string())?;
    let (prelude, _) = parts(&stage.invoke(http_event("/none")).await?)?;
    ensure(prelude["statusCode"] == 404, prelude.to_string())
}

async fn deadline() -> Tested {
    let stage = Stage::with(Probe::HttpStream, TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(SOON, http_event("/slow/hang")).await?;
    let (prelude, _) = parts(&answer)?;
    ensure(prelude["statusCode"] == 504, prelude.to_string())?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("deadline_exceeded") && document.fault, format!("{:?}", document.raw))?;
    let (prelude, _) = parts(&stage.invoke_within(Duration::from_secs(60), http_event("/cookies")).await?)?;
    ensure(prelude["statusCode"] == 200 && stage.processes() == 1, prelude.to_string())
}

async fn invalid() -> Tested {
    let stage = Stage::new(Probe::HttpStream, TraceMode::Active).await?;
    let mut event = http_event("/cookies");
    event["headers"]["host"] = serde_json::json!("a b/c?d");
    let (prelude, _) = parts(&stage.invoke(event).await?)?;
    ensure(prelude["statusCode"] == 400, prelude.to_string())?;
    ensure(stage.codes() == ["request_invalid"], format!("{:?}", stage.codes()))
}

async fn broken() -> Tested {
    let stage = Stage::new(Probe::HttpStream, TraceMode::Active).await?;
    let answer = stage.invoke(http_event("/broken")).await?;
    ensure(answer.streamed && answer.result.is_err(), format!("{answer:?}"))?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("stream_broken") && document.fault, format!("{:?}", document.raw))
}
