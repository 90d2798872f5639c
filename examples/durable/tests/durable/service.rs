//! The durable execution service: it stores what a function records, and calls the function until its execution ends.
//!
//! It takes time for what it is: a wait is over, and a retry is due, with the next invocation.

use crate::support::{Stage, value};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use lambda_lifecycle_sandbox::{Event, FunctionResponse};
use libtest_mimic::Failed;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, sync::Notify};

/// The execution of all tests.
pub(crate) const EXECUTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:probe:1/durable-execution/order-7/0a1b";
/// The service continues one trace through all invocations of an execution.
const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";

#[derive(Debug, Default)]
struct State {
    operations: Vec<Value>,
    /// The updates of all calls, in their order.
    updates: Vec<Value>,
    token: usize,
    /// The state is read by page.
    paged: bool,
    reads: usize,
    /// A success is recorded only when the function's token is cancelled.
    waits: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Service {
    state: Arc<Mutex<State>>,
    /// The function's token is cancelled.
    cancelled: Arc<Notify>,
    address: String,
}

impl Service {
    pub(crate) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let service = Self { address: format!("http://{}", listener.local_addr()?), ..Self::default() };
        let serving = service.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                let respond = service_fn(move |request| serving.clone().respond(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), respond));
            }
        });
        Ok(service)
    }

    /// For `AWS_ENDPOINT_URL_LAMBDA`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends only the execution itself with an event, so that the function has to read the rest.
    pub(crate) fn send_pages(&self) {
        self.lock().paged = true;
    }

    /// Records the success of a step only after the soft deadline.
    pub(crate) fn wait_for_cancellation(&self) {
        self.lock().waits = true;
    }

    /// How often the function read the state.
    pub(crate) fn reads(&self) -> usize {
        self.lock().reads
    }

    /// The operation with this name.
    pub(crate) fn operation(&self, name: &str) -> Value {
        self.lock().operations.iter().find(|operation| operation["Name"] == name).cloned().unwrap_or_default()
    }

    /// The ids of all steps that were started.
    pub(crate) fn steps(&self) -> Vec<String> {
        let state = self.lock();
        let steps = state.operations.iter().filter(|operation| operation["Type"] == "STEP");
        steps.filter_map(|step| step["Id"].as_str().map(str::to_owned)).collect()
    }

    /// The actions for an operation, in their order.
    pub(crate) fn actions(&self, name: &str) -> Vec<String> {
        let state = self.lock();
        let updates = state.updates.iter().filter(|update| update["Name"] == name);
        updates.filter_map(|update| update["Action"].as_str().map(str::to_owned)).collect()
    }

    /// Calls the function once.
    pub(crate) async fn invoke(
        &self,
        stage: &Stage,
        input: &Value,
        timeout: Option<Duration>,
    ) -> Result<FunctionResponse, Failed> {
        let (payload, header) = {
            let mut state = self.lock();
            state.advance();
            (state.event(input).to_string(), format!("Root={ROOT};Sampled=1"))
        };
        let event = Event { payload: payload.into(), trace_header: Some(header), timeout, ..Event::default() };
        stage.invoke_event(event).await
    }

    /// Calls the function until its execution has ended, and returns the responses.
    pub(crate) async fn execute(&self, stage: &Stage, input: &Value) -> Result<Vec<FunctionResponse>, Failed> {
        let mut answers = Vec::new();
        loop {
            let answer = self.invoke(stage, input, None).await?;
            let pending = value(&answer)?["Status"] == "PENDING";
            answers.push(answer);
            if !pending {
                return Ok(answers);
            }
            if answers.len() > 20 {
                return Err("the execution does not end".into());
            }
        }
    }

    async fn respond(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await?.to_bytes();
        if path == "/cancelled" {
            self.cancelled.notify_one();
            return Ok(Response::default());
        }
        if self.lock().waits && body.windows(9).any(|bytes| bytes == br#""SUCCEED""#) {
            self.cancelled.notified().await;
        }
        let mut state = self.lock();
        let response = if path.ends_with("/checkpoint") {
            let call: Value = serde_json::from_slice(&body).unwrap_or_default();
            state.checkpoint(&call)
        } else {
            state.reads += 1;
            json!({ "Operations": state.operations })
        };
        let response = Response::builder().header("content-type", "application/json").body(response.to_string().into());
        Ok(response.unwrap_or_default())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends all waits and delays.
    fn advance(&mut self) {
        for operation in &mut self.operations {
            if operation["Type"] == "WAIT" && operation["Status"] == "STARTED" {
                operation["Status"] = json!("SUCCEEDED");
            }
            if operation["Status"] == "PENDING" {
                operation["Status"] = json!("READY");
            }
        }
    }

    fn event(&self, input: &Value) -> Value {
        let execution = json!({
            "Id": "execution", "Type": "EXECUTION", "Status": "STARTED", "StartTimestamp": 1_750_000_000,
            "ExecutionDetails": { "InputPayload": input.to_string() },
        });
        let later = self.operations.iter().filter(|_| !self.paged).cloned();
        let operations: Vec<Value> = std::iter::once(execution).chain(later).collect();
        let marker = if self.paged && !self.operations.is_empty() { "1" } else { "" };
        json!({
            "DurableExecutionArn": EXECUTION,
            "CheckpointToken": self.token.to_string(),
            "InitialExecutionState": { "Operations": operations, "NextMarker": marker },
        })
    }

    fn checkpoint(&mut self, call: &Value) -> Value {
        self.token += 1;
        let mut changed = Vec::new();
        for update in call["Updates"].as_array().into_iter().flatten() {
            self.updates.push(update.clone());
            changed.push(self.apply(update));
        }
        json!({ "CheckpointToken": self.token.to_string(), "NewExecutionState": { "Operations": changed } })
    }

    fn apply(&mut self, update: &Value) -> Value {
        let known = self.operations.iter().position(|operation| operation["Id"] == update["Id"]);
        let at = known.unwrap_or_else(|| {
            let mut operation = json!({ "StartTimestamp": 1_750_000_000, "Status": "STARTED" });
            for key in ["Id", "ParentId", "Name", "Type", "SubType"] {
                if !update[key].is_null() {
                    operation[key] = update[key].clone();
                }
            }
            self.operations.push(operation);
            self.operations.len() - 1
        });
        let operation = &mut self.operations[at];
        let details = match operation["Type"].as_str() {
            Some("STEP") => "StepDetails",
            Some("CONTEXT") => "ContextDetails",
            _ => "WaitDetails",
        };
        let status = match update["Action"].as_str() {
            Some("SUCCEED") => "SUCCEEDED",
            Some("FAIL") => "FAILED",
            Some("RETRY") => "PENDING",
            _ => "STARTED",
        };
        operation["Status"] = json!(status);
        if operation[details].is_null() {
            operation[details] = json!({});
        }
        if status == "PENDING" {
            operation[details]["Attempt"] = json!(operation[details]["Attempt"].as_u64().unwrap_or(0) + 1);
        }
        for (from, to) in [("Payload", "Result"), ("Error", "Error")] {
            if !update[from].is_null() {
                operation[details][to] = update[from].clone();
            }
        }
        operation.clone()
    }
}
