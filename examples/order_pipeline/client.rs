//! The callers.

use crate::Placed;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use lambda_lifecycle_sandbox::url::FunctionUrl;
use serde_json::json;
use std::error::Error;

/// Places an order as a separate caller, and waits for the response.
pub(crate) async fn post(url: &FunctionUrl, title: &'static str, body: String) -> Result<Placed, Box<dyn Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let request = http::Request::post(format!("{}orders", url.url()))
        .header("content-type", "application/json")
        .header("user-agent", "order-pipeline")
        .body(Full::from(body))?;
    let response = client.request(request).await?;
    let trace = response.headers().get("x-amzn-trace-id").and_then(|header| header.to_str().ok()).unwrap_or_default();
    let trace_id = trace.trim_start_matches("Root=").split(';').next().unwrap_or_default().to_owned();
    let status = response.status().as_u16();
    let body = String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned();
    Ok(Placed { title, status, body, trace_id })
}

/// The event of an order, as a function URL makes it of a request.
pub(crate) fn event(order: &str) -> String {
    let http =
        json!({ "method": "POST", "path": "/orders", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "console" });
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/orders",
        "rawQueryString": "",
        "headers": { "content-type": "application/json", "host": "localhost" },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "sandbox",
            "domainName": "localhost",
            "http": http,
            "requestId": "console",
            "routeKey": "$default",
            "stage": "$default",
            "time": "26/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1_795_694_400_000_u64,
        },
        "body": order,
        "isBase64Encoded": false,
    });
    format!("{event:#}")
}
