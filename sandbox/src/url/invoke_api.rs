//! The `Invoke` API, beside the function URL.
//!
//! See "Invoke" in AWS' Lambda API reference.

use super::request::read;
use crate::{Event, Failure, FunctionResponse, Invoke, invoke_until_accepted};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::json;
use std::sync::Arc;

pub(super) async fn invoke(State(function): State<Arc<dyn Invoke>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let text = |name: &str| text(&parts.headers, name);
    let payload = match read(body).await {
        Ok(payload) if payload.is_empty() => Bytes::from_static(b"{}"),
        Ok(payload) => payload,
        Err(refused) => return refused,
    };
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&payload) {
        let message = format!("Could not parse request body into json: {error}");
        return refuse(StatusCode::BAD_REQUEST, "InvalidRequestContentException", &message);
    }
    let client_context = text("x-amz-client-context").and_then(|context| BASE64_STANDARD.decode(context).ok());
    let event = Event {
        payload,
        trace_header: text("x-amzn-trace-id"),
        client_context: client_context.and_then(|context| String::from_utf8(context).ok()),
        tenant_id: text("x-amz-tenant-id"),
        ..Event::default()
    };
    match text("x-amz-invocation-type").as_deref() {
        None | Some("RequestResponse") => response(function.invoke(event).await),
        Some("Event") => {
            tokio::spawn(async move { invoke_until_accepted(&*function, event).await });
            StatusCode::ACCEPTED.into_response()
        }
        Some("DryRun") => StatusCode::NO_CONTENT.into_response(),
        Some(other) => {
            let message = format!("{other} is not an invocation type: use RequestResponse, Event or DryRun");
            refuse(StatusCode::BAD_REQUEST, "InvalidParameterValueException", &message)
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

pub(super) fn refuse(status: StatusCode, kind: &'static str, message: &str) -> Response {
    let headers = [("x-amzn-errortype", kind), (CONTENT_TYPE.as_str(), "application/json")];
    (status, headers, json!({ "Type": "User", "message": message }).to_string()).into_response()
}

/// 200 also for a function that failed: the header says so. 429 for one that was not invoked.
fn response(from: FunctionResponse) -> Response {
    if from.result == Err(Failure::Throttled) {
        let body = json!({ "Type": "User", "message": "Rate Exceeded.", "Reason": Failure::THROTTLE_REASON }).to_string();
        let headers = [("x-amzn-errortype", "TooManyRequestsException"), (CONTENT_TYPE.as_str(), "application/json")];
        return (StatusCode::TOO_MANY_REQUESTS, headers, body).into_response();
    }
    let failed = from.result.is_err();
    let body = match from.result {
        Ok(body) => body,
        Err(failure) => function_error(&failure).into(),
    };
    let mut response = ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response();
    let headers = response.headers_mut();
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    add("x-amz-executed-version", "$LATEST");
    add("x-amzn-requestid", &from.request_id);
    add("x-amzn-trace-id", &format!("Root={}", from.trace_id));
    if failed {
        add("x-amz-function-error", "Unhandled");
    }
    response
}

fn function_error(failure: &Failure) -> String {
    let (kind, message) = match failure {
        Failure::Function { error_type, error_message } => (error_type.as_str(), error_message.clone()),
        Failure::TimedOut { .. } => ("Sandbox.Timedout", failure.to_string()),
        Failure::Exited(_) | Failure::OutOfMemory { .. } => ("Runtime.ExitError", failure.to_string()),
        Failure::Throttled => ("TooManyRequestsException", failure.to_string()),
        Failure::TooLarge => ("Function.ResponseSizeTooLarge", failure.to_string()),
    };
    json!({ "errorType": kind, "errorMessage": message }).to_string()
}
