//! Messages to an environment, its reports, and the channel between them.

use super::{
    api::{
        call::{Call, Reply},
        error::ApiError,
    },
    job::Job,
    post_fault::PostFaults,
    process::Exit,
};
use nix::sys::signal::Signal;
use std::{sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// The state of an execution environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentState {
    /// No process has been started yet.
    Cold,
    /// The process is in its Init phase.
    Initializing,
    /// Waiting for an event: frozen, unless it is of Managed Instances.
    Idle,
    /// Running an invocation or more, up to the freeze after it, or, with Managed Instances, until all have polled again.
    Busy,
    /// The process is gone; the next invocation starts another one.
    Dead,
}

/// How a process ended that was shut down.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Number of the environment.
    pub environment: u32,
    /// The process.
    pub pid: u32,
    /// True when it was asked first, by SIGTERM: an extension was registered.
    pub sigterm: bool,
    /// How it ended.
    pub exit: Exit,
    /// From the first signal to the end.
    pub took: Duration,
}

/// One environment as it can be seen from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status {
    pub(crate) number: u32,
    pub(crate) pid: Option<u32>,
    pub(crate) state: EnvironmentState,
}

/// A request to a free environment.
pub(crate) enum Work {
    Job(Box<Job>),
    WarmUp(WarmUpReply),
}

/// Where the end of a warm-up is told. Its slot counts it until then.
pub(crate) struct WarmUpReply {
    pub(crate) sender: oneshot::Sender<Result<(), WarmUpError>>,
    pub(crate) _counted: Arc<()>,
}

impl WarmUpReply {
    pub(crate) fn send(self, result: Result<(), WarmUpError>) -> Result<(), Result<(), WarmUpError>> {
        self.sender.send(result)
    }
}

/// Why an environment could not be initialized ahead of its first invocation, which will repeat the Init phase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WarmUpError {
    /// The function posted an error, or its process ended.
    #[error("the Init phase failed with {error_type}: {error_message}; see the function's logs()")]
    Failed {
        /// `errorType` of the posted document, or Lambda's name for what happened.
        error_type: String,
        /// `errorMessage` of the posted document, or how the process ended.
        error_message: String,
    },
    /// The Init phase took longer than its limit.
    #[error("the Init phase took longer than its limit of {0:?}; raise init_limit() or do less before the first /next")]
    TimedOut(Duration),
    /// The function was dropped meanwhile.
    #[error("the function was dropped during its Init phase")]
    Dropped,
}

/// A message to an environment.
pub(crate) enum Message {
    Work(Work),
    Api {
        environment: u32,
        call: Call,
    },
    Shutdown(oneshot::Sender<Option<Ended>>),
    /// The time of what runs is over.
    Expire,
    /// The process of this number gets a signal.
    Signal {
        environment: u32,
        signal: Signal,
    },
}

/// The way from the handlers of one process' server to the environment.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) post_faults: PostFaults,
    pub(crate) environment: u32,
    pub(crate) mailbox: mpsc::UnboundedSender<Message>,
}

impl Api {
    /// A call without a response comes from a process whose environment is gone.
    pub(crate) async fn call<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, ApiError> {
        let (reply, response) = oneshot::channel();
        let message = Message::Api { environment: self.environment, call: call(reply) };
        self.mailbox.send(message).map_err(|_| ApiError::gone())?;
        response.await.unwrap_or_else(|_| Err(ApiError::gone()))
    }
}
