//! The page's files, its snapshot, and the stream of what is added to it.

use super::{
    act, assets,
    feed::{Cursor, Sources},
    guard,
    served::{Served, reply},
};
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Query, State},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri, header::CONTENT_TYPE};
use hyper::body::Frame;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// Changes within this time are sent together.
const TOGETHER: Duration = Duration::from_millis(40);

/// A stream without news says that it is alive, so that a page whose sandbox is gone notices.
const ALIVE: Duration = Duration::from_secs(10);

/// An event of 6 MB as a JSON string, every character escaped.
const LARGEST_REQUEST: usize = 2 * 6 * 1024 * 1024 + 4_096;

pub(super) fn router(sources: Arc<Sources>, changes: watch::Receiver<u64>, port: u16) -> Router {
    Router::new()
        .route("/api/snapshot", get(snapshot))
        .route("/api/updates", get(updates))
        .route("/api/event", get(act::event))
        .route("/api/invoke", post(act::invoke))
        .route("/api/send", post(act::send))
        .fallback(asset)
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .layer(middleware::from_fn_with_state(port, guard::check))
        .with_state(Served { sources, changes })
}

async fn asset(uri: Uri) -> Response {
    match assets::find(uri.path()) {
        Some((_, kind, text)) => ([(CONTENT_TYPE, *kind)], *text).into_response(),
        None => (StatusCode::NOT_FOUND, "no such page").into_response(),
    }
}

async fn snapshot(State(served): State<Served>) -> Response {
    let mut cursor = served.sources.start();
    let mut body = served.sources.advance(&mut cursor);
    body.insert("facts".into(), served.sources.facts());
    body.insert("cursor".into(), json!(served.sources.text(&cursor)));
    reply(StatusCode::OK, &Value::Object(body))
}

/// The stream after a snapshot. A browser that reconnects says itself what it had last.
async fn updates(State(served): State<Served>, Query(query): Query<HashMap<String, String>>, headers: HeaderMap) -> Response {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let had = last.or(query.get("since").map(String::as_str)).unwrap_or_default();
    let (sender, receiver) = mpsc::channel(4);
    match served.sources.cursor(had) {
        Some(cursor) => drop(tokio::spawn(send_updates(served, cursor, sender))),
        None => drop(sender.try_send(Bytes::from_static(b"event: reset\ndata: {}\n\n"))),
    }
    ([(CONTENT_TYPE, "text/event-stream")], Body::new(Stream(receiver))).into_response()
}

async fn send_updates(served: Served, mut cursor: Cursor, sender: mpsc::Sender<Bytes>) {
    let Served { sources, mut changes } = served;
    loop {
        changes.mark_unchanged();
        let added = sources.advance(&mut cursor);
        let text = if added.is_empty() {
            ": alive\n\n".to_owned()
        } else {
            format!("id: {}\ndata: {}\n\n", sources.text(&cursor), Value::Object(added))
        };
        if sender.send(text.into()).await.is_err() {
            return;
        }
        tokio::select! {
            () = sender.closed() => return,
            changed = tokio::time::timeout(ALIVE, changes.changed()) => match changed {
                Ok(Ok(())) => tokio::time::sleep(TOGETHER).await,
                // The console is gone.
                Ok(Err(_)) => return,
                Err(_) => {}
            },
        }
    }
}

struct Stream(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}
