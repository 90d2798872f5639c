//! A function's result as an HTTP response.

use crate::{Failure, FunctionResponse};
use axum::{
    body::Body,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, SET_COOKIE},
    },
    response::Response,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Between the head of a streamed response and its body.
const END_OF_PRELUDE: [u8; 8] = [0; 8];

/// Far above what headers and cookies come to.
const LONGEST_PRELUDE: usize = 1024 * 1024;

pub(super) fn response(response: &FunctionResponse) -> Response {
    let made = response.result.as_ref().ok();
    let made = made.and_then(|body| if response.streamed { streamed(body) } else { buffered(body, Headers::Single, true) });
    let made = made.or_else(|| throttled(response));
    identified(made, &response.request_id, &response.trace_id)
}

/// The response for a function that was not invoked.
fn throttled(response: &FunctionResponse) -> Option<Response> {
    (response.result == Err(Failure::Throttled)).then(|| message(StatusCode::TOO_MANY_REQUESTS, "Rate Exceeded."))
}

/// The keys of a result that a service reads headers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headers {
    /// `headers`.
    Single,
    /// `multiValueHeaders`.
    Multiple,
    /// Both, and where they name the same header, `multiValueHeaders`.
    Both,
}

/// The response of another service than a function URL. `bare`: JSON without a status is the body of a 200.
pub(super) fn proxied(response: &FunctionResponse, headers: Headers, bare: bool) -> Response {
    let made = response.result.as_ref().ok().and_then(|body| buffered(body, headers, bare));
    identified(made.or_else(|| throttled(response)), &response.request_id, &response.trace_id)
}

/// The response, or that there is none, with the ids of the invocation.
pub(super) fn identified(made: Option<Response>, request_id: &str, trace_id: &str) -> Response {
    let mut response = made.unwrap_or_else(|| message(StatusCode::BAD_GATEWAY, "Internal Server Error"));
    for (name, value) in [("x-amzn-requestid", request_id.to_owned()), ("x-amzn-trace-id", format!("Root={trace_id}"))] {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// What Lambda says itself.
pub(super) fn message(status: StatusCode, text: &str) -> Response {
    let body = serde_json::json!({ "message": text }).to_string();
    build(status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], Body::from(body))
}

fn build(status: StatusCode, headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
    response
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default = "ok")]
    status_code: u16,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    multi_value_headers: Option<Map<String, Value>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

fn ok() -> u16 {
    200
}

impl Head {
    /// Leaves what the service reads in `headers`.
    fn read(&mut self, from: Headers) {
        let multiple = self.multi_value_headers.take().unwrap_or_default();
        match from {
            Headers::Single => {}
            Headers::Multiple => self.headers = Some(multiple),
            Headers::Both => {
                let single = self.headers.take().unwrap_or_default();
                let other = |name: &String| !multiple.keys().any(|also| also.eq_ignore_ascii_case(name));
                self.headers = Some(single.into_iter().filter(|(name, _)| other(name)).chain(multiple.clone()).collect());
            }
        }
    }

