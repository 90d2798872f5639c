//! The function: does what its event says, on the real `lambda_runtime`.

use crate::raw;
use bytes::Bytes;
use lambda_runtime::{
    BoxFuture, Context, Error, FunctionResponse, LambdaEvent, LambdaInvocation, MetadataPrelude, Runtime, SnapStartResource,
    StreamResponse,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    future::Future,
    os::unix::process::CommandExt,
    pin::Pin,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    task,
};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_stream::{Stream, StreamExt};
use tower::{Layer, Service, service_fn};

/// The steps that one event requests, in this order.
#[derive(Default, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one step that an event may request")]
struct Task {
    /// The body that a function URL passes on contains the task.
    body: Option<String>,
    /// FunctionResponse with the event as it came.
    event: bool,
    print: Option<String>,
    /// Prints the event as it came.
    print_event: bool,
    gate: Option<String>,
    hang: bool,
    panic: bool,
    abort: bool,
    exit: Option<i32>,
    /// Uses so many MB of memory.
    allocate: Option<usize>,
    /// Starts a program that leaves the process group, and prints its id.
    leave_behind: bool,
    error: Option<String>,
    /// FunctionResponse with this many bytes.
    size: Option<usize>,
    /// Stream these, and wait at the gate before each one.
    stream: Option<Vec<String>>,
    stream_gate: Option<String>,
    context: bool,
    environment: bool,
    answer: Value,
    after: After,
}

/// Works, fails or hangs after the restore.
struct Hooks(String);

impl SnapStartResource for Hooks {
    fn before_snapshot(&self) -> BoxFuture<'_, Result<(), Error>> {
        println!("before the snapshot");
        Box::pin(async { Ok(()) })
    }

    fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
        println!("after the restore");
        Box::pin(async {
            match self.0.as_str() {
                "fail" => Err("no connection".into()),
                "hang" => std::future::pending().await,
                "exit" => std::process::exit(7),
                _ => Ok(()),
            }
        })
    }
}

/// The work after the response was posted.
#[derive(Default, Deserialize)]
#[serde(default)]
struct After {
    print: Option<String>,
    gate: Option<String>,
    hang: bool,
    exit: Option<i32>,
}

/// By request id.
static AFTER: Mutex<BTreeMap<String, After>> = Mutex::new(BTreeMap::new());
static KEPT_OPEN: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

