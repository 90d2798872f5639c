//! CloudWatch Logs over the logs of functions: as much of it as a reader needs.
//!
//! ```no_run
//! use lambda_lifecycle_sandbox::{cloudwatch_logs::CloudWatchLogs, function::Function};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let orders = Function::builder("orders", "target/debug/bootstrap").log_format("JSON").build().await;
//! let logs = CloudWatchLogs::start([orders]).await?;
//! println!("endpoint_url = {}, log group = /aws/lambda/orders", logs.endpoint());
//! # Ok(())
//! # }
//! ```

use crate::{
    function::{Function, LogLine},
    listener::Listener,
};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    io,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Most events of one response, as in the service.
const PAGE: usize = 10_000;

/// `FilterLogEvents` over the logs of functions, without TLS and signatures; ends when dropped.
///
/// The log group of the function `orders` is `/aws/lambda/orders`. Filter patterns can be absent or one quoted term, as in `"order placed"`.
/// A client of `aws-sdk-cloudwatchlogs` talks to it with [`endpoint`](Self::endpoint) as its `endpoint_url` and any credentials.
#[derive(Debug)]
pub struct CloudWatchLogs(Listener);

impl CloudWatchLogs {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// When no port of the loopback interface can be listened on.
    pub async fn start(functions: impl IntoIterator<Item = Function>) -> io::Result<Self> {
        let functions: Arc<Vec<Function>> = Arc::new(functions.into_iter().collect());
        let router = Router::new().route("/", post(serve)).with_state(functions);
        Ok(Self(Listener::start(router).await?))
    }

    /// As in `http://127.0.0.1:41234`.
    pub fn endpoint(&self) -> String {
        self.0.endpoint()
    }
}

async fn serve(State(functions): State<Arc<Vec<Function>>>, headers: HeaderMap, body: Bytes) -> Response {
    let operation = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    if operation != "Logs_20140328.FilterLogEvents" {
        return refuse("UnknownOperationException", &format!("the sandbox does not serve {operation}"));
    }
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse("SerializationException", &error.to_string()),
    };
    let group = request["logGroupName"].as_str().or_else(|| request["logGroupIdentifier"].as_str()).unwrap_or_default();
    let Some(function) = functions.iter().find(|function| group == format!("/aws/lambda/{}", function.name())) else {
        return refuse("ResourceNotFoundException", "The specified log group does not exist.");
    };
    let term = match request["filterPattern"].as_str().map(str::trim).filter(|pattern| !pattern.is_empty()) {
        None => "",
        Some(pattern) => match pattern.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(term) if !term.contains('"') => term,
            _ => {
                return refuse(
                    "InvalidParameterException",
                    &format!("the sandbox knows one quoted term as a pattern, not {pattern}"),
                );
            }
        },
    };
    let first = request["nextToken"].as_str().and_then(|token| token.parse().ok()).unwrap_or(0);
    let most = request["limit"].as_u64().map_or(PAGE, |limit| (limit as usize).clamp(1, PAGE));
    let (from, to) = (request["startTime"].as_u64().unwrap_or(0), request["endTime"].as_u64().unwrap_or(u64::MAX));
    let fits = |line: &LogLine| (from..to).contains(&milliseconds(line.at)) && line.text.contains(term);
    let lines: Vec<LogLine> = function.logs().into_iter().filter(fits).collect();
    let page: Vec<Value> = lines.iter().enumerate().skip(first).take(most).map(|(number, line)| event(number, line)).collect();
    let next = first + page.len();
    let mut response = json!({ "events": page, "searchedLogStreams": [] });
    if next < lines.len() {
        response["nextToken"] = json!(next.to_string());
    }
    respond(StatusCode::OK, &response)
}

fn milliseconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn event(number: usize, line: &LogLine) -> Value {
    let at = milliseconds(line.at);
    json!({
        "eventId": number.to_string(), "logStreamName": format!("environment-{}", line.environment), "timestamp": at,
        "ingestionTime": at, "message": line.text,
    })
}

fn refuse(kind: &'static str, message: &str) -> Response {
    respond(StatusCode::BAD_REQUEST, &json!({ "__type": kind, "message": message }))
}

fn respond(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.1")], body.to_string()).into_response()
}
