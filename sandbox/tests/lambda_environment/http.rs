//! Function URLs.

use crate::{
    raw::{Reply, request, send},
    support::{Outcome, ensure, ensure_eq, probe, trial},
};
use lambda_lifecycle_sandbox::{function::Function, url::FunctionUrl};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};

const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("a_request_becomes_an_event_of_format_2", becomes_an_event),
        trial("an_answer_with_status_becomes_the_response", becomes_the_response),
        trial("a_streamed_answer_becomes_the_response", streamed),
        trial("what_a_function_fails_with_becomes_502", failures),
    ]
}

/// One exchange, on a thread of its own: the client blocks.
async fn exchange(url: &FunctionUrl, request: Vec<u8>) -> Result<Reply, Failed> {
    let address = url.address().to_string();
    Ok(tokio::task::spawn_blocking(move || send(&address, &request)).await??)
}

/// Posts what the function is to do, in the body of the request.
async fn ask(url: &FunctionUrl, task: Value) -> Result<Reply, Failed> {
    let body = task.to_string();
    exchange(url, request("POST", "/", &[("content-type", "application/json")], body.as_bytes())).await
}

async fn start() -> Result<(Function, FunctionUrl), Failed> {
    let function = probe("http").build().await;
    let url = FunctionUrl::start(function.clone()).await?;
    Ok((function, url))
}

async fn becomes_an_event() -> Outcome {
    let (function, url) = start().await?;
    let headers = [
        ("X-Mine", "1"),
        ("x-mine", "2"),
        ("Cookie", "a=1; b=2"),
        ("User-Agent", "test"),
        ("content-type", "application/json"),
        ("X-Amzn-Trace-Id", ROOT),
    ];
    let body = br#"{"event":true}"#;
    let reply = exchange(&url, request("PUT", "/a%20b/c?x=1&x=2&y=%26", &headers, body)).await?;
    ensure_eq(reply.status, 200)?;
    ensure_eq(reply.header("content-type"), Some("application/json"))?;
    ensure_eq(reply.header("x-amzn-trace-id"), Some(ROOT))?;
    let event: Value = serde_json::from_str(&reply.body)?;
    let expected = json!({
        "/version": "2.0",
        "/routeKey": "$default",
        "/rawPath": "/a%20b/c",
        "/rawQueryString": "x=1&x=2&y=%26",
        "/cookies": ["a=1", "b=2"],
        "/headers/x-mine": "1,2",
        "/headers/cookie": null,
        "/headers/x-amzn-trace-id": ROOT,
        "/queryStringParameters": { "x": "1,2", "y": "&" },
        "/requestContext/http/method": "PUT",
        "/requestContext/http/path": "/a%20b/c",
        "/requestContext/http/protocol": "HTTP/1.1",
        "/requestContext/http/sourceIp": "127.0.0.1",
        "/requestContext/http/userAgent": "test",
        "/requestContext/routeKey": "$default",
        "/requestContext/stage": "$default",
        "/body": r#"{"event":true}"#,
        "/isBase64Encoded": false,
    });
    for (pointer, expected) in expected.as_object().into_iter().flatten() {
        ensure_eq((pointer, event.pointer(pointer).unwrap_or(&Value::Null)), (pointer, expected))?;
    }
    ensure(function.timeline().iter().any(|event| event.request_id.as_deref() == reply.header("x-amzn-requestid")), "the id")
}

async fn becomes_the_response() -> Outcome {
    let (_function, url) = start().await?;
    let answer = json!({
        "statusCode": 418,
        "headers": { "X-Mine": "yes", "content-type": "text/plain" },
        "cookies": ["a=1; Secure", "b=2"],
        "body": "dGVhcG90",
        "isBase64Encoded": true,
    });
    let reply = ask(&url, json!({ "answer": answer })).await?;
    ensure_eq((reply.status, reply.body.as_str()), (418, "teapot"))?;
    ensure_eq(reply.headers("set-cookie"), ["a=1; Secure", "b=2"])?;
    ensure_eq((reply.header("x-mine"), reply.header("content-type")), (Some("yes"), Some("text/plain")))?;
    ensure(reply.header("x-amzn-trace-id").is_some_and(|value| value.starts_with("Root=1-")), "a trace of its own")
}

async fn streamed() -> Outcome {
    let (_function, url) = start().await?;
    let reply = ask(&url, json!({ "stream": ["one ", "two"] })).await?;
    ensure_eq((reply.status, reply.body.as_str()), (201, "one two"))?;
    ensure_eq(reply.headers("set-cookie"), ["a=1"])?;
    ensure_eq(reply.header("content-type"), Some("application/octet-stream"))
}

async fn failures() -> Outcome {
    let (_function, url) = start().await?;
    for task in [json!({ "error": "no" }), json!({ "exit": 1 }), json!({ "answer": { "statusCode": "no" } })] {
        let reply = ask(&url, task).await?;
        ensure_eq((reply.status, reply.body.as_str()), (502, r#"{"message":"Internal Server Error"}"#))?;
    }
    Ok(())
}
