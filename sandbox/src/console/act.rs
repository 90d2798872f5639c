//! The actions of the page: it invokes functions, also with a fault, and sends messages.

use super::served::{Served, reply};
use crate::{
    Event,
    function::{EventKind, Function, TimelineEvent},
    ids::new_root,
    xray::{DaemonState, Outage},
};
use axum::{
    extract::{Query, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use tokio::task::JoinHandle;

/// Most invocations of one request.
const MOST: usize = 100;

#[derive(Deserialize)]
struct Invocation {
    function: String,
    /// The event. Without one it is that of `like`.
    payload: Option<String>,
    /// The request id of an invocation whose client context, tenant and links are taken over.
    like: Option<String>,
    #[serde(default)]
    fault: Fault,
    /// Of the fault: the timeout, or how long after the start it happens.
    #[serde(default)]
    ms: u64,
    count: Option<usize>,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Fault {
    #[default]
    None,
    /// The trace header says `Sampled=0`.
    NotSampled,
    /// The deadline is sooner.
    Timeout,
    /// SIGKILL while it runs.
    Kill,
    /// SIGTERM while it runs.
    Sigterm,
    /// The same event comes twice.
    Duplicate,
    /// The X-Ray daemon reads slowly, or does not listen.
    DaemonSlow,
    DaemonAbsent,
}

#[derive(Deserialize)]
struct Message {
    queue: String,
    body: String,
    group: Option<String>,
}

/// Why nothing was done.
struct Refused(StatusCode, String);

impl From<Refused> for Response {
    fn from(Refused(status, message): Refused) -> Self {
        reply(status, &json!({ "error": message }))
    }
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Refused {
    Refused(status, message.into())
}

/// A form of another site cannot have this media type without asking first, which is refused.
fn read<'b, T: Deserialize<'b>>(headers: &HeaderMap, body: &'b Bytes) -> Result<T, Refused> {
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/json") {
        return Err(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the request must be application/json"));
    }
    serde_json::from_slice(body).map_err(|error| refuse(StatusCode::BAD_REQUEST, error.to_string()))
}

/// The event of an invocation that was kept.
pub(super) async fn event(State(served): State<Served>, Query(query): Query<HashMap<String, String>>) -> Response {
    let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
    let function = served.sources.function(text("function"));
    match function.and_then(|function| function.records().calls.event(text("request"))) {
        Some(event) => reply(StatusCode::OK, &json!({ "payload": String::from_utf8_lossy(&event.payload) })),
        None => refuse(StatusCode::NOT_FOUND, "the event of this invocation is not kept").into(),
    }
}

pub(super) async fn invoke(State(served): State<Served>, headers: HeaderMap, body: Bytes) -> Response {
    let invocation: Invocation = match read(&headers, &body) {
        Ok(invocation) => invocation,
        Err(refused) => return refused.into(),
    };
    let Some(function) = served.sources.function(&invocation.function) else {
        return refuse(StatusCode::NOT_FOUND, format!("there is no function {}", invocation.function)).into();
    };
    let event = match invocation.event(function) {
        Ok(event) => event,
        Err(refused) => return refused.into(),
    };
    let twice = if invocation.fault == Fault::Duplicate { 2 } else { 1 };
    let after = Duration::from_millis(invocation.ms);
    let count = invocation.count.unwrap_or(1).clamp(1, MOST) * twice;
    let state = match invocation.fault {
        Fault::DaemonSlow => Some(DaemonState::Slow),
        Fault::DaemonAbsent => Some(DaemonState::Absent),
        _ => None,
    };
    let outage = match (state, &served.sources.daemon) {
        (Some(state), Some(daemon)) => Some(daemon.begin(state).await),
        (Some(_), None) => return refuse(StatusCode::BAD_REQUEST, "this console has no X-Ray daemon").into(),
        (None, _) => None,
    };
    let started: Vec<Started> = (0..count).map(|_| start(function, event.clone(), invocation.fault, after)).collect();
    let ids: Vec<Value> = started.iter().map(|one| json!({ "request": one.request_id, "trace": one.trace_id })).collect();
    if let Some(outage) = outage {
        tokio::spawn(end_outage(function.clone(), started, outage, after));
    }
    reply(StatusCode::OK, &json!({ "invocations": ids }))
}

impl Invocation {
    fn event(&self, function: &Function) -> Result<Event, Refused> {
        let kept = self.like.as_deref().map(|request| function.records().calls.event(request));
        let mut event = match kept {
            Some(None) if self.payload.is_none() => {
                return Err(refuse(StatusCode::NOT_FOUND, "the event of this invocation is not kept"));
            }
            kept => kept.flatten().unwrap_or_default(),
        };
        if let Some(payload) = &self.payload {
            if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(payload) {
                return Err(refuse(StatusCode::BAD_REQUEST, format!("the event is not JSON: {error}")));
            }
            event.payload = Bytes::from(payload.clone());
        }
        // A new trace, whose result does not mix with that of the old one.
        event.trace_header = (self.fault == Fault::NotSampled).then(|| format!("Root={};Sampled=0", new_root()));
        event.timeout = (self.fault == Fault::Timeout).then(|| Duration::from_millis(self.ms.max(1)));
        Ok(event)
    }
}

/// An invocation that runs.
struct Started {
    request_id: String,
    trace_id: String,
    over: JoinHandle<()>,
}

fn start(function: &Function, event: Event, fault: Fault, after: Duration) -> Started {
    let mut events = function.subscribe();
    let started = function.start_invocation(event, None);
    let (request_id, trace_id) = (started.request_id.clone(), started.trace_id.clone());
    let signal = match fault {
        Fault::Kill => Some(Signal::SIGKILL),
        Fault::Sigterm => Some(Signal::SIGTERM),
        _ => None,
    };
    let (function, request) = (function.clone(), request_id.clone());
    let over = tokio::spawn(async move {
        let Some(signal) = signal else { return drop(started.response().await) };
        let is = |event: &TimelineEvent| event.request_id.as_deref() == Some(&request);
        let hit = async {
            let out = events.find(|event| is(event) && matches!(event.kind, EventKind::EventOut { .. })).await;
            tokio::time::sleep(after).await;
            function.signal(out.environment, signal);
        };
        // One that never gets its event, or is over before, is not hit.
        tokio::select! {
            () = hit => {}
            _ = started.response() => {}
        }
    });
    Started { request_id, trace_id, over }
}

/// Has the daemon read again when the invocations are over, with the work after the response, and some time has passed.
async fn end_outage(function: Function, started: Vec<Started>, outage: Outage, after: Duration) {
    for one in started {
        let _ = one.over.await;
    }
    function.wait_idle().await;
    tokio::time::sleep(after).await;
    outage.end().await;
}

pub(super) async fn send(State(served): State<Served>, headers: HeaderMap, body: Bytes) -> Response {
    let message: Message = match read(&headers, &body) {
        Ok(message) => message,
        Err(refused) => return refused.into(),
    };
    let Some(queue) = served.sources.queues.iter().find(|queue| queue.name() == message.queue) else {
        return refuse(StatusCode::NOT_FOUND, format!("there is no queue {}", message.queue)).into();
    };
    let mut sent = json!({ "MessageBody": message.body });
    if let Some(group) = message.group {
        sent["MessageGroupId"] = json!(group);
    }
    match queue.send(sent).await {
        Ok(id) => reply(StatusCode::OK, &json!({ "message": id })),
        Err(error) => refuse(StatusCode::BAD_REQUEST, error.to_string()).into(),
    }
}
