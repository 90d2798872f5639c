//! The Runtime API of Managed Instances: several events at once, and no trace header in the environment.

use crate::{
    function::Probe,
    services::Services,
    support::{Tested, ensure, patience, this_program, within},
};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use libtest_mimic::Failed;
use serde_json::Value;
use std::{
    collections::HashMap,
    net::Ipv4Addr,
    process::Stdio,
    sync::{Arc, Mutex},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
};

type Answers = Arc<Mutex<HashMap<String, oneshot::Sender<Result<Bytes, String>>>>>;

struct Waiting {
    id: String,
    trace_header: String,
    payload: String,
}

#[derive(Clone)]
struct Api {
    waiting: Arc<AsyncMutex<mpsc::UnboundedReceiver<Waiting>>>,
    answers: Answers,
}

/// A function with several workers in one process.
pub(crate) struct ManagedFunction {
    send: mpsc::UnboundedSender<Waiting>,
    answers: Answers,
    _process: Child,
}

impl ManagedFunction {
    pub(crate) async fn start(stage: &Services, probe: Probe) -> Result<Self, Failed> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?.to_string();
        let (send, receive) = mpsc::unbounded_channel();
        let answers = Answers::default();
        let api = Api { waiting: Arc::new(AsyncMutex::new(receive)), answers: Arc::clone(&answers) };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(api);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let process = Command::new(this_program())
            .env_clear()
            .envs(stage.variables(probe))
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_MAX_CONCURRENCY", "4")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances")
            .env("AWS_LAMBDA_FUNCTION_NAME", "hops")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048")
            .env("AWS_LAMBDA_LOG_FORMAT", "JSON")
            .env("AWS_XRAY_DAEMON_ADDRESS", stage.daemon.address())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "sandbox")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { send, answers, _process: process })
    }

    /// Sends one event, concurrently with others, and waits for its response.
    pub(crate) async fn invoke(&self, id: &str, trace_header: &str, payload: &Value) -> Tested {
        let (answer, answered) = oneshot::channel();
        self.answers.lock().expect("not poisoned").insert(id.to_owned(), answer);
        let event = Waiting { id: id.to_owned(), trace_header: trace_header.to_owned(), payload: payload.to_string() };
        ensure(self.send.send(event).is_ok(), "the Runtime API is gone")?;
        within("the answer", answered).await??.map(drop).map_err(Failed::from)
    }
}

async fn next(State(api): State<Api>) -> Response {
    let Some(event) = api.waiting.lock().await.recv().await else {
        // There are no more events: the worker waits until its process is killed.
        return std::future::pending().await;
    };
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + patience();
    let headers = [
        ("lambda-runtime-aws-request-id", event.id),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:hops:1".to_owned()),
        ("lambda-runtime-trace-id", event.trace_header),
    ];
    (headers.map(|(name, value)| (name, value)), event.payload).into_response()
}

async fn response(State(api): State<Api>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    settle(&api, &id, Ok(body))
}

async fn error(State(api): State<Api>, Path(id): Path<String>, _: HeaderMap, body: Bytes) -> StatusCode {
    settle(&api, &id, Err(String::from_utf8_lossy(&body).into_owned()))
}

fn settle(api: &Api, id: &str, answer: Result<Bytes, String>) -> StatusCode {
    let waiting = api.answers.lock().expect("not poisoned").remove(id);
    // A client that stopped waiting needs no response.
    if let Some(waiting) = waiting {
        let _ = waiting.send(answer);
    }
    StatusCode::ACCEPTED
}
