//! Function URLs.

use crate::{
    raw::{Reply, request, send},
    support::{Gate, Outcome, ensure, ensure_eq, printed, probe, trial},
};
use lambda_lifecycle_sandbox::{
    function::{EventKind, Function},
    url::FunctionUrl,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("a_request_becomes_an_event_of_format_2", becomes_an_event),
        trial("an_answer_with_status_becomes_the_response", becomes_the_response),
        trial("a_streamed_answer_becomes_the_response", streamed),
        trial("a_stream_reaches_the_client_while_it_is_written", streams_through),
        trial("a_stream_that_fails_half_way_breaks_the_connection_off", stream_breaks_off),
        trial("a_client_who_leaves_a_stream_does_not_stop_the_function", client_leaves),
        trial("what_a_function_fails_with_becomes_502", failures),
        trial("the_invoke_path_takes_the_body_as_the_event", invoke_path),
        trial("the_invoke_path_tells_function_errors_in_a_header", invoke_path_errors),
        trial("the_invoke_path_runs_events_that_nobody_waits_for", invoke_path_event),
        trial("the_invoke_path_refuses_what_lambda_refuses", invoke_path_refusals),
    ]
}

/// One exchange, on a separate thread because the client blocks.
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
    ensure(reply.header("x-amzn-trace-id").is_some_and(|value| value.starts_with("Root=1-")), "a separate trace")
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

/// A client that reads what is there already.
struct Client(TcpStream, String);

impl Client {
    async fn ask(url: &FunctionUrl, task: Value) -> Result<Self, Failed> {
        let mut stream = TcpStream::connect(url.address()).await?;
        let body = task.to_string();
        stream.write_all(&request("POST", "/", &[("content-type", "application/json")], body.as_bytes())).await?;
        Ok(Self(stream, String::new()))
    }

    /// Reads on to these words; an error when they never come.
    async fn read_to(&mut self, words: &str) -> Outcome {
        while !self.1.contains(words) {
            let mut more = [0; 1024];
            let count = self.0.read(&mut more).await?;
            ensure(count > 0, format!("the end after {:?}", self.1))?;
            self.1 += &String::from_utf8_lossy(&more[..count]);
        }
        Ok(())
    }

    async fn read_to_end(&mut self) -> Outcome {
        let mut rest = Vec::new();
        // Breaking off may be an end or a reset.
        let _ = self.0.read_to_end(&mut rest).await;
        self.1 += &String::from_utf8_lossy(&rest);
        Ok(())
    }
}

/// The end of a complete chunked body.
const END_OF_CHUNKS: &str = "\r\n0\r\n\r\n";

async fn streams_through() -> Outcome {
    let (function, url) = start().await?;
    let gate = Gate::new().await?;
    let mut client = Client::ask(&url, json!({ "stream": ["one", "two"], "stream_gate": gate.address()? })).await?;
    gate.held().await?.release();
    let second = gate.held().await?;
    client.read_to("one").await?;
    ensure(client.1.starts_with("HTTP/1.1 201") && client.1.contains("x-amzn-requestid: "), &client.1)?;
    ensure(client.1.contains("set-cookie: a=1") && !client.1.contains("two"), &client.1)?;
    let ended = |kind: &EventKind| matches!(kind, EventKind::StreamEnded { .. });
    ensure(!function.timeline().iter().any(|event| ended(&event.kind)), "the function is still writing")?;
    second.release();
    client.read_to("two").await?;
    client.read_to(END_OF_CHUNKS).await
}

async fn stream_breaks_off() -> Outcome {
    let (function, url) = start().await?;
    let gate = Gate::new().await?;
    let mut client = Client::ask(&url, json!({ "stream": ["one", "two"], "stream_gate": gate.address()? })).await?;
    gate.held().await?.release();
    let _held = gate.held().await?;
    client.read_to("one").await?;
    function.expire();
    client.read_to_end().await?;
    ensure(client.1.contains("one") && !client.1.ends_with(END_OF_CHUNKS), &client.1)
}

