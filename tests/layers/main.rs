//! Each layer alone, on a plain `lambda_runtime::Runtime` or under `lambda_http::run`: what works, and what is documented not to. This binary is
//! both the test and, where `PROBE` names a layer, the function under test.

#[path = "../support/mod.rs"]
mod support;

use lambda_http::{Request, RequestExt as _};
use lambda_lifecycle::{
    Error, Invocation, LambdaEvent, Lifecycle, runtime,
    service::{HandlerLayer, HttpLayer, RuntimeLayer},
    service_fn,
};
use lambda_lifecycle_sandbox::{
    Event,
    function::TraceMode,
    xray::{Document, Kind},
};
use lambda_runtime::{Runtime, tower::Layer};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{process::ExitCode, time::Duration};
use support::{Stage, Tested, ensure, function_error, function_main, named, test, value};
use tokio::runtime::{Builder, LocalOptions};

/// Of an invocation that is to meet its deadline.
const SHORT: Duration = Duration::from_secs(1);

/// The layer of a function. `PROBE` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Probe {
    Runtime,
    Handler,
    Http,
    /// None: this library's loop.
    Loop,
    /// This library's loop, with both.
    LoopAndLayers,
    /// All stages, on Tokio's local runtime.
    Local,
}

/// The request of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Do {
    Succeed,
    Fail,
    /// Wait for the deadline.
    Wait,
}

fn main() -> ExitCode {
    if let Some(layer) = named("PROBE") {
        return function(layer);
    }
    support::run([vec![
        test("a runtime layer alone traces, runs background work and guesses no outcome", runtime_layer),
        test("a handler layer alone begins the invocation and keeps its deadline", handler_layer),
        test("an HTTP layer alone has the invocation in the request and responds with 504", http_layer),
        test("without a lifecycle a misspelled setting is reported once", misspelled),
        test("all stages run on Tokio's local runtime", local_runtime),
    ]])
}

fn function(layer: Probe) -> ExitCode {
    if layer == Probe::Local {
        return local();
    }
    tracing_subscriber::fmt().json().init();
    function_main(Builder::new_current_thread(), async {
        match layer {
            Probe::Runtime => Runtime::new(service_fn(handle)).layer(RuntimeLayer::new()).run().await,
            Probe::Handler => Runtime::new(HandlerLayer::new().layer(service_fn(handle))).run().await,
            Probe::Http => lambda_http::run(HttpLayer::new().layer(lambda_http::service_fn(serve))).await,
            Probe::Loop => runtime::Runtime::new(service_fn(handle))?.run().await,
            Probe::LoopAndLayers => {
                let handler = HandlerLayer::new().layer(service_fn(handle));
                runtime::Runtime::new(handler)?.layer(RuntimeLayer::new()).run().await
            }
            Probe::Local => Err("it has another runtime".into()),
        }
    })
}