pub(crate) fn main() -> ExitCode {
    let mode = std::env::var("PROBE").unwrap_or_default();
    if let Some(scenario) = mode.strip_prefix("raw:") {
        return raw::main(scenario);
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    runtime.block_on(run(&mode))
}

async fn run(mode: &str) -> ExitCode {
    match mode {
        "init-exit" => return ExitCode::from(3),
        "init-hang" => std::future::pending().await,
        "init-gate" => wait_at(&std::env::var("GATE").unwrap_or_default()).await,
        "init-allocate" => {
            std::hint::black_box(vec![1_u8; 256 << 20]);
        }
        "init-error" => {
            raw::init_error("Probe.NoDatabase", "no database");
            return ExitCode::FAILURE;
        }
        "init-hang-once" => {
            let marker = std::env::var("MARKER").unwrap_or_default();
            if std::fs::File::create_new(marker).is_ok() {
                std::future::pending::<()>().await;
            }
        }
        _ => {}
    }
    if let Some(how) = mode.strip_prefix("extension") {
        raw::internal_extension(how);
    }
    let mut runtime = Runtime::new(service_fn(handle)).layer(AfterLayer);
    if let Some(how) = mode.strip_prefix("hooks ") {
        runtime = runtime.register_snapstart_resource(Arc::new(Hooks(how.to_owned())));
    }
    let ended = if mode == "sequential" { runtime.run().await } else { runtime.run_concurrent().await };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("runtime: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn handle(event: LambdaEvent<Value>) -> Result<FunctionResponse<Value, Chunks>, Error> {
    let (event, context) = event.into_parts();
    let mut task = Task::deserialize(&event)?;
    if let Some(body) = &task.body {
        task = serde_json::from_str(body)?;
    }
    AFTER.lock().unwrap_or_else(PoisonError::into_inner).insert(context.request_id.clone(), task.after);
    if let Some(text) = task.print {
        println!("{text}");
    }
    if task.print_event {
        println!("{event}");
    }
    if let Some(gate) = task.gate {
        wait_at(&gate).await;
    }
    if task.leave_behind {
        let left = std::process::Command::new("sleep").arg("1000").process_group(0).spawn()?;
        println!("left behind {}", left.id());
    }
    if task.hang {
        std::future::pending::<()>().await;
    }
    assert!(!task.panic, "as the event asked");
    if task.abort {
        std::process::abort();
    }
    if let Some(code) = task.exit {
        std::process::exit(code);
    }
    if let Some(mb) = task.allocate {
        std::hint::black_box(vec![1_u8; mb << 20]);
    }
    if let Some(message) = task.error {
        return Err(message.into());
    }
    if let Some(chunks) = task.stream {
        return Ok(stream(chunks, task.stream_gate));
    }
    let answer = match task {
        Task { size: Some(size), .. } => Value::String("x".repeat(size.saturating_sub(2))),
        Task { event: true, .. } => event,
        Task { context: true, .. } => describe(&context),
        Task { environment: true, .. } => std::env::vars().map(|(key, value)| (key, Value::String(value))).collect(),
        Task { answer, .. } => answer,
    };
    Ok(FunctionResponse::BufferedResponse(answer))
}

fn stream(chunks: Vec<String>, gate: Option<String>) -> FunctionResponse<Value, Chunks> {
    let stream = tokio_stream::iter(chunks).then(move |chunk| {
        let gate = gate.clone();
        async move {
            if let Some(gate) = gate {
                wait_at(&gate).await;
            }
            Ok(Bytes::from(chunk))
        }
    });
    let metadata_prelude =
        MetadataPrelude { status_code: http::StatusCode::CREATED, cookies: vec!["a=1".to_owned()], ..MetadataPrelude::default() };
    FunctionResponse::StreamingResponse(StreamResponse { metadata_prelude, stream: Box::pin(stream) })
}

fn describe(context: &Context) -> Value {
    json!({
        "request_id": context.request_id,
        "deadline": context.deadline,
        "arn": context.invoked_function_arn,
        "trace": context.xray_trace_id,
        "tenant": context.tenant_id,
        "client": context.client_context.as_ref().map(|client| &client.custom),
        "function": context.env_config.function_name,
        "memory": context.env_config.memory,
        "version": context.env_config.version,
    })
}

/// Comes to the gate and waits until the test lets go. The connection stays open, so that the test sees the process end.
async fn wait_at(gate: &str) {
    let Ok(mut stream) = TcpStream::connect(gate).await else {
        return;
    };
    let _ = stream.read(&mut [0]).await;
    KEPT_OPEN.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
}

/// Work between the post of the response and the next poll, where a layer of the runtime is.
struct AfterLayer;

#[derive(Clone)]
struct AfterService<S>(S);

impl<S> Layer<S> for AfterLayer {
    type Service = AfterService<S>;

    fn layer(&self, inner: S) -> AfterService<S> {
        AfterService(inner)
    }
}

impl<S> Service<LambdaInvocation> for AfterService<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> task::Poll<Result<(), Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let request_id = invocation.context.request_id.clone();
        let posted = self.0.call(invocation);
        Box::pin(async move {
            let result = posted.await;
            let after = AFTER.lock().unwrap_or_else(PoisonError::into_inner).remove(&request_id).unwrap_or_default();
            if let Some(gate) = after.gate {
                wait_at(&gate).await;
            }
            if let Some(text) = after.print {
                println!("{text}");
            }
            if after.hang {
                std::future::pending::<()>().await;
            }
            if let Some(code) = after.exit {
                std::process::exit(code);
            }
            result
        })
    }
}