async fn client_leaves() -> Outcome {
    let (function, url) = start().await?;
    let gate = Gate::new().await?;
    let task = json!({ "stream": ["one", "two"], "stream_gate": gate.address()?, "after": { "print": "written" } });
    let mut client = Client::ask(&url, task).await?;
    gate.held().await?.release();
    let second = gate.held().await?;
    client.read_to("one").await?;
    drop(client);
    second.release();
    printed(&function, "written").await;
    function.wait_frozen().await;
    let bytes = function.timeline().into_iter().find_map(|event| match event.kind {
        EventKind::StreamEnded { bytes, error_type: None } => Some(bytes),
        _ => None,
    });
    ensure(bytes.is_some_and(|bytes| bytes > "onetwo".len()), "the whole stream")
}

const INVOKE: &str = "/2015-03-31/functions/function/invocations";

async fn invoke_path() -> Outcome {
    let (function, url) = start().await?;
    let headers =
        [("x-amzn-trace-id", ROOT), ("x-amz-client-context", "eyJjdXN0b20iOnsiYSI6ImIifX0="), ("x-amz-tenant-id", "acme")];
    let reply = exchange(&url, request("POST", INVOKE, &headers, br#"{"context":true}"#)).await?;
    ensure_eq((reply.status, reply.header("x-amz-function-error")), (200, None))?;
    ensure_eq(reply.header("x-amzn-trace-id"), Some(ROOT))?;
    let context: Value = serde_json::from_str(&reply.body)?;
    ensure_eq(context["request_id"].as_str(), reply.header("x-amzn-requestid"))?;
    ensure_eq((&context["tenant"], &context["client"]["a"]), (&json!("acme"), &json!("b")))?;
    ensure_eq(function.timeline().iter().filter(|event| matches!(event.kind, EventKind::EventOut { .. })).count(), 1)
}

async fn invoke_path_errors() -> Outcome {
    let (_function, url) = start().await?;
    for (task, kind, message) in [
        (json!({ "error": "no stock" }), None, "no stock"),
        (json!({ "exit": 3 }), Some("Runtime.ExitError"), "Runtime exited: exit status 3"),
    ] {
        let reply = exchange(&url, request("POST", INVOKE, &[], task.to_string().as_bytes())).await?;
        ensure_eq((reply.status, reply.header("x-amz-function-error")), (200, Some("Unhandled")))?;
        let error: Value = serde_json::from_str(&reply.body)?;
        ensure_eq(error["errorMessage"].as_str(), Some(message))?;
        ensure(kind.is_none_or(|kind| error["errorType"] == kind), error)?;
    }
    Ok(())
}

async fn invoke_path_event() -> Outcome {
    let (function, url) = start().await?;
    let gate = Gate::new().await?;
    let task = json!({ "gate": gate.address()?, "print": "ran" }).to_string();
    let reply = exchange(&url, request("POST", INVOKE, &[("x-amz-invocation-type", "Event")], task.as_bytes())).await?;
    ensure_eq((reply.status, reply.body.as_str()), (202, ""))?;
    gate.held().await?.release();
    printed(&function, "ran").await;
    Ok(())
}

async fn invoke_path_refusals() -> Outcome {
    let (function, url) = start().await?;
    let reply = exchange(&url, request("POST", INVOKE, &[], b"{half")).await?;
    ensure_eq((reply.status, reply.header("x-amzn-errortype")), (400, Some("InvalidRequestContentException")))?;
    let reply = exchange(&url, request("POST", INVOKE, &[("x-amz-invocation-type", "Later")], b"{}")).await?;
    ensure_eq((reply.status, reply.header("x-amzn-errortype")), (400, Some("InvalidParameterValueException")))?;
    let reply = exchange(&url, request("POST", INVOKE, &[("x-amz-invocation-type", "DryRun")], b"{}")).await?;
    ensure_eq(reply.status, 204)?;
    ensure_eq(function.timeline().len(), 0)
}
