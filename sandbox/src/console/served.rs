//! What the page's requests have in common: the state of the server, and responses in JSON.

use super::feed::Sources;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Clone)]
pub(super) struct Served {
    pub(super) sources: Arc<Sources>,
    pub(super) changes: watch::Receiver<u64>,
}

pub(super) fn reply(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
