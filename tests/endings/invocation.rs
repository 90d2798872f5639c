//! Endings that are the same in every kind of environment, or belong to one.

use crate::{
    kind::{SOON, long_grace, long_reserve},
    support::{Stage, Tested, ensure, function_error, test, value},
};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("undecodable event: whatever it is, the caller is told where", undecodable_event),
        test("deadline of a part of the work: the handler is told", within),
        test("stream: read to its end", || streams(json!({}), None, "answered")),
        test("http: the stage of API Gateway is no part of the path", http_stage),
        test("http: a request that is not answered before the deadline gets a 504", http_deadline),
        test("after the response: work runs after an error and after a panic", after_a_failure),
        test("after the response: work that panics costs itself alone", bad_work),
    ]
}

async fn within() -> Tested {
    let stage = Stage::with("value", TraceMode::Active, long_grace).await?;
    let answer = stage.invoke_within(SOON, json!({ "do": "within" })).await?;
    let body = value(&answer)?;
    ensure(body["within"].as_str().is_some_and(|text| text.contains("raise the timeout")), body.to_string())
}

async fn undecodable_event() -> Tested {
    for event in ["{\"do\":", "", "[1,", "\"\\ud800\""] {
        let stage = Stage::new("value", TraceMode::Active).await?;
        let answer = stage.invoke_raw(event).await?;
        let (error_type, message) = function_error(&answer)?;
        ensure(
            error_type == "Lifecycle.UndecodableEvent" && message.contains("line 1"),
            format!("{event}: {error_type}: {message}"),
        )?;
        let document = stage.document(&answer).await?;
        ensure(document.annotation("outcome") == Some("undecodable_event"), format!("{:?}", document.annotations))?;
        ensure(stage.logged("the invocation failed").len() == 1, "not one line in the log")?;
        stage.lives().await?;
    }
    Ok(())
}

async fn streams(event: Value, broken: Option<&str>, outcome: &str) -> Tested {
    let stage = Stage::new("stream", TraceMode::Active).await?;
    let answer = stage.invoke(event).await?;
    // What came before the break is there, and nothing that is none of the body.
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

pub(crate) fn http_event(path: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "token=do-not-tell",
        "headers": { "host": "example.com", "user-agent": "test", "x-forwarded-for": "198.51.100.7, 10.0.0.1" },
        "requestContext": { "http": { "method": "GET", "path": path }, "domainName": "example.com", "stage": "$default" },
        "isBase64Encoded": false,
    })
}

async fn http_stage() -> Tested {
    let stage = Stage::new("http", TraceMode::Active).await?;
    let mut v2 = http_event("/prod/orders/7");
    v2["requestContext"]["stage"] = json!("prod");
    let v1 = json!({
        "resource": "/{proxy+}", "path": "/orders/7", "httpMethod": "GET", "headers": { "Host": "example.com" },
        "multiValueHeaders": { "Host": ["example.com"] }, "queryStringParameters": null, "multiValueQueryStringParameters": null,
        "pathParameters": { "proxy": "orders/7" }, "stageVariables": null, "body": null, "isBase64Encoded": false,
        "requestContext": { "stage": "prod", "httpMethod": "GET", "path": "/prod/orders/7", "resourcePath": "/{proxy+}", "identity": {} },
    });
    let mut alike = v1.clone();
    alike["requestContext"]["stage"] = json!("orders");
    alike["requestContext"]["path"] = json!("/orders/orders/7");
    for event in [v2, v1, alike] {
        let answer = stage.invoke(event).await?;
        let body = value(&answer)?;
        ensure(body["statusCode"] == 200, body.to_string())?;
        let document = stage.document(&answer).await?;
        ensure(document.annotation("route") == Some("GET /orders/{id}"), format!("{:?}", document.annotations))?;
    }
    Ok(())
}

async fn http_deadline() -> Tested {
    let stage = Stage::with("http", TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(SOON, http_event("/slow/hang")).await?;
    let body = value(&answer)?;
    ensure(body["statusCode"] == 504, body.to_string())?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("deadline_exceeded") && document.fault, format!("{:?}", document.raw))?;
    ensure(document.annotation("route") == Some("GET /slow/{kind}"), format!("{:?}", document.annotations))?;

    let answer = stage.invoke(http_event("/orders/7")).await?;
    let document = stage.document(&answer).await?;
    let http = document.http.clone().unwrap_or_default();
    ensure(http.status == Some(200) && http.client_ip.as_deref() == Some("198.51.100.7"), format!("{http:?}"))?;
    ensure(!document.raw.to_string().contains("do-not-tell"), "the query is in the document")?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn after_a_failure() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    for ending in ["fail", "panic"] {
        let answer = stage.invoke(json!({ "do": ending, "after": ending })).await?;
        function_error(&answer)?;
        stage.settle().await?;
        let lines = stage.logged("after the response");
        let line = lines.iter().find(|line| line.contains(&format!("\"note\":\"{ending}\""))).ok_or("the work did not run")?;
        let line: Value = serde_json::from_str(line)?;
        ensure(line["requestId"] == answer.request_id.as_str(), format!("{line} is not of {}", answer.request_id))?;
    }
    Ok(())
}

async fn bad_work() -> Tested {
    let stage = Stage::new("value", TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "do": "bad work", "after": "good work" })).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.document(&answer).await?;
    ensure(stage.logged("good work").len() == 1, "the other work did not run")?;
    ensure(stage.logged("work after the response panicked: fuse was lit").len() == 1, "the panic is not in the log")?;
    stage.lives().await
}
