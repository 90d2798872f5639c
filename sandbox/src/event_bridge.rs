//! EventBridge on one machine: one bus, whose events all go to all its targets, with the trace header of the entry or of the call.
//!
//! Spoken to with the real `aws-sdk-eventbridge`; it knows `PutEvents` alone.

use crate::{
    Event, Invoke,
    ids::new_request_id,
    invoke_until_accepted,
    listener::Listener,
    sns::iso_8601,
    sqs::{ACCOUNT, Queue, REGION},
};
use axum::{Router, extract::State, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

type Targets = Arc<Mutex<Vec<Target>>>;

#[derive(Clone)]
enum Target {
    Queue(Queue),
    Function(Arc<dyn Invoke>),
}

/// An EventBridge endpoint on the loopback address, without TLS; signatures are not checked. It stops when dropped.
pub struct EventBridge {
    listener: Listener,
    targets: Targets,
}

impl EventBridge {
    /// Starts an endpoint without targets on a free port.
    pub async fn start() -> io::Result<Self> {
        let targets = Targets::default();
        let router = Router::new().fallback(dispatch).with_state(Arc::clone(&targets));
        Ok(Self { listener: Listener::start(router).await?, targets })
    }

    /// As in `http://127.0.0.1:41234`: the `endpoint_url` of a client, and `AWS_ENDPOINT_URL_EVENTBRIDGE` of a function.
    pub fn endpoint(&self) -> String {
        self.listener.endpoint()
    }

    /// Delivers all events to a queue from now on.
    pub fn target_queue(&self, queue: &Queue) {
        self.target(Target::Queue(queue.clone()));
    }

    /// Invokes a function with all events from now on, asynchronously and once: a failure is not repeated.
    pub fn target_function(&self, function: Arc<dyn Invoke>) {
        self.target(Target::Function(function));
    }

    fn target(&self, target: Target) {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).push(target);
    }
}

impl fmt::Debug for EventBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBridge").field("address", &self.listener.address).finish_non_exhaustive()
    }
}

async fn dispatch(State(targets): State<Targets>, headers: HeaderMap, body: Bytes) -> Response<String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("x-amz-target") != Some("AWSEvents.PutEvents") {
        return response(StatusCode::BAD_REQUEST, &json!({ "__type": "UnknownOperationException" }));
    }
    let Ok(call) = serde_json::from_slice::<Value>(&body) else {
        return response(StatusCode::BAD_REQUEST, &json!({ "__type": "SerializationException" }));
    };
    let mut entries = Vec::new();
    for entry in call["Entries"].as_array().into_iter().flatten() {
        let trace_header = entry["TraceHeader"].as_str().or(header("x-amzn-trace-id"));
        let id = new_request_id();
        deliver(&targets, &event(entry, &id), trace_header).await;
        entries.push(json!({ "EventId": id }));
    }
    response(StatusCode::OK, &json!({ "FailedEntryCount": 0, "Entries": entries }))
}

fn event(entry: &Value, id: &str) -> Value {
    let detail = entry["Detail"].as_str().and_then(|detail| serde_json::from_str::<Value>(detail).ok());
    json!({
        "version": "0",
        "id": id,
        "detail-type": entry["DetailType"],
        "source": entry["Source"],
        "account": ACCOUNT,
        "time": iso_8601(SystemTime::now()),
        "region": REGION,
        "resources": entry["Resources"].as_array().cloned().unwrap_or_default(),
        "detail": detail,
    })
}

async fn deliver(targets: &Targets, event: &Value, trace_header: Option<&str>) {
    let targets = targets.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for target in targets {
        match target {
            Target::Queue(queue) => {
                let mut sent = json!({ "MessageBody": event.to_string() });
                if let Some(header) = trace_header {
                    sent["MessageSystemAttributes"] =
                        json!({ "AWSTraceHeader": { "DataType": "String", "StringValue": header } });
                }
                if let Err(error) = queue.send(sent).await {
                    tracing::error!(%error, "a target's queue refused an event");
                }
            }
            Target::Function(function) => {
                let event = Event {
                    payload: event.to_string().into(),
                    trace_header: trace_header.map(str::to_owned),
                    ..Event::default()
                };
                tokio::spawn(async move { invoke_until_accepted(&*function, event).await });
            }
        }
    }
}

fn response(status: StatusCode, body: &Value) -> Response<String> {
    let mut response = Response::new(body.to_string());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/x-amz-json-1.1"));
    if let Ok(id) = HeaderValue::try_from(new_request_id()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
