//! X-Ray's HTTP API over a store: as much of it as a sender and a test need.

use super::{Source, Trace, TraceStore, graph};
use crate::listener::Listener;
use axum::{
    Extension, Router,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// `PutTraceSegments`, `BatchGetTraces`, `GetTraceSummaries`, `GetTraceGraph`, `StartTraceRetrieval`, `ListRetrievedTraces` and
/// `GetRetrievedTracesGraph` over a [`TraceStore`], without TLS and signatures.
///
/// An `aws-sdk-xray` client talks to it with [`endpoint`](Self::endpoint) as its `endpoint_url` and any credentials. It stops when dropped.
#[derive(Debug)]
pub struct Api {
    listener: Listener,
    office: Arc<Office>,
}

/// The calls of `PutTraceSegments`, and the retrievals.
#[derive(Debug, Default)]
struct Office {
    /// Only retrievals find traces.
    transaction_search: AtomicBool,
    /// The traces of each retrieval, and whether it was asked for already. Its place is its token.
    retrievals: Mutex<Vec<(Vec<String>, bool)>>,
    /// Documents in each call.
    calls: Mutex<Vec<usize>>,
    /// Documents that will not be processed, although they are valid.
    busy_for: AtomicUsize,
}

impl Api {
    /// Starts the API on a free port of the loopback address.
    pub async fn start(store: TraceStore) -> io::Result<Self> {
        let office = Arc::<Office>::default();
        let router = Router::new()
            .route("/TraceSegments", post(put_trace_segments).layer(Extension(Arc::clone(&office))))
            .route("/Traces", post(batch_get_traces).layer(Extension(Arc::clone(&office))))
            .route("/StartTraceRetrieval", post(start_trace_retrieval).layer(Extension(Arc::clone(&office))))
            .route("/ListRetrievedTraces", post(list_retrieved_traces).layer(Extension(Arc::clone(&office))))
            .route("/TraceGraph", post(get_trace_graph).layer(Extension(Arc::clone(&office))))
            .route("/GetRetrievedTracesGraph", post(get_retrieved_traces_graph).layer(Extension(Arc::clone(&office))))
            .route("/TraceSummaries", post(get_trace_summaries))
            // A call of 50 documents of 64 KB is larger than axum's own limit.
            .layer(DefaultBodyLimit::disable())
            .with_state(store);
        Ok(Self { listener: Listener::start(router).await?, office })
    }

    /// As in `http://127.0.0.1:41234`.
    pub fn endpoint(&self) -> String {
        self.listener.endpoint()
    }

    /// Leaves the next `documents` unprocessed, with the error code `ThrottledException`, as the service does when it is busy.
    pub fn leave_unprocessed(&self, documents: usize) {
        self.office.busy_for.store(documents, Ordering::Relaxed);
    }

    /// From now on `BatchGetTraces` finds nothing, as with Transaction Search for traces that are not indexed: only retrievals find them.
    pub fn keep_in_transaction_search(&self) {
        self.office.transaction_search.store(true, Ordering::Relaxed);
    }

    /// How many documents each call of `PutTraceSegments` had.
    pub fn put_calls(&self) -> Vec<usize> {
        self.office.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn put_trace_segments(State(store): State<TraceStore>, Extension(office): Extension<Arc<Office>>, body: Bytes) -> Response {
    let documents = match list(&body, "TraceSegmentDocuments") {
        Ok(documents) => documents,
        Err(message) => return invalid(&message),
    };
    office.calls.lock().unwrap_or_else(PoisonError::into_inner).push(documents.len());
    let mut unprocessed = Vec::new();
    for document in documents {
        let busy = office.busy_for.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        let (code, message) = if busy {
            ("ThrottledException", "try again".to_owned())
        } else {
            let Err(reasons) = store.put(&Bytes::from(document.clone()), Source::Api) else { continue };
            ("InvalidDocument", reasons.join("; "))
        };
        let id = serde_json::from_str::<Value>(&document).ok().and_then(|document| document.get("id").cloned());
        unprocessed.push(json!({"Id": id, "ErrorCode": code, "Message": message}));
    }
    response(StatusCode::OK, &json!({"UnprocessedTraceSegments": unprocessed}))
}

async fn batch_get_traces(State(store): State<TraceStore>, Extension(office): Extension<Arc<Office>>, body: Bytes) -> Response {
    let ids = match list(&body, "TraceIds") {
        Ok(ids) if office.transaction_search.load(Ordering::Relaxed) => ids.into_iter().take(0).collect(),
        Ok(ids) => ids,
        Err(message) => return invalid(&message),
    };
    let traces: Vec<Value> = ids.iter().filter_map(|id| store.trace(id)).map(|trace| whole(&trace)).collect();
    // The service keeps silent about ids it does not know; unprocessed are those it was too busy for.
    response(StatusCode::OK, &json!({"Traces": traces, "UnprocessedTraceIds": []}))
}

async fn start_trace_retrieval(Extension(office): Extension<Arc<Office>>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let ids = match list(&body, "TraceIds") {
        Ok(ids) if (1..=5).contains(&ids.len()) => ids,
        Ok(_) => return invalid("a retrieval has one to five TraceIds"),
        Err(message) => return invalid(&message),
    };
    match (request["StartTime"].as_f64(), request["EndTime"].as_f64()) {
        (Some(from), Some(to)) if from < to => {}
        _ => return invalid("StartTime and EndTime are required, in this order"),
    }
    let mut retrievals = office.retrievals.lock().unwrap_or_else(PoisonError::into_inner);
    retrievals.push((ids, false));
    response(StatusCode::OK, &json!({"RetrievalToken": (retrievals.len() - 1).to_string()}))
}

/// The first call finds the retrieval running. Pages have few spans, so that a caller meets several.
async fn list_retrieved_traces(
    State(store): State<TraceStore>,
    Extension(office): Extension<Arc<Office>>,
    body: Bytes,
) -> Response {
    const SPANS: usize = 2;
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let ids = match retrieved(&office, &request) {
        Ok(Some(ids)) => ids,
        Ok(None) => return response(StatusCode::OK, &json!({"RetrievalStatus": "RUNNING", "TraceFormat": "XRAY", "Traces": []})),
        Err(message) => return invalid(message),
    };
    let from = request["NextToken"].as_str().and_then(|token| token.parse::<usize>().ok()).unwrap_or(0);
    let traces: Vec<Value> = ids.iter().filter_map(|id| store.trace(id)).map(|trace| whole(&trace)).collect();
    let spans = traces.iter().flat_map(|trace| {
        let of_trace = trace["Segments"].as_array().into_iter().flatten();
        of_trace.map(|span| json!({"Id": trace["Id"], "Duration": trace["Duration"], "Spans": [span]}))
    });
    let spans: Vec<Value> = spans.collect();
    let page: Vec<&Value> = spans.iter().skip(from).take(SPANS).collect();
    let next = Some(from + SPANS).filter(|next| *next < spans.len()).map(|next| next.to_string());
    response(StatusCode::OK, &json!({"RetrievalStatus": "COMPLETE", "TraceFormat": "XRAY", "Traces": page, "NextToken": next}))
}

/// The ids of the retrieval that a request names. `None` for the first call, which finds it running.
fn retrieved(office: &Office, request: &Value) -> Result<Option<Vec<String>>, &'static str> {
    let token = request["RetrievalToken"].as_str().and_then(|token| token.parse::<usize>().ok());
    let mut retrievals = office.retrievals.lock().unwrap_or_else(PoisonError::into_inner);
    let retrieval = token.and_then(|token| retrievals.get_mut(token));
    let (ids, asked) = retrieval.ok_or("there is no such RetrievalToken")?;
    Ok(std::mem::replace(asked, true).then(|| ids.clone()))
}

async fn get_trace_graph(State(store): State<TraceStore>, Extension(office): Extension<Arc<Office>>, body: Bytes) -> Response {
    let ids = match list(&body, "TraceIds") {
        Ok(ids) if office.transaction_search.load(Ordering::Relaxed) => ids.into_iter().take(0).collect(),
        Ok(ids) => ids,
        Err(message) => return invalid(&message),
    };
    let traces: Vec<Trace> = ids.iter().filter_map(|id| store.trace(id)).collect();
    response(StatusCode::OK, &json!({"Services": graph::services(&traces)}))
}

/// The first call finds the retrieval running.
async fn get_retrieved_traces_graph(
    State(store): State<TraceStore>,
    Extension(office): Extension<Arc<Office>>,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let ids = match retrieved(&office, &request) {
        Ok(Some(ids)) => ids,
        Ok(None) => return response(StatusCode::OK, &json!({"RetrievalStatus": "RUNNING", "Services": []})),
        Err(message) => return invalid(message),
    };
    let traces: Vec<Trace> = ids.iter().filter_map(|id| store.trace(id)).collect();
    let services: Vec<Value> =
        graph::services(&traces).into_iter().map(|service| json!({"Service": service, "Links": []})).collect();
    response(StatusCode::OK, &json!({"RetrievalStatus": "COMPLETE", "Services": services}))
}

fn whole(trace: &Trace) -> Value {
    let segments = trace.documents.iter().filter(|document| !document.nested);
    let segments: Vec<Value> =
        segments.map(|document| json!({"Id": document.id, "Document": document.raw.to_string()})).collect();
    json!({"Id": trace.id, "Duration": trace.duration(), "LimitExceeded": false, "Segments": segments})
}

async fn get_trace_summaries(State(store): State<TraceStore>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (Some(from), Some(to)) = (request["StartTime"].as_f64(), request["EndTime"].as_f64()) else {
        return invalid("StartTime and EndTime are required");
    };
    let starts = |trace: &Trace| trace.documents.first().is_some_and(|first| first.start >= from && first.start <= to);
    let summaries: Vec<Value> = store.traces().iter().filter(|trace| starts(trace)).map(summary).collect();
    response(StatusCode::OK, &json!({"TraceSummaries": summaries, "TracesProcessedCount": summaries.len()}))
}

fn summary(trace: &Trace) -> Value {
    let mut annotations = serde_json::Map::new();
    for (key, value) in trace.documents.iter().flat_map(|document| &document.annotations) {
        let typed = match value {
            Value::Bool(value) => json!({"BooleanValue": value}),
            Value::Number(value) => json!({"NumberValue": value}),
            other => json!({"StringValue": other}),
        };
        let values = annotations.entry(key.clone()).or_insert_with(|| json!([]));
        if let Some(values) = values.as_array_mut() {
            values.push(json!({"AnnotationValue": typed}));
        }
    }
    json!({
        "Id": trace.id,
        "StartTime": trace.documents.first().map(|first| first.start),
        "Duration": trace.duration(),
        "HasFault": trace.documents.iter().any(|document| document.fault),
        "HasError": trace.documents.iter().any(|document| document.error),
        "HasThrottle": trace.documents.iter().any(|document| document.throttle),
        "IsPartial": trace.documents.iter().any(|document| document.in_progress),
        "Annotations": annotations,
    })
}

/// The strings in the array `key` of the request.
fn list(body: &[u8], key: &str) -> Result<Vec<String>, String> {
    let request: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let items = request[key].as_array().into_iter().flatten().map(|item| item.as_str().map(str::to_owned));
    let strings: Option<Vec<String>> = items.collect();
    strings.filter(|_| request[key].is_array()).ok_or_else(|| format!("{key} must be a list of strings"))
}

fn invalid(message: &str) -> Response {
    let body = json!({"__type": "InvalidRequestException", "Message": message});
    let mut response = response(StatusCode::BAD_REQUEST, &body);
    let kind = header::HeaderValue::from_static("InvalidRequestException");
    response.headers_mut().insert("x-amzn-errortype", kind);
    response
}

fn response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
