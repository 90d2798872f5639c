//! Passes a store's documents on to a `PutTraceSegments` endpoint.

use super::{Source, TraceStore};
use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::watch, task::AbortHandle};

/// Most documents of one call, as the daemon of AWS sends them.
const DOCUMENTS_PER_CALL: usize = 50;

/// Why documents could not be passed on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// Not `http://host:port`. Calls are neither encrypted nor signed, so AWS itself is out of reach.
    #[error("`{0}` is not a local endpoint: give it as http://host:port")]
    Endpoint(String),
    /// The endpoint does not respond.
    #[error("{endpoint} does not respond: {source}")]
    Unreachable {
        /// The endpoint.
        endpoint: String,
        /// The error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The endpoint refused the call or some of the documents.
    #[error("{endpoint} responded with {status}: {body}")]
    Refused {
        /// The endpoint.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// The body of the response.
        body: String,
    },
}

/// Sends what a store receives on to a `PutTraceSegments` endpoint, in order, 50 documents a call at most. Documents that came
/// over the API stay here, so that two stores can forward to each other. It stops when dropped.
#[derive(Debug)]
pub struct Forwarder {
    store: TraceStore,
    /// How many documents of the store's history are done with.
    done: watch::Receiver<usize>,
    failures: watch::Receiver<Vec<String>>,
    task: AbortHandle,
}

impl Forwarder {
    /// Starts to forward everything in `store`, also what is in it already, to `endpoint`, as in `http://127.0.0.1:4566`.
    pub fn start(store: &TraceStore, endpoint: &str) -> Result<Self, ForwardError> {
        let uri: Uri = endpoint.parse().map_err(|_| ForwardError::Endpoint(endpoint.to_owned()))?;
        let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(ForwardError::Endpoint(endpoint.to_owned()));
        };
        let authority = match authority.port() {
            Some(_) => authority.to_string(),
            None => format!("{authority}:80"),
        };
        let (position, done) = watch::channel(0);
        let (failed, failures) = watch::channel(Vec::new());
        let source = store.clone();
        let task = tokio::spawn(async move {
            let mut changes = source.subscribe();
            loop {
                changes.mark_unchanged();
                let from = *position.borrow();
                let documents = source.since(from);
                let own: Vec<String> = documents
                    .iter()
                    .filter(|document| !document.nested && document.source != Source::Api)
                    .map(|document| document.raw.to_string())
                    .collect();
                for call in own.chunks(DOCUMENTS_PER_CALL) {
                    if let Err(error) = put_trace_segments(&authority, call).await {
                        tracing::warn!(%error, documents = call.len(), "segment documents were not forwarded");
                        failed.send_modify(|failures| failures.push(error.to_string()));
                    }
                }
                position.send_replace(from + documents.len());
                if documents.is_empty() && changes.changed().await.is_err() {
                    return;
                }
            }
        })
        .abort_handle();
        Ok(Self { store: store.clone(), done, failures, task })
    }

    /// Waits until what is in the store now has been sent or has failed.
    pub async fn flush(&self) {
        let goal = self.store.since(0).len();
        // The sender lives as long as the task, which ends with this forwarder.
        let _ = self.done.clone().wait_for(|&done| done >= goal).await;
    }

    /// Errors so far. A call that failed is not repeated.
    pub fn failures(&self) -> Vec<String> {
        self.failures.borrow().clone()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn put_trace_segments(authority: &str, documents: &[String]) -> Result<(), ForwardError> {
    let endpoint = format!("http://{authority}");
    let unreachable = |source| ForwardError::Unreachable { endpoint: endpoint.clone(), source };
    let body = json!({"TraceSegmentDocuments": documents}).to_string();
    let request = Request::post("/TraceSegments")
        .header(header::HOST, authority)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| unreachable(error.into()))?;
    let (status, body) = call(authority, request).await.map_err(unreachable)?;
    let refused = serde_json::from_str::<Value>(&body)
        .is_ok_and(|response| response["UnprocessedTraceSegments"].as_array().is_some_and(|list| !list.is_empty()));
    if status != 200 || refused {
        return Err(ForwardError::Refused { endpoint, status, body });
    }
    Ok(())
}

async fn call(authority: &str, request: Request<Full<Bytes>>) -> Result<(u16, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It ends with `sender`.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
