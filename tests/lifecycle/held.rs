//! A Runtime API that receives responses and never acknowledges them, for tests of a response that is being posted.

use crate::{
    behavior::{Do, Probe},
    support::{Tested, XRay, ensure, this_program, within},
};
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use lambda_lifecycle_sandbox::xray::Document;
use libtest_mimic::Failed;
use std::{
    net::Ipv4Addr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    sync::mpsc,
};

struct Api {
    events: Vec<Do>,
    given: AtomicUsize,
    posted: mpsc::UnboundedSender<String>,
}

/// A function in one process that gets each of its events once.
pub(crate) struct HeldFunction {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    xray: XRay,
    posted: mpsc::UnboundedReceiver<String>,
    events: usize,
}

/// The trace of the event with this index.
fn trace_id(at: usize) -> String {
    format!("1-5759e988-{at:024x}")
}

impl HeldFunction {
    /// The function `probe` with these events. Several at a time need Managed Instances.
    pub(crate) async fn start(probe: Probe, at_once: usize, events: impl IntoIterator<Item = Do>) -> Result<Self, Failed> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, xray) = (listener.local_addr()?.to_string(), XRay::start().await?);
        let (posted, received) = mpsc::unbounded_channel();
        let events: Vec<Do> = events.into_iter().collect();
        let count = events.len();
        let router = Router::new()
            .route("/2020-01-01/extension/register", post(async || ([("lambda-extension-identifier", "one")], "{}")))
            .route("/2020-01-01/extension/event/next", any(std::future::pending::<StatusCode>))
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(hold))
            .with_state(Arc::new(Api { events, given: AtomicUsize::new(0), posted }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut command = Command::new(this_program());
        command
            .env_clear()
            .env("PROBE", probe.to_string())
            .env("AWS_LAMBDA_RUNTIME_API", address)
            .env("AWS_LAMBDA_FUNCTION_NAME", "probe")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "1")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "2048")
            .env("AWS_XRAY_DAEMON_ADDRESS", xray.daemon.address())
            // A third of it is left for the documents once the posts have had their time, which is enough on any machine.
            .env("LAMBDA_LIFECYCLE_SHUTDOWN_BUDGET", "6000");
        if at_once > 1 {
            command.env("AWS_LAMBDA_MAX_CONCURRENCY", at_once.to_string());
            command.env("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances");
        }
        let mut process = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
        Ok(Self { process, output, xray, posted: received, events: count })
    }

    /// Waits for this number of such lines.
    pub(crate) async fn wait_for_lines(&mut self, wanted: &str, count: usize) -> Tested {
        let mut seen = 0;
        while seen < count {
            let line = within("a line of the function", self.output.next_line()).await??.ok_or("the function has ended")?;
            seen += usize::from(line == wanted);
        }
        Ok(())
    }

    /// Waits until this number of responses is being posted.
    pub(crate) async fn wait_for_posts(&mut self, count: usize) -> Tested {
        for _ in 0..count {
            within("a post", self.posted.recv()).await?.ok_or("the Runtime API is gone")?;
        }
        Ok(())
    }

    /// Sends SIGTERM, and waits until the process has ended by itself.
    pub(crate) async fn terminate(&mut self) -> Tested {
        let pid = self.process.id().ok_or("the process is gone")?;
        ensure(std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status()?.success(), "kill failed")?;
        let status = within("the end of the process", self.process.wait()).await??;
        self.xray.settle().await?;
        ensure(status.success(), format!("{status}"))
    }

    /// The one final document of each event, in their order.
    pub(crate) fn final_documents(&self) -> Result<Vec<Arc<Document>>, Failed> {
        let is_final = |document: &&Arc<Document>| document.name == "probe" && !document.in_progress;
        let history = self.xray.traces.history();
        (0..self.events)
            .map(|at| {
                let of_event: Vec<_> =
                    history.iter().filter(|document| document.trace_id == trace_id(at)).filter(is_final).collect();
                match of_event.as_slice() {
                    [document] => Ok(Arc::clone(document)),
                    others => Err(format!("{} final documents of event {at}", others.len()).into()),
                }
            })
            .collect()
    }
}

async fn next(State(api): State<Arc<Api>>) -> Response {
    let at = api.given.fetch_add(1, Ordering::Relaxed);
    let Some(event) = api.events.get(at) else { return std::future::pending().await };
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(600);
    let headers = [
        ("lambda-runtime-aws-request-id", at.to_string()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:probe".to_owned()),
        ("lambda-runtime-trace-id", format!("Root={};Parent=53995c3f42cd8ad8;Sampled=1", trace_id(at))),
    ];
    (headers, event.to_string()).into_response()
}

async fn hold(State(api): State<Arc<Api>>, Path((_, kind)): Path<(String, String)>, _: Bytes) -> StatusCode {
    let _ = api.posted.send(kind);
    std::future::pending().await
}
