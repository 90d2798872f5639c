//! An HTTP request as an event of payload format 2.0.

use super::response::message;
use crate::{
    Event,
    function::settings::{ACCOUNT, REGION},
    ids::{new_request_id, new_root},
};
use axum::{
    body::Body,
    http::{
        HeaderMap, Request, StatusCode, Version,
        header::{CONTENT_TYPE, COOKIE, HOST, USER_AGENT},
        request::Parts,
    },
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value, json};
use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};
use time::OffsetDateTime;

/// Lambda's limit for the payload of a synchronous invocation.
const LARGEST_REQUEST: usize = 6 * 1024 * 1024;

pub(super) async fn event(request: Request<Body>, client: SocketAddr) -> Result<Event, Response> {
    let (parts, body) = request.into_parts();
    let body = read(body).await?;
    let trace_header = trace_header(&parts.headers);
    let domain = format!("sandbox.lambda-url.{REGION}.on.aws");
    let event = format_2(&parts, &body, client, "$default", Some(&domain), &trace_header);
    Ok(Event { payload: event.to_string().into(), trace_header: Some(trace_header), ..Event::default() })
}

/// The one that the client sent, or a new one.
pub(super) fn trace_header(headers: &HeaderMap) -> String {
    let sent = headers.get("x-amzn-trace-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    sent.unwrap_or_else(|| format!("Root={}", new_root()))
}

pub(super) fn format_2(
    parts: &Parts,
    body: &Bytes,
    client: SocketAddr,
    stage: &str,
    domain: Option<&str>,
    trace_header: &str,
) -> Value {
    let mut headers = joined(&parts.headers);
    headers.insert("x-amzn-trace-id".into(), json!(trace_header));
    headers.insert("x-forwarded-for".into(), json!(client.ip().to_string()));
    headers.insert("x-forwarded-proto".into(), json!("http"));
    headers.insert("x-forwarded-port".into(), json!(client.port().to_string()));

    let text = |name| parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let now = SystemTime::now();
    let query = parts.uri.query().unwrap_or_default();
    let path = parts.uri.path();
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": ACCOUNT,
            "apiId": "sandbox",
            "domainName": domain.map_or_else(|| text(HOST), |domain| Some(domain.into())),
            "domainPrefix": "sandbox",
            "http": {
                "method": parts.method.as_str(),
                "path": path,
                "protocol": if parts.version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
                "sourceIp": client.ip().to_string(),
                "userAgent": text(USER_AGENT).unwrap_or_default(),
            },
            "requestId": new_request_id(),
            "routeKey": "$default",
            "stage": stage,
            "time": common_log_time(now),
            "timeEpoch": now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        },
        "isBase64Encoded": false,
    });
    if let Some(event) = event.as_object_mut() {
        let cookies = cookies(&parts.headers);
        if !cookies.is_empty() {
            event.insert("cookies".into(), json!(cookies));
        }
        if !query.is_empty() {
            event.insert("queryStringParameters".into(), Value::Object(parameters(query)));
        }
        if !body.is_empty() {
            let (body, encoded) = encode(body, parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()));
            event.insert("body".into(), json!(body));
            event.insert("isBase64Encoded".into(), json!(encoded));
        }
    }
    event
}

/// Reads what a synchronous invocation may be sent.
pub(super) async fn read(body: Body) -> Result<Bytes, Response> {
    match Limited::new(body, LARGEST_REQUEST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(message(StatusCode::PAYLOAD_TOO_LARGE, "Request Too Long")),
        Err(_) => Err(message(StatusCode::BAD_REQUEST, "Bad Request")),
    }
}

/// Lower-case names, repeated fields joined by commas, without the cookies, which have a separate field.
fn joined(headers: &HeaderMap) -> Map<String, Value> {
    let names = headers.keys().filter(|name| **name != COOKIE);
    let value = |name| {
        let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        json!(values.join(","))
    };
    names.map(|name| (name.as_str().to_owned(), value(name))).collect()
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';').map(|cookie| cookie.trim().to_owned())).filter(|cookie| !cookie.is_empty()).collect()
}

/// Decoded, repeated names joined by commas.
fn parameters(query: &str) -> Map<String, Value> {
    let mut parameters = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match parameters.get_mut(&*name) {
            Some(Value::String(before)) => {
                before.push(',');
                before.push_str(&value);
            }
            _ => drop(parameters.insert(name.into_owned(), Value::String(value.into_owned()))),
        }
    }
    parameters
}

/// Text stays text; everything else goes as base64.
pub(super) fn encode(body: &Bytes, content_type: Option<&str>) -> (String, bool) {
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let textual = kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind.as_str(),
            "application/json" | "application/javascript" | "application/xml" | "application/x-www-form-urlencoded"
        );
    match std::str::from_utf8(body) {
        Ok(text) if textual => (text.to_owned(), false),
        _ => (BASE64_STANDARD.encode(body), true),
    }
}

/// As in `21/Nov/2026:19:03:58 +0000`.
pub(super) fn common_log_time(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let month = at.month().to_string();
    let (day, month, year) = (at.day(), month.get(..3).unwrap_or(&month), at.year());
    format!("{day:02}/{month}/{year}:{:02}:{:02}:{:02} +0000", at.hour(), at.minute(), at.second())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_are_in_common_log_format() {
        assert_eq!(common_log_time(UNIX_EPOCH + Duration::from_secs(1_583_348_638)), "04/Mar/2020:19:03:58 +0000");
    }

    #[test]
    fn repeated_parameters_are_decoded_and_joined() {
        let expected = json!({ "a": "1,2 3", "b": "", "ü": "&" });
        assert_eq!(Value::Object(parameters("a=1&b&a=2+3&%C3%BC=%26")), expected);
    }

    #[test]
    fn what_is_not_known_to_be_text_goes_as_base64() {
        assert_eq!(encode(&"ü".into(), Some("Application/JSON; charset=utf-8")), ("ü".to_owned(), false));
        assert_eq!(encode(&"u".into(), Some("image/png")), ("dQ==".to_owned(), true));
        assert_eq!(encode(&"u".into(), None), ("dQ==".to_owned(), true));
        assert_eq!(encode(&Bytes::from_static(b"\xff"), Some("text/plain")), ("/w==".to_owned(), true));
    }
}
