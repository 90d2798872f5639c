//! A function behind a Runtime API of the test's, and an X-Ray daemon.

use crate::api::{End, Fake};
use lambda_lifecycle_sandbox::xray::Daemon;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{
    future::Future,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    sync::Notify,
};

/// Only a hang takes so long.
const PATIENCE: Duration = Duration::from_secs(240);

pub(crate) type Tested = Result<(), Failed>;

/// How many invocations run at once.
pub(crate) const WORKERS: [u32; 2] = [1, 8];

pub(crate) fn test<F>(name: impl Into<String>, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Tested>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(PATIENCE, body()).await? })
    })
}

pub(crate) fn ensure(holds: bool, otherwise: impl Into<String>) -> Tested {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}

/// What a process wrote.
#[derive(Clone, Default)]
pub(crate) struct Output {
    lines: Arc<Mutex<Vec<String>>>,
    changed: Arc<Notify>,
}

impl Output {
    fn collect(&self, stream: impl AsyncRead + Unpin + Send + 'static) {
        let output = self.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(stream).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                output.lines.lock().expect("no panic").push(line);
                output.changed.notify_waiters();
            }
        });
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// The lines that are JSON objects with this field.
    pub(crate) fn with(&self, field: &str) -> Vec<Value> {
        let lines = self.lines();
        lines
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| !find(line, field).is_null())
            .collect()
    }

    pub(crate) async fn wait_for(&self, seen: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if seen(self) {
                return;
            }
            changed.await;
        }
    }
}

/// A field of a line, at its top or among those of the log's event.
pub(crate) fn find<'v>(line: &'v Value, field: &str) -> &'v Value {
    let top = &line[field];
    if top.is_null() { &line["fields"][field] } else { top }
}

pub(crate) struct Stage {
    pub(crate) api: Fake,
    pub(crate) daemon: Daemon,
    pub(crate) output: Output,
    child: Child,
}

impl Stage {
    /// Starts the function `probe`; what its Runtime API does wrong is decided before.
    pub(crate) async fn start(probe: &str, workers: u32, api: Fake, env: &[(&str, &str)]) -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let server = api.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                server.lock().connections += 1;
                tokio::spawn(serve(server.clone(), connection));
            }
        });
        let daemon = Daemon::start().await?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .env_clear()
            .envs([("PROBE", probe), ("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_LAMBDA_FUNCTION_VERSION", "1")])
            .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_LAMBDA_RUNTIME_API", &address)])
            .envs([("AWS_LAMBDA_LOG_FORMAT", "JSON"), ("AWS_XRAY_DAEMON_ADDRESS", &daemon.address())])
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if workers > 1 {
            command.env("AWS_LAMBDA_MAX_CONCURRENCY", workers.to_string());
            command.env("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances");
        }
        let mut child = command.spawn()?;
        let output = Output::default();
        output.collect(child.stdout.take().ok_or("no output")?);
        output.collect(child.stderr.take().ok_or("no output")?);
        Ok(Self { api, daemon, output, child })
    }

    /// A sampled event with a trace of its own.
    pub(crate) fn event(&self, number: u32, body: &str) -> String {
        let id = format!("event-{number}");
        let trace = format!("Root={};Parent=53995c3f42cd8ad8;Sampled=1", trace_id(number));
        let arn = "arn:aws:lambda:eu-west-1:000000000000:function:f";
        self.api.event(&id, &[("lambda-runtime-trace-id", &trace), ("lambda-runtime-invoked-function-arn", arn)], body);
        id
    }

    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) async fn exit(&mut self) -> Result<ExitStatus, Failed> {
        Ok(self.child.wait().await?)
    }
}

pub(crate) fn trace_id(number: u32) -> String {
    format!("1-5759e988-bd862e3fe1be46a9{number:08x}")
}

async fn serve(api: Fake, connection: TcpStream) {
    let (socket, connection) = match connection.into_std() {
        Ok(connection) => match (connection.try_clone(), TcpStream::from_std(connection)) {
            (Ok(socket), Ok(connection)) => (socket, connection),
            _ => return,
        },
        Err(_) => return,
    };
    if api.serve(connection).await == End::Reset {
        // Closing sends a reset instead of what is left.
        let _ = nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::Linger,
            &nix::libc::linger { l_onoff: 1, l_linger: 0 },
        );
    }
}