fn local() -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default()).expect("a runtime");
    match runtime.block_on(Lifecycle::from_env().run(service_fn(handle))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn handle(event: LambdaEvent<Do>) -> Result<Value, Error> {
    let invocation = Invocation::current();
    let request_id = invocation.request_id().to_owned();
    invocation.after_response(async move { println!("background work of {request_id}") });
    match event.payload {
        Do::Fail => Err("no stock".into()),
        Do::Wait => Ok(invocation.within(std::future::pending::<Value>()).await?),
        Do::Succeed => Ok(json!({ "request_id": invocation.request_id(), "deadline": invocation.deadline().is_some() })),
    }
}

async fn serve(request: Request) -> Result<String, Error> {
    let invocation = request.extensions().get::<Invocation>().ok_or("no invocation in the request")?.clone();
    if request.raw_http_path() == "/wait" {
        return Ok(std::future::pending().await);
    }
    Ok(format!("{} {}", invocation.request_id(), invocation.deadline().is_some()))
}

async fn runtime_layer() -> Tested {
    let stage = Stage::new(Probe::Runtime, TraceMode::Active).await?;
    for act in [Do::Succeed, Do::Fail] {
        let answer = stage.invoke(json!(act)).await?;
        ensure(answer.result.is_ok() == (act == Do::Succeed), format!("{answer:?}"))?;
        stage.wait_for_logs(&format!("background work of {}", answer.request_id), 1).await?;
        stage.settle().await?;
        let ours = |document: &Document| document.trace_id == answer.trace_id && document.annotation("trigger").is_some();
        let document = stage.only("the invocation's document", ours)?;
        let told = document.annotation("outcome").is_some()
            || document.raw.get("fault").is_some()
            || document.raw.get("cause").is_some();
        ensure(!told, format!("an outcome was guessed: {}", document.raw))?;
        ensure(
            document.kind == Kind::Subsegment && document.annotation("trigger") == Some("direct"),
            format!("{}", document.raw),
        )?;
    }
    stage.is_sound()
}

async fn handler_layer() -> Tested {
    let stage = Stage::new(Probe::Handler, TraceMode::Active).await?;
    let answer = stage.invoke(json!(Do::Succeed)).await?;
    ensure(value(&answer)? == json!({ "request_id": answer.request_id, "deadline": true }), format!("{answer:?}"))?;
    stage.wait_for_logs(&format!("background work of {}", answer.request_id), 1).await?;
    let answer = stage.invoke_within(SHORT, json!(Do::Wait)).await?;
    ensure(function_error(&answer)?.0 == "Lifecycle.DeadlineExceeded", format!("{answer:?}"))?;
    stage.settle().await?;
    let ours = stage.traces.find(|document| document.annotation("trigger").is_some());
    ensure(ours.is_empty(), format!("it is traced: {ours:?}"))
}

async fn misspelled() -> Tested {
    for probe in [Probe::Runtime, Probe::Handler, Probe::Loop, Probe::LoopAndLayers] {
        let stage = Stage::with(probe, TraceMode::Active, |function| function.env("LAMBDA_LIFECYLE_TRACE", "off")).await?;
        for _ in 0..2 {
            ensure(stage.invoke(json!(Do::Succeed)).await?.result.is_ok(), format!("{probe:?}: an invocation failed"))?;
        }
        stage.settle().await?;
        ensure(stage.codes() == ["setting_unknown"], format!("{probe:?}: {:?}", stage.problems()))?;
    }
    Ok(())
}

async fn local_runtime() -> Tested {
    let stage = Stage::new(Probe::Local, TraceMode::Active).await?;
    let answer = stage.invoke(json!(Do::Succeed)).await?;
    ensure(value(&answer)? == json!({ "request_id": answer.request_id, "deadline": true }), format!("{answer:?}"))?;
    stage.wait_for_logs(&format!("background work of {}", answer.request_id), 1).await?;
    let late = stage.invoke_within(SHORT, json!(Do::Wait)).await?;
    ensure(function_error(&late)?.0 == "Lifecycle.DeadlineExceeded", format!("{late:?}"))?;
    stage.settle().await?;
    let ours = |document: &Document| document.trace_id == answer.trace_id && document.annotation("trigger").is_some();
    let document = stage.only("the invocation's document", ours)?;
    ensure(document.annotation("outcome") == Some("responded"), format!("{}", document.raw))?;
    stage.is_sound()
}

async fn http_layer() -> Tested {
    let stage = Stage::new(Probe::Http, TraceMode::Active).await?;
    let request = |path: &str, timeout| Event { timeout, ..http(path) };
    let answer = stage.invoke_event(request("/", None)).await?;
    let response = value(&answer)?;
    ensure(response["body"] == json!(format!("{} true", answer.request_id)), format!("{response}"))?;
    let answer = stage.invoke_event(request("/wait", Some(SHORT))).await?;
    let response = value(&answer)?;
    ensure(response["statusCode"] == 504, format!("{response}"))
}

fn http(path: &str) -> Event {
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": { "host": "example.org" },
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "example.org", "domainPrefix": "e", "requestId": "r", "routeKey": "$default",
            "stage": "$default", "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1_583_348_638_390_u64,
            "http": { "method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4", "userAgent": "test" },
        },
        "isBase64Encoded": false,
    });
    Event { payload: event.to_string().into(), ..Event::default() }
}
