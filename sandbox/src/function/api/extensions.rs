//! The Extensions API: `/2020-01-01/extension`, for internal extensions, which live in the runtime's process.
//!
//! See "Using the Lambda Extensions API to create extensions" in AWS' developer guide; error bodies are the Runtime Interface
//! Emulator's. External extensions, separate processes under `/opt/extensions`, are not run: every name that registers
//! counts as an internal one.

use super::{
    body::{accepted, read},
    call::Call,
    error::{ApiError, FunctionError, LARGEST_RESPONSE},
};
use crate::function::message::Api;
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;

const NAME: &str = "lambda-extension-name";
const IDENTIFIER: &str = "lambda-extension-identifier";
const EVENT_IDENTIFIER: &str = "lambda-extension-event-identifier";
const ERROR_TYPE: &str = "lambda-extension-function-error-type";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/2020-01-01/extension/register", post(register))
        .route("/2020-01-01/extension/event/next", get(next))
        .route("/2020-01-01/extension/init/error", post(init_error))
        .route("/2020-01-01/extension/exit/error", post(exit_error))
}

#[derive(Default, Deserialize)]
struct Registration {
    #[serde(default)]
    events: Vec<String>,
}

async fn register(State(api): State<Api>, request: Request<Body>) -> Result<Response, ApiError> {
    let name = text(request.headers(), NAME).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| ApiError::extension("Extension.InvalidExtensionName", "Empty extension name"))?;
    let read = read(request.into_body(), LARGEST_RESPONSE).await;
    let wanted: Registration = if read.body.is_empty() {
        Registration::default()
    } else {
        let refuse = |error| ApiError::extension("InvalidRequestFormat", format!("{error}"));
        serde_json::from_slice(&read.body).map_err(refuse)?
    };
    for event in &wanted.events {
        let reason = match event.as_str() {
            "INVOKE" => continue,
            "SHUTDOWN" => "ShutdownEventNotSupportedForInternalExtension",
            _ => "ErrorInvalidEventType",
        };
        return Err(ApiError::extension("Extension.InvalidEventType", format!("{event}: {reason}")));
    }
    let registered = api.call(|reply| Call::Register { name, events: wanted.events, reply }).await?;
    let headers = [(IDENTIFIER, registered.id), (CONTENT_TYPE.as_str(), "application/json".to_owned())];
    Ok((StatusCode::OK, headers, registered.body.to_string()).into_response())
}

async fn next(State(api): State<Api>, headers: HeaderMap) -> Result<Response, ApiError> {
    let id = identifier(&headers)?;
    let event = api.call(|reply| Call::ExtensionNext { id, reply }).await?;
    let headers = [(EVENT_IDENTIFIER, event.id), (CONTENT_TYPE.as_str(), "application/json".to_owned())];
    Ok((StatusCode::OK, headers, event.body.to_string()).into_response())
}

async fn init_error(State(api): State<Api>, request: Request<Body>) -> Result<Response, ApiError> {
    failed(api, request, true).await
}

async fn exit_error(State(api): State<Api>, request: Request<Body>) -> Result<Response, ApiError> {
    failed(api, request, false).await
}

async fn failed(api: Api, request: Request<Body>, init: bool) -> Result<Response, ApiError> {
    let id = identifier(request.headers())?;
    let kind = request.headers().get(ERROR_TYPE).cloned();
    let missing = || ApiError::extension("Extension.MissingHeader", format!("Missing {ERROR_TYPE} header"));
    let kind = kind.ok_or_else(missing)?;
    let read = read(request.into_body(), LARGEST_RESPONSE).await;
    let error = FunctionError::parse(&read.body, Some(&kind));
    api.call(|reply| Call::ExtensionFailed { id, error, init, reply }).await?;
    Ok(accepted())
}

fn identifier(headers: &HeaderMap) -> Result<String, ApiError> {
    let missing = || {
        let message = "Missing Lambda-Extension-Identifier header";
        ApiError::extension("Extension.MissingExtensionIdentifier", message)
    };
    text(headers, IDENTIFIER).ok_or_else(missing)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
