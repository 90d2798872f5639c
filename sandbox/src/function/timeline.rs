//! The events of a function's environments, with their times.

use super::process::Exit;
use crate::{
    control_groups::CpuQuota,
    history::{History, Subscription},
};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

const EVENTS_KEPT: usize = 65_536;

/// One thing that happened to an execution environment.
#[derive(Clone, Debug)]
pub struct TimelineEvent {
    /// Wall-clock time.
    pub at: SystemTime,
    /// Time since the function was built, by the monotonic clock: use this for durations.
    pub offset: Duration,
    /// Number of the environment's process, counted from 1. Every process that is spawned gets a new one.
    pub environment: u32,
    /// The invocation it belongs to, where it belongs to one.
    pub request_id: Option<String>,
    /// The kind of event.
    pub kind: EventKind,
}

/// The kind of event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// A process was started: the Init phase begins.
    Spawned {
        /// Process id, which is its process group's id too.
        pid: u32,
        /// True when Init is repeated inside the invocation, because it failed before.
        suppressed: bool,
    },
    /// An internal extension registered.
    ExtensionRegistered {
        /// Its name.
        name: String,
        /// The events it wants.
        events: Vec<String>,
    },
    /// The runtime and every extension have called their `next`: the Init phase is over.
    InitDone {
        /// Time since the process was started.
        took: Duration,
    },
    /// From here on the process has the CPU share of its memory size; see
    /// [`FunctionBuilder::limit`](super::FunctionBuilder::limit).
    CpuLimited {
        /// How much CPU time it may use.
        quota: CpuQuota,
    },
    /// The Init phase failed: an error was posted, or the process ended.
    InitError {
        /// `errorType` of the posted document, or Lambda's name for what happened.
        error_type: String,
        /// `errorMessage` of the posted document, or how the process ended.
        error_message: String,
    },
    /// The Init phase exceeded its limit.
    InitTimedOut,
    /// The runtime waits for its snapshot to be restored (SnapStart).
    RestoreNextCalled,
    /// The snapshot was restored: the runtime continues with its hooks, and then with its first event.
    Restored,
    /// The runtime's work after the restore failed, or took longer than 10 s.
    RestoreError {
        /// `errorType` of the posted document, or Lambda's name for what happened.
        error_type: String,
        /// `errorMessage` of the posted document, or what happened.
        error_message: String,
    },
    /// The process was continued (SIGCONT).
    Thawed,
    /// The event was handed to the runtime: the invocation begins.
    EventOut {
        /// The value of `Lambda-Runtime-Deadline-Ms`.
        deadline: SystemTime,
    },
    /// The runtime started to stream its response.
    StreamStarted,
    /// The stream was read to its end.
    StreamEnded {
        /// How much was streamed.
        bytes: usize,
        /// `Lambda-Runtime-Function-Error-Type` of the trailers, when the stream failed.
        error_type: Option<String>,
    },
    /// A response or an error was posted for an invocation.
    ResponseIn {
        /// The status the runtime got for it: 202, or why the post was refused.
        status: u16,
        /// Size of its body.
        bytes: usize,
        /// True for a post to `/error`.
        error: bool,
    },
    /// The runtime asked for its next event: its part of the invocation is over.
    NextCalled,
    /// An extension asked for its next event.
    ExtensionNextCalled {
        /// Its name.
        name: String,
    },
    /// The process was stopped (SIGSTOP), and the kernel has confirmed it.
    Frozen,
    /// The invocation's deadline passed.
    TimedOut,
    /// SIGTERM was sent.
    Sigterm,
    /// SIGKILL was sent.
    Killed,
    /// The kernel killed a process because the function's memory was used up.
    OutOfMemory,
    /// The process is gone.
    Exited {
        /// How it ended.
        exit: Exit,
    },
}

impl fmt::Display for TimelineEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.3} ms  #{}  {}", self.offset.as_secs_f64() * 1e3, self.environment, self.kind)?;
        match &self.request_id {
            Some(id) => write!(f, "  [{}]", id.get(..8).unwrap_or(id)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawned { pid, suppressed: false } => write!(f, "spawned, pid {pid}"),
            Self::Spawned { pid, suppressed: true } => write!(f, "spawned inside the invocation, pid {pid}"),
            Self::ExtensionRegistered { name, events } => {
                write!(f, "extension {name} registered for {events:?}")
            }
            Self::InitDone { took } => {
                write!(f, "init done after {:.3} ms", took.as_secs_f64() * 1e3)
            }
            Self::CpuLimited { quota } => write!(f, "CPU limited to {quota}"),
            Self::InitError { error_type, error_message } => write!(f, "init error {error_type}: {error_message}"),
            Self::InitTimedOut => write!(f, "init timed out"),
            Self::RestoreNextCalled => write!(f, "waits to be restored"),
            Self::Restored => write!(f, "restored"),
            Self::RestoreError { error_type, error_message } => write!(f, "restore error {error_type}: {error_message}"),
            Self::Thawed => write!(f, "thawed"),
            Self::EventOut { .. } => write!(f, "event out"),
            Self::StreamStarted => write!(f, "stream started"),
            Self::StreamEnded { bytes, error_type: None } => write!(f, "stream ended, {bytes} bytes"),
            Self::StreamEnded { bytes, error_type: Some(error) } => {
                write!(f, "stream failed after {bytes} bytes: {error}")
            }
            Self::ResponseIn { status, bytes, error: false } => write!(f, "response in, {bytes} bytes, {status}"),
            Self::ResponseIn { status, bytes, error: true } => write!(f, "error in, {bytes} bytes, {status}"),
            Self::NextCalled => write!(f, "next called"),
            Self::ExtensionNextCalled { name } => write!(f, "extension {name} called next"),
            Self::Frozen => write!(f, "frozen"),
            Self::TimedOut => write!(f, "timed out"),
            Self::Sigterm => write!(f, "SIGTERM"),
            Self::Killed => write!(f, "SIGKILL"),
            Self::OutOfMemory => write!(f, "out of memory"),
            Self::Exited { exit } => write!(f, "ended: {exit}"),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Timeline {
    history: Arc<History<TimelineEvent>>,
    began: Instant,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { history: History::new(EVENTS_KEPT), began: Instant::now() }
    }

    pub(crate) fn write(&self, environment: u32, request_id: Option<&str>, kind: EventKind) {
        let request_id = request_id.map(str::to_owned);
        let (at, offset) = (SystemTime::now(), self.began.elapsed());
        self.history.write(TimelineEvent { at, offset, environment, request_id, kind });
    }

    pub(crate) fn history(&self) -> &Arc<History<TimelineEvent>> {
        &self.history
    }

    pub(crate) fn entries(&self) -> Vec<TimelineEvent> {
        self.history.entries()
    }

    pub(crate) fn subscribe(&self) -> Subscription<TimelineEvent> {
        self.history.subscribe()
    }
}
