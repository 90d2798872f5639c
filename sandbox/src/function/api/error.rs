//! Errors that a process reports, and refusals that it gets.

use axum::{
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// The largest buffered response: slightly more than 6 MB, as Lambda counts it.
pub(crate) const LARGEST_RESPONSE: usize = 6_291_556;

/// `{"errorType", "errorMessage"}`.
#[derive(Clone, Debug)]
pub(crate) struct FunctionError {
    pub(crate) error_type: String,
    pub(crate) error_message: String,
}

impl FunctionError {
    pub(crate) fn new(error_type: &str, error_message: impl Into<String>) -> Self {
        Self { error_type: error_type.to_owned(), error_message: error_message.into() }
    }

    /// Lambda takes any body; what it does not understand it reports as it came, under the type of the header.
    pub(crate) fn parse(body: &[u8], header: Option<&HeaderValue>) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let field = |name: &str| document.get(name).and_then(Value::as_str).map(str::to_owned);
        let header = || header.and_then(|value| value.to_str().ok()).unwrap_or("Runtime.Unknown").to_owned();
        Self {
            error_type: field("errorType").unwrap_or_else(header),
            error_message: field("errorMessage").unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()),
        }
    }
}

/// A refusal, with the body that Lambda gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    error_type: &'static str,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, error_type: &'static str, message: impl Into<String>) -> Self {
        Self { status, error_type, message: message.into() }
    }

    pub(crate) fn invalid_request_id() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
    }

    pub(crate) fn invalid_state(from: &str, to: &str) -> Self {
        let message = format!("State transition from {from} to {to} failed for runtime. Error: State transition is not allowed");
        Self::new(StatusCode::FORBIDDEN, "InvalidStateTransition", message)
    }

    pub(crate) fn too_large() -> Self {
        let message = format!("Exceeded maximum allowed payload size ({LARGEST_RESPONSE} bytes).");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub(crate) fn gone() -> Self {
        Self::new(StatusCode::GONE, "InvocationTimeout", "The invocation is over: its deadline has passed")
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "No such path")
    }

    pub(crate) fn truncated() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Runtime.TruncatedResponse", "The response was truncated")
    }

    pub(crate) fn unknown_extension(id: &str) -> Self {
        Self::extension("Extension.UnknownExtensionIdentifier", format!("Unknown extension {id}"))
    }

    pub(crate) fn extension(error_type: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, error_type, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "errorMessage": self.message, "errorType": self.error_type });
        (self.status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
    }
}
