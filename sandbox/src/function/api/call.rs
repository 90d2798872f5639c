//! The calls of a process to its environment, and their responses.

use super::error::{ApiError, FunctionError};
use crate::{StreamPart, function::post_fault::PostFault};
use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

/// The channel for the response to a call.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// A call of a process to its environment.
pub(crate) enum Call {
    /// `GET /runtime/invocation/next`.
    Next { reply: Reply<NextEvent> },
    /// The head of a post for an invocation has arrived. Its body is read only if the response allows it, and passed on in the meantime if
    /// the response says so.
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

/// The response to the registration of an extension.
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
    Response(Bytes),
    Error(FunctionError),
    TooLarge,
    /// The connection broke off.
    Truncated,
    /// The sandbox was asked not to take it.
    Refused(PostFault),
}
