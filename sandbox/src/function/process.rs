//! One process of a function: its group, its signals, its output.

use super::{
    limited::{self, Limited},
    logs::{LogLine, Output, capture},
    reaper::Reaper,
};
use crate::{
    control_groups::{CpuQuota, GroupError},
    history::History,
};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    fmt, io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

/// How long the output of a process that is gone is still waited for, at least. A child of it may hold the pipe open.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// How long the kernel may take to stop every thread of a process.
const LONGEST_STOP: Duration = Duration::from_secs(30);

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned from `main` or called `exit`.
    Code(i32),
    /// A signal ended it: 9 is SIGKILL, 15 SIGTERM, 6 SIGABRT.
    Signal(i32),
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "signal: {signal}"),
                Err(_) => write!(f, "signal: {number}"),
            },
        }
    }
}

pub(crate) struct Process {
    child: Child,
    group: Pid,
    output: Vec<JoinHandle<()>>,
    reaper: Arc<Reaper>,
    exit: Option<Exit>,
    limited: Option<Limited>,
    out_of_memory: bool,
}

/// The process could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("the program does not start: {0}")]
    Program(#[from] io::Error),
    #[error("the process cannot be limited: {0}")]
    Limit(#[from] GroupError),
}

impl Process {
    pub(crate) fn spawn(
        mut command: Command,
        environment: u32,
        logs: &Arc<History<LogLine>>,
        reaper: &Arc<Reaper>,
        limited: Option<Limited>,
    ) -> Result<Self, SpawnError> {
        let mut child = command
            .stdin(if limited.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let group = Pid::from_raw(id.ok_or_else(|| io::Error::other("the process has no id"))?);
        reaper.add(group);
        if let Some(limited) = &limited {
            limited.add(group.as_raw().unsigned_abs())?;
        }
        let waits = child.stdin.take();
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            output.push(tokio::spawn(capture(stdout, Output::Stdout, environment, Arc::clone(logs))));
        }
        if let Some(stderr) = child.stderr.take() {
            output.push(tokio::spawn(capture(stderr, Output::Stderr, environment, Arc::clone(logs))));
        }
        // Last, so that the Init phase is timed from here.
        waits.map_or(Ok(()), limited::release)?;
        Ok(Self { child, group, output, reaper: Arc::clone(reaper), exit: None, limited, out_of_memory: false })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.group.as_raw().unsigned_abs()
    }

    /// The process has the CPU share of its memory size from here on. `None` where nothing changes.
    pub(crate) fn limit_cpu(&mut self) -> Result<Option<CpuQuota>, GroupError> {
        self.limited.as_mut().map_or(Ok(None), Limited::limit_cpu)
    }

    /// Whether it ended because the function's memory was used up.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.out_of_memory
    }

    /// Sends a signal to the whole group, unless the process is gone: its number may belong to another by then.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.exit.is_none() {
            let _ = killpg(self.group, signal);
        }
    }

    /// Stops the group and waits until the kernel says that the process has stopped.
    pub(crate) async fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let group = self.group;
        let stopped = tokio::task::spawn_blocking(move || await_stop(group));
        let _ = timeout(LONGEST_STOP, stopped).await;
    }

    /// Waits for the end. Safe to cancel.
    pub(crate) async fn ended(&mut self) {
        if self.exit.is_none() {
            let status = self.child.wait().await;
            self.exit = Some(status.map_or(Exit::Signal(0), Exit::from));
            // Children it left behind.
            let _ = killpg(self.group, Signal::SIGKILL);
            self.reaper.remove(self.group);
            let killed = self.exit == Some(Exit::Signal(Signal::SIGKILL as i32));
            let limited = self.limited.take();
            self.out_of_memory = killed && limited.is_some_and(|limited| limited.is_out_of_memory());
        }
    }

    /// Waits for the end and for the last of the output, for the latter as long as `grace` or a little.
    pub(crate) async fn wait(mut self, grace: Duration) -> Exit {
        self.ended().await;
        for mut output in std::mem::take(&mut self.output) {
            if timeout(LAST_OUTPUT.max(grace), &mut output).await.is_err() {
                output.abort();
            }
        }
        self.exit.unwrap_or(Exit::Signal(0))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        self.reaper.remove(self.group);
        for output in &self.output {
            output.abort();
        }
    }
}

/// Returns when the process has stopped or ended; leaves the exit status for the one who waits for it.
#[cfg(target_os = "linux")]
fn await_stop(process: Pid) {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let flags = WaitPidFlag::WSTOPPED | WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
    while waitid(Id::Pid(process), flags) == Err(nix::errno::Errno::EINTR) {}
}

#[cfg(not(target_os = "linux"))]
fn await_stop(_: Pid) {}
