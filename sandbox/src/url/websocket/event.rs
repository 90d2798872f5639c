//! The events of a WebSocket API.

use crate::{
    function::settings::REGION,
    ids::new_request_id,
    url::{
        gateway::{last, lists},
        request::common_log_time,
    },
};
use axum::http::{
    header::{HOST, USER_AGENT},
    request::Parts,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

/// A connection, as its handshake described it.
pub(super) struct Opened {
    pub(super) id: String,
    pub(super) at: SystemTime,
    stage: String,
    host: String,
    pub(super) identity: Value,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

fn milliseconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Opened {
    pub(super) fn new(parts: &Parts, client: SocketAddr, stage: &str) -> Self {
        let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let header = |name| parts.headers.get(name).map(text);
        let mut headers: Vec<_> = parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        headers.push(("x-forwarded-for".to_owned(), client.ip().to_string()));
        headers.push(("x-forwarded-port".to_owned(), client.port().to_string()));
        headers.push(("x-forwarded-proto".to_owned(), "http".to_owned()));
        Self {
            // Of the form that API Gateway gives it, which has characters that a path must encode.
            id: format!("{}=", &new_request_id().replace('-', "")[..15]),
            at: SystemTime::now(),
            stage: stage.to_owned(),
            host: header(HOST).unwrap_or_else(|| format!("sandbox.execute-api.{REGION}.amazonaws.com")),
            identity: json!({ "sourceIp": client.ip().to_string(), "userAgent": header(USER_AGENT) }),
            headers,
            query: form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect(),
        }
    }

    pub(super) fn trace_header(&self) -> Option<String> {
        self.headers.iter().find(|(name, _)| name == "x-amzn-trace-id").map(|(_, value)| value.clone())
    }

    fn context(&self, route: &str, kind: &str) -> Value {
        let now = SystemTime::now();
        json!({
            "routeKey": route,
            "eventType": kind,
            "extendedRequestId": new_request_id(),
            "requestTime": common_log_time(now),
            "messageDirection": "IN",
            "stage": self.stage,
            "connectedAt": milliseconds(self.at),
            "requestTimeEpoch": milliseconds(now),
            "identity": self.identity,
            "requestId": new_request_id(),
            "domainName": self.host,
            "connectionId": self.id,
            "apiId": "sandbox",
        })
    }

    pub(super) fn connect(&self) -> Value {
        let mut event = json!({
            "headers": last(&self.headers),
            "multiValueHeaders": lists(&self.headers),
            "requestContext": self.context("$connect", "CONNECT"),
            "isBase64Encoded": false,
        });
        if !self.query.is_empty() {
            event["queryStringParameters"] = Value::Object(last(&self.query));
            event["multiValueQueryStringParameters"] = Value::Object(lists(&self.query));
        }
        event
    }

    pub(super) fn message(&self, route: &str, message: &[u8], binary: bool) -> Value {
        let mut context = self.context(route, "MESSAGE");
        context["messageId"] = json!(new_request_id());
        let body = if binary { BASE64_STANDARD.encode(message) } else { String::from_utf8_lossy(message).into_owned() };
        json!({ "requestContext": context, "body": body, "isBase64Encoded": binary })
    }

    pub(super) fn disconnect(&self, code: u16, reason: &str) -> Value {
        let mut context = self.context("$disconnect", "DISCONNECT");
        context["disconnectStatusCode"] = json!(code);
        context["disconnectReason"] = json!(reason);
        let kept: Vec<_> = self.headers.iter().filter(|(name, _)| name == "host" || name == "x-forwarded-for").cloned().collect();
        json!({
            "headers": last(&kept),
            "multiValueHeaders": lists(&kept),
            "requestContext": context,
            "isBase64Encoded": false,
        })
    }
}
