//! An event that waits for an environment, or runs in one.

use super::{calls::Calls, settings::Settings, trace_header::Trace};
use crate::{Event, Failure, FunctionResponse, StreamPart, ids::new_request_id};
use bytes::Bytes;
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{mpsc, oneshot};

/// An event and the caller that waits for its result.
pub(crate) struct Job {
    pub(crate) request_id: String,
    pub(crate) trace: Trace,
    pub(super) event: Event,
    pub(super) received: SystemTime,
    caller: Option<oneshot::Sender<FunctionResponse>>,
    /// The receiver of a streamed response in progress.
    pub(super) stream: Option<mpsc::Sender<StreamPart>>,
    /// Set early when the Init phase is repeated inside the invocation: the function's timeout covers both.
    pub(crate) clock: Option<Clock>,
    calls: Arc<Calls>,
}

/// When an invocation must be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// When the platform acts.
    pub(crate) deadline: Instant,
    /// The event as the function receives it.
    pub(crate) wall: SystemTime,
}

impl Job {
    pub(crate) fn new(
        settings: &Settings,
        calls: &Arc<Calls>,
        event: Event,
        stream: Option<mpsc::Sender<StreamPart>>,
    ) -> (Self, oneshot::Receiver<FunctionResponse>) {
        let (caller, response) = oneshot::channel();
        let job = Self {
            request_id: new_request_id(),
            trace: Trace::new(&settings.trace_mode, &settings.name, event.trace_header.as_deref()),
            event,
            received: SystemTime::now(),
            caller: Some(caller),
            stream,
            clock: None,
            calls: Arc::clone(calls),
        };
        calls.received(&job.request_id, &job.trace.root, job.trace.sampled, &job.event);
        (job, response)
    }

    pub(crate) fn timeout(&self, settings: &Settings) -> Duration {
        self.event.timeout.unwrap_or(settings.timeout)
    }

    /// Starts its time, unless it runs already.
    pub(crate) fn start_clock(&mut self, settings: &Settings) -> Clock {
        let timeout = self.timeout(settings);
        *self.clock.get_or_insert_with(|| Clock {
            deadline: Instant::now() + timeout + settings.kill_delay,
            wall: SystemTime::now() + timeout,
        })
    }

    /// Sends the result to the caller, which may be gone. Only the first result counts.
    pub(crate) fn respond(&mut self, result: Result<Bytes, Failure>, streamed: bool) {
        if let Some(caller) = self.caller.take() {
            let (request_id, trace_id) = (self.request_id.clone(), self.trace.root.clone());
            self.calls.ended(&request_id, &trace_id, &result, streamed);
            let _ = caller.send(FunctionResponse { request_id, trace_id, result, streamed, at: SystemTime::now() });
        }
    }
}

pub(crate) fn timed_out(timeout: Duration) -> Failure {
    Failure::TimedOut { seconds: (timeout + Duration::from_millis(500)).as_secs() }
}
