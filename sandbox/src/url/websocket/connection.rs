//! The connections that are open, and the commands for them.

use super::event::Opened;
use crate::{sns::iso_8601, url::request::read};
use axum::{
    body::Body,
    extract::ws::Message,
    http::{Method, Request, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::sync::mpsc;

/// Those that are open, by their ids.
#[derive(Default)]
pub(super) struct Connections(Mutex<BTreeMap<String, Connection>>);

struct Connection {
    sender: mpsc::UnboundedSender<Message>,
    opened: Arc<Opened>,
    last_active: SystemTime,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    pub(super) fn add(&self, opened: &Arc<Opened>, sender: mpsc::UnboundedSender<Message>) {
        let connection = Connection { sender, opened: Arc::clone(opened), last_active: SystemTime::now() };
        self.lock().insert(opened.id.clone(), connection);
    }

    /// The connection ends with its sender.
    pub(super) fn remove(&self, id: &str) -> bool {
        self.lock().remove(id).is_some()
    }

    pub(super) fn close_all(&self) {
        self.lock().clear();
    }

    /// The client has sent something.
    pub(super) fn seen(&self, id: &str) {
        if let Some(connection) = self.lock().get_mut(id) {
            connection.last_active = SystemTime::now();
        }
    }

    /// False when there is no such connection.
    pub(super) fn send(&self, id: &str, message: Message) -> bool {
        self.lock().get(id).is_some_and(|connection| connection.sender.send(message).is_ok())
    }

    fn describe(&self, id: &str) -> Option<Value> {
        let connections = self.lock();
        let Connection { opened, last_active, .. } = connections.get(id)?;
        Some(json!({ "connectedAt": iso_8601(opened.at), "identity": opened.identity, "lastActiveAt": iso_8601(*last_active) }))
    }
}

/// `POST`, `GET` or `DELETE` of `@connections/{id}`.
pub(super) async fn command(connections: &Connections, id: String, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let done = match parts.method {
        Method::POST => match read(body).await {
            Ok(data) => {
                let message = match std::str::from_utf8(&data) {
                    Ok(text) => Message::text(text),
                    Err(_) => Message::Binary(data),
                };
                connections.send(&id, message).then(|| StatusCode::OK.into_response())
            }
            Err(refused) => return refused,
        },
        Method::GET => connections.describe(&id).map(|shown| document(StatusCode::OK, &shown)),
        Method::DELETE => connections.remove(&id).then(|| StatusCode::NO_CONTENT.into_response()),
        _ => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
    };
    done.unwrap_or_else(|| {
        let mut gone = document(StatusCode::GONE, &json!({ "message": "Gone", "connectionId": id }));
        gone.headers_mut().insert("x-amzn-errortype", axum::http::HeaderValue::from_static("GoneException"));
        gone
    })
}

fn document(status: StatusCode, document: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], document.to_string()).into_response()
}
