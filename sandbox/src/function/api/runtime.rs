//! The Runtime API: `/2018-06-01/runtime`.
//!
//! See "Using the Lambda runtime API for custom runtimes" in AWS' developer guide; error bodies are the Runtime Interface
//! Emulator's.

use super::{
    body::{accepted, read, read_and_pass_on},
    call::{Call, Outcome, Post, PostKind},
    error::{ApiError, FunctionError, LARGEST_RESPONSE},
};
use crate::function::{message::Api, post_fault::PostFault};
use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, Request},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};

/// The largest streamed response.
const LARGEST_STREAM: usize = 200 * 1024 * 1024;

const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
const ERROR_BODY: &str = "lambda-runtime-function-error-body";
const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";

pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .route("/2018-06-01/runtime/restore/next", get(restore_next))
        .route("/2018-06-01/runtime/restore/error", post(restore_error))
}

async fn next(State(api): State<Api>) -> Result<Response, ApiError> {
    let event = api.call(|reply| Call::Next { reply }).await?;
    Ok((event.headers, event.payload).into_response())
}

async fn response(State(api): State<Api>, Path(id): Path<String>, request: Request<Body>) -> Result<Response, ApiError> {
    let mode = request.headers().get(RESPONSE_MODE).and_then(|mode| mode.to_str().ok());
    let streamed = mode.is_some_and(|mode| mode.eq_ignore_ascii_case("streaming"));
    let kind = if streamed { PostKind::Streamed } else { PostKind::Buffered };
    take(api, id, kind, request).await
}

async fn error(State(api): State<Api>, Path(id): Path<String>, request: Request<Body>) -> Result<Response, ApiError> {
    take(api, id, PostKind::Error, request).await
}

async fn take(api: Api, request_id: String, kind: PostKind, request: Request<Body>) -> Result<Response, ApiError> {
    let fault = api.post_faults.next();
    if fault == Some(PostFault::Broken) {
        // Ends the task of this connection, without a message.
        std::panic::resume_unwind(Box::new(PostFault::Broken));
    }
    let head = request.headers().get(ERROR_TYPE).cloned();
    let id = request_id.clone();
    let stream = match api.call(|reply| Call::PostBegins { request_id: id, kind, reply }).await {
        Ok(stream) => stream,
        Err(refused) => {
            read(request.into_body(), 0).await;
            return Err(refused);
        }
    };
    let limit = if kind == PostKind::Streamed { LARGEST_STREAM } else { LARGEST_RESPONSE };
    let read = read_and_pass_on(request.into_body(), limit, stream).await;
    let bytes = read.bytes;
    let failed = read.trailers.as_ref().and_then(stream_error).filter(|_| kind == PostKind::Streamed);
    let outcome = match (kind, failed) {
        _ if read.broken => Outcome::Truncated,
        _ if let Some(fault) = fault => Outcome::Refused(fault),
        _ if bytes > limit => Outcome::TooLarge,
        (_, Some(error)) => Outcome::Error(error),
        (PostKind::Error, None) => Outcome::Error(FunctionError::parse(&read.body, head.as_ref())),
        (_, None) => Outcome::Response(read.body),
    };
    api.call(|reply| Call::PostEnds { request_id, post: Post { kind, bytes, outcome }, reply }).await?;
    Ok(accepted())
}

async fn init_error(State(api): State<Api>, request: Request<Body>) -> Result<Response, ApiError> {
    let error = posted_error(request).await;
    api.call(|reply| Call::InitError { error, reply }).await?;
    Ok(accepted())
}

/// Responded to when the snapshot is restored; there is nothing to say then.
async fn restore_next(State(api): State<Api>) -> Result<Response, ApiError> {
    api.call(|reply| Call::RestoreNext { reply }).await?;
    Ok(().into_response())
}

async fn restore_error(State(api): State<Api>, request: Request<Body>) -> Result<Response, ApiError> {
    let error = posted_error(request).await;
    api.call(|reply| Call::RestoreError { error, reply }).await?;
    Ok(accepted())
}

async fn posted_error(request: Request<Body>) -> FunctionError {
    let head = request.headers().get(ERROR_TYPE).cloned();
    let read = read(request.into_body(), LARGEST_RESPONSE).await;
    FunctionError::parse(&read.body, head.as_ref())
}

/// The error a streaming runtime reports after its body; the trailer's value is base64.
fn stream_error(trailers: &HeaderMap) -> Option<FunctionError> {
    let kind = trailers.get(ERROR_TYPE)?;
    let body = trailers.get(ERROR_BODY).map(|body| BASE64_STANDARD.decode(body).unwrap_or_else(|_| body.as_bytes().to_vec()));
    Some(FunctionError::parse(&body.unwrap_or_default(), Some(kind)))
}
