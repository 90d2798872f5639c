//! The HTTP server each environment's process talks to, and what it asks of the environment.

use super::{
    builder::{PostFault, PostFaults},
    environment::Message,
    extensions_api, runtime_api,
};
use crate::StreamPart;
use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::io;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

/// Where the answer to a call goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// What a process asks of its environment.
pub(crate) enum Call {
    /// `GET /runtime/invocation/next`.
    Next { reply: Reply<NextEvent> },
    /// The head of a post for an invocation has come. Its body is read only when this is allowed, and handed on on its way where
    /// the answer says so.
    PostBegins { request_id: String, kind: PostKind, reply: Reply<Option<mpsc::Sender<StreamPart>>> },
    /// The body has come, too.
    PostEnds { request_id: String, post: Post, reply: Reply<()> },
    /// `POST /runtime/init/error`.
    InitError { error: FunctionError, reply: Reply<()> },
    /// `GET /runtime/restore/next`.
    RestoreNext { reply: Reply<()> },
    /// `POST /runtime/restore/error`.
    RestoreError { error: FunctionError, reply: Reply<()> },
    /// `POST /extension/register`.
    Register { name: String, events: Vec<String>, reply: Reply<Registered> },
    /// `GET /extension/event/next`.
    ExtensionNext { id: String, reply: Reply<ExtensionEvent> },
    /// `POST /extension/init/error` and `/extension/exit/error`.
    ExtensionFailed { id: String, error: FunctionError, init: bool, reply: Reply<()> },
}

/// An event on its way to the runtime.
pub(crate) struct NextEvent {
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
}

/// An event on its way to an extension.
pub(crate) struct ExtensionEvent {
    pub(crate) id: String,
    pub(crate) body: Value,
}

/// What an extension is told when it registers.
pub(crate) struct Registered {
    pub(crate) id: String,
    pub(crate) body: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostKind {
    Buffered,
    Streamed,
    Error,
}

/// A post that was read to its end.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) kind: PostKind,
    pub(crate) bytes: usize,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Bytes),
    Error(FunctionError),
    TooLarge,
    /// The connection broke off.
    Truncated,
    /// The sandbox was asked not to take it.
    Refused(PostFault),
}

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
        let message = format!("Exceeded maximum allowed payload size ({} bytes).", runtime_api::LARGEST_ANSWER);
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

/// What `202 Accepted` says.
pub(crate) fn accepted() -> Response {
    (StatusCode::ACCEPTED, [(CONTENT_TYPE, "application/json")], r#"{"status":"OK"}"#).into_response()
}

/// The way from the handlers of one process' server to the environment.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) post_faults: PostFaults,
    pub(crate) environment: u32,
    pub(crate) mailbox: mpsc::UnboundedSender<Message>,
}

impl Api {
    /// A call that nobody answers comes from a process whose environment is gone.
    pub(crate) async fn call<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, ApiError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Api { environment: self.environment, call: call(reply) };
        self.mailbox.send(message).map_err(|_| ApiError::gone())?;
        answer.await.unwrap_or_else(|_| Err(ApiError::gone()))
    }
}

/// One process' server; ends when dropped.
pub(crate) struct Server {
    /// `host:port`, which is `AWS_LAMBDA_RUNTIME_API`.
    pub(crate) address: String,
    task: AbortHandle,
}

impl Server {
    pub(crate) async fn start(api: Api) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let routes = Router::new()
            .merge(runtime_api::routes())
            .merge(extensions_api::routes())
            .fallback(|| async { ApiError::not_found() })
            .with_state(api);
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { address, task: serving.abort_handle() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
