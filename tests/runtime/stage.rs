//! A function behind a Runtime API of the test's, and an X-Ray daemon.

use crate::{
    api::{End, Fake},
    function::Probe,
    support::{XRay, this_program, within},
};
use libtest_mimic::Failed;
use serde_json::Value;
use std::{
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

pub(crate) use crate::support::{Tested, ensure, test};

/// How many invocations run at once.
pub(crate) const WORKERS: [u32; 2] = [1, 8];

/// The output of a process.
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

    /// Waits for so many lines that fit. Each is looked at once.
    pub(crate) async fn wait_for(&self, count: usize, fits: impl Fn(&str) -> bool) -> Tested {
        let (mut read, mut found) = (0, 0);
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                let lines = self.lines.lock().expect("no panic")[read..].to_vec();
                read += lines.len();
                found += lines.iter().filter(|line| fits(line)).count();
                if found >= count {
                    return;
                }
                changed.await;
            }
        };
        Ok(within(format!("{count} lines that fit"), waiting).await?)
    }
}

/// Whether a line is a JSON object with this field.
pub(crate) fn has(line: &str, field: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|line| !find(&line, field).is_null())
}

/// A field of a line, at its top or among those of the log's event.
pub(crate) fn find<'v>(line: &'v Value, field: &str) -> &'v Value {
    let top = &line[field];
    if top.is_null() { &line["fields"][field] } else { top }
}

/// Whether a line of the library's has this code.
pub(crate) fn code_is(line: &str, code: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|line| find(&line, "code") == code)
}

pub(crate) struct Stage {
    pub(crate) api: Fake,
    pub(crate) xray: XRay,
    pub(crate) output: Output,
    child: Child,
}

impl Stage {
    /// Starts the function `probe`; what its Runtime API does wrong is decided before.
    pub(crate) async fn start(probe: Probe, workers: u32, api: Fake, env: &[(&str, &str)]) -> Result<Self, Failed> {
        let address = listen(&api).await?;
        let xray = XRay::start().await?;
        let mut command = Command::new(this_program());
        command
            .env_clear()
            .env("PROBE", format!("{probe:?}"))
            .envs([("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_LAMBDA_FUNCTION_VERSION", "1")])
            .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"), ("AWS_LAMBDA_RUNTIME_API", &address)])
            .envs([("AWS_LAMBDA_LOG_FORMAT", "JSON"), ("AWS_XRAY_DAEMON_ADDRESS", &xray.daemon.address())])
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
        Ok(Self { api, xray, output, child })
    }

    /// A sampled event in a separate trace.
    pub(crate) fn event(&self, number: u32, body: &str) -> String {
        let id = format!("event-{number}");
        let trace = format!("Root={};Parent=53995c3f42cd8ad8;Sampled=1", trace_id(number));
        let arn = "arn:aws:lambda:eu-west-1:000000000000:function:f";
        self.api.event(&id, &[("lambda-runtime-trace-id", &trace), ("lambda-runtime-invoked-function-arn", arn)], body);
        id
    }

    /// CPU time of all threads of the process that live.
    pub(crate) fn cpu_time(&self) -> Result<Duration, Failed> {
        let process = self.child.id().ok_or("the process has ended")?;
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let times = std::fs::read_to_string(thread?.path().join("schedstat"))?;
            nanoseconds += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanoseconds))
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

/// Serves a Runtime API, and returns its address.
pub(crate) async fn listen(api: &Fake) -> Result<String, Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let server = api.clone();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            server.lock().connections += 1;
            tokio::spawn(serve(server.clone(), connection));
        }
    });
    Ok(address)
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