    fn into_response(self, body: Body) -> Option<Response> {
        let status = StatusCode::from_u16(self.status_code).ok()?;
        let mut headers = Vec::new();
        for (name, value) in self.headers.unwrap_or_default() {
            let name = HeaderName::try_from(name).ok()?;
            // lambda_runtime writes repeated fields of a streamed response's head as a list.
            let values = if let Value::Array(values) = value { values } else { vec![value] };
            for value in values {
                headers.push((name.clone(), HeaderValue::try_from(text(value)?).ok()?));
            }
        }
        for cookie in self.cookies.unwrap_or_default() {
            headers.push((SET_COOKIE, HeaderValue::try_from(cookie).ok()?));
        }
        if !hyper::body::Body::is_end_stream(&body) && !headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
            headers.push((CONTENT_TYPE, HeaderValue::from_static("application/json")));
        }
        Some(build(status, headers, body))
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// A document with `statusCode` describes the response; any other JSON is the body of a 200. Invalid JSON is an error.
fn buffered(response: &Bytes, headers: Headers, bare: bool) -> Option<Response> {
    let document: Value = serde_json::from_slice(response).ok()?;
    if document.get("statusCode").is_none() {
        if !bare {
            return None;
        }
        let kind = HeaderValue::from_static("application/json");
        return Some(build(StatusCode::OK, [(CONTENT_TYPE, kind)], Body::from(response.clone())));
    }
    let mut head: Head = serde_json::from_value(document).ok()?;
    head.read(headers);
    let body = head.body.take().unwrap_or_default();
    let body = if head.is_base64_encoded { BASE64_STANDARD.decode(body).ok()? } else { body.into_bytes() };
    head.into_response(Body::from(body))
}

fn streamed(response: &Bytes) -> Option<Response> {
    let (head, body) = Prelude::split(response, true).unwrap_or((Prelude(None), response.clone()));
    head.into_response(Body::from(body))
}

/// The head of a streamed response, in JSON and with eight NUL bytes after it, or nothing.
pub(super) struct Prelude(Option<Head>);

impl Prelude {
    /// Divides what has come of a stream; `None` as long as the head may still be on its way.
    pub(super) fn split(begun: &Bytes, complete: bool) -> Option<(Self, Bytes)> {
        let end = begun.windows(END_OF_PRELUDE.len()).position(|bytes| bytes == END_OF_PRELUDE);
        if let Some(end) = end
            && let Some(head) = begun.get(..end).and_then(|head| serde_json::from_slice(head).ok())
        {
            return Some((Self(Some(head)), begun.slice(end + END_OF_PRELUDE.len()..)));
        }
        let may_follow = end.is_none() && begun.len() <= LONGEST_PRELUDE && begun.first().is_none_or(|first| *first == b'{');
        (complete || !may_follow).then(|| (Self(None), begun.clone()))
    }

    pub(super) fn into_response(self, body: Body) -> Option<Response> {
        match self.0 {
            Some(head) => head.into_response(body),
            None => Some(build(StatusCode::OK, [(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))], body)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(response: &'static str) -> Option<u16> {
        buffered(&response.into(), Headers::Single, true).map(|response| response.status().as_u16())
    }

    #[test]
    fn malformed_responses_are_none() {
        for malformed in [
            "no JSON",
            r#"{"statusCode":"many"}"#,
            r#"{"statusCode":1000}"#,
            r#"{"statusCode":200,"headers":{"a b":"c"}}"#,
            r#"{"statusCode":200,"headers":{"a":{}}}"#,
            r#"{"statusCode":200,"body":"%","isBase64Encoded":true}"#,
        ] {
            assert_eq!(status(malformed), None, "{malformed}");
        }
        assert_eq!(status(r#"{"statusCode":204}"#), Some(204));
    }

    #[test]
    fn each_service_reads_its_headers() {
        let response = r#"{"statusCode":200,"headers":{"A":"1","b":"2"},"multiValueHeaders":{"a":["3","4"]}}"#;
        for (headers, expected) in
            [(Headers::Single, vec!["1", "2"]), (Headers::Multiple, vec!["3", "4"]), (Headers::Both, vec!["2", "3", "4"])]
        {
            let response = buffered(&response.into(), headers, false).expect("a response");
            let mut values: Vec<_> = response.headers().values().filter_map(|value| value.to_str().ok()).collect();
            values.sort_unstable();
            assert_eq!(values, expected, "{headers:?}");
        }
        assert!(buffered(&"{}".into(), Headers::Both, false).is_none());
    }

    #[test]
    fn a_stream_without_a_head_is_all_body() {
        let response = streamed(&Bytes::from_static(b"raw\0\0\0\0\0\0\0\0bytes"));
        let kind = response.and_then(|response| response.headers().get(CONTENT_TYPE).cloned());
        assert_eq!(kind, Some(HeaderValue::from_static("application/octet-stream")));
    }
}
