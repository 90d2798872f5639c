//! A Lambda function that runs as real processes: the execution environment.
//!
//! ```no_run
//! use lambda_lifecycle_sandbox::{Event, Invoke, function::{EventKind, Function}};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let function = Function::builder("orders", "target/debug/bootstrap").timeout(Duration::from_secs(1)).build().await;
//! let response = function.invoke(Event { payload: r#"{"id": 7}"#.into(), ..Event::default() }).await;
//! println!("{:?}", response.result);
//!
//! // The caller has its response. The function may still be running, until it requests its next event and is frozen.
//! function.wait_frozen().await;
//! for event in function.timeline() {
//!     println!("{event}");
//! }
//! for line in function.logs() {
//!     println!("{}", line.text);
//! }
//! assert!(function.timeline().iter().any(|event| event.kind == EventKind::Frozen));
//! function.shutdown().await;
//! # }
//! ```
//!
//! Beside on-demand functions there are [Managed Instances](FunctionBuilder::managed), [SnapStart and provisioned
//! concurrency](FunctionBuilder::initialization_type). Differences from AWS are listed on the
//! [crate's page](crate).

mod api;
mod builder;
pub(crate) mod calls;
mod describe;
mod environment;
mod invocation;
mod job;
mod limited;
mod logs;
mod message;
mod platform_log;
mod pool;
mod post_fault;
mod process;
mod reaper;
mod session;
pub(crate) mod settings;
mod shared;
mod timeline;
mod trace_header;
mod trace_segments;

pub use crate::history::Subscription;

pub use self::{
    builder::FunctionBuilder,
    logs::{LogLine, Output},
    message::{Ended, EnvironmentState, WarmUpError},
    post_fault::PostFault,
    process::Exit,
    timeline::{EventKind, TimelineEvent},
    trace_header::TraceMode,
};

use self::{calls::Calls, job::Job, message::Status, pool::Pool, settings::Settings, shared::Shared};
use crate::{Event, Failure, FunctionResponse, Invoke, StreamPart, history::History, wait::describe_when_expired};
use nix::sys::signal::Signal;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};
use tokio::sync::{mpsc, oneshot};

/// A function of the sandbox. Clones are handles to the same function; with the last one its processes are killed.
#[derive(Clone)]
pub struct Function(Arc<Pool>);

/// The result of a shutdown.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Shutdown {
    /// The processes there were, in the order of their environments. Empty when there was none.
    pub ended: Vec<Ended>,
}

/// An invocation that was started.
pub(crate) struct Started {
    pub(crate) request_id: String,
    pub(crate) trace_id: String,
    response: oneshot::Receiver<FunctionResponse>,
}

impl Started {
    /// Its result.
    pub(crate) async fn response(self) -> FunctionResponse {
        let Self { request_id, trace_id, response } = self;
        response.await.unwrap_or_else(|_| {
            let result = Err(Failure::Exited("the sandbox was shut down".to_owned()));
            FunctionResponse { request_id, trace_id, result, streamed: false, at: SystemTime::now() }
        })
    }
}

/// All that is on record of a function.
pub(crate) struct Records<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) timeline: &'a Arc<History<TimelineEvent>>,
    pub(crate) logs: &'a Arc<History<LogLine>>,
    pub(crate) calls: &'a Calls,
}

impl Function {
    fn start(settings: Settings) -> Self {
        let managed = settings.managed;
        let function = Self(Arc::new(Pool::new(settings)));
        let described: Weak<Shared> = Arc::downgrade(&function.0.shared);
        describe_when_expired(described);
        if managed {
            // Who wants to know what came of it asks with `warm_up`.
            drop(function.0.warm_up());
        }
        function
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.shared().settings.name
    }

    /// The function's ARN in `Lambda-Runtime-Invoked-Function-Arn`.
    pub fn arn(&self) -> String {
        self.shared().settings.arn()
    }

    /// How long its Init phase may take; see [`FunctionBuilder::init_limit`].
    pub fn init_limit(&self) -> Duration {
        self.shared().settings.init_limit()
    }

    /// Has all environments there may be go through their Init phase now, as provisioned concurrency does.
    ///
    /// Environments that are initialized or busy are left as they are. Those of Managed Instances are waited for.
    ///
    /// # Errors
    ///
    /// Says why the first of those that failed did. The Init phase is then repeated inside the next invocation.
    pub async fn warm_up(&self) -> Result<(), WarmUpError> {
        for done in self.0.warm_up() {
            done.await.unwrap_or(Err(WarmUpError::Dropped))?;
        }
        Ok(())
    }

    /// Ends all processes the way Lambda does, and says how they ended. An invocation that is running is waited for.
    ///
    /// The function can be used afterwards: the next invocation starts a fresh process.
    pub async fn shutdown(&self) -> Shutdown {
        let mut report = Shutdown::default();
        for ended in self.0.shutdown() {
            report.ended.extend(ended.await.ok().flatten());
        }
        report
    }

    /// Ends the time of all invocations that are running: the platform acts now as if their deadlines, and
    /// [`FunctionBuilder::kill_delay`] with them, had passed.
    ///
    /// A test calls it when it has seen what the function does at its deadline, so that no moment has to be guessed.
    pub fn expire(&self) {
        self.0.expire();
    }

    /// Everything that has happened so far. The last 65,536 events are kept.
    pub fn timeline(&self) -> Vec<TimelineEvent> {
        self.shared().timeline.entries()
    }

    /// Events from now on.
    pub fn subscribe(&self) -> Subscription<TimelineEvent> {
        self.shared().timeline.subscribe()
    }

    /// The lines of the function's processes that have been read so far. The last 65,536 are kept.
    ///
    /// Lines of a process that has ended are complete; those of a living one come a moment after they were written: await
    /// them with [`subscribe_logs`](Self::subscribe_logs).
    pub fn logs(&self) -> Vec<LogLine> {
        self.shared().logs.entries()
    }

    /// The lines the function's processes write from now on.
    pub fn subscribe_logs(&self) -> Subscription<LogLine> {
        self.shared().logs.subscribe()
    }

    /// The process of the environment that was started last, while it lives.
    pub fn pid(&self) -> Option<u32> {
        self.latest().and_then(|status| status.pid)
    }

    /// The state of the environment that was started last.
    pub fn state(&self) -> EnvironmentState {
        self.latest().map_or(EnvironmentState::Cold, |status| status.state)
    }

    fn latest(&self) -> Option<Status> {
        self.shared().statuses.borrow().values().max_by_key(|status| status.number).copied()
    }

    /// Waits until all processes are frozen or gone: [`wait_idle`](Self::wait_idle) under the name it deserves where processes
    /// are frozen, which those of Managed Instances never are.
    pub async fn wait_frozen(&self) -> EnvironmentState {
        self.wait_idle().await
    }

    /// Waits until no environment is initializing or busy.
    ///
    /// Then all processes are frozen or gone. Those of Managed Instances have polled again for every event they had; what has
    /// passed its deadline is waited for, too.
    ///
    /// Returns what has become of the environment that was started last: [`EnvironmentState::Idle`] when it waits for an
    /// event, [`EnvironmentState::Dead`] when it has ended, [`EnvironmentState::Cold`] when there was none.
    pub async fn wait_idle(&self) -> EnvironmentState {
        let mut statuses = self.shared().statuses.subscribe();
        let at_rest = |status: &Status| !matches!(status.state, EnvironmentState::Initializing | EnvironmentState::Busy);
        // The sender lives as long as this function: waiting does not fail.
        let _ = statuses.wait_for(|statuses| statuses.values().all(at_rest)).await;
        self.state()
    }
}

impl Invoke for Function {
    fn invoke(&self, event: Event) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        self.submit(event, None)
    }

    fn wait_for_room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.shared().wait_for_room())
    }

    fn invoke_streaming(
        &self,
        event: Event,
        stream: mpsc::Sender<StreamPart>,
    ) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        self.submit(event, Some(stream))
    }
}

impl Function {
    /// Starts an invocation, and says which one it is before its result is there.
    pub(crate) fn start_invocation(&self, event: Event, stream: Option<mpsc::Sender<StreamPart>>) -> Started {
        let (job, response) = Job::new(&self.shared().settings, &self.shared().calls, event, stream);
        let (request_id, trace_id) = (job.request_id.clone(), job.trace.root.clone());
        self.0.submit(job);
        Started { request_id, trace_id, response }
    }

    /// Sends a signal to the process of an environment, as if it came from outside of Lambda.
    pub(crate) fn signal(&self, environment: u32, signal: Signal) {
        self.0.signal(environment, signal);
    }

    pub(crate) fn records(&self) -> Records<'_> {
        let Shared { settings, timeline, logs, calls, .. } = self.shared();
        Records { settings, timeline: timeline.history(), logs, calls }
    }

    fn submit(
        &self,
        event: Event,
        stream: Option<mpsc::Sender<StreamPart>>,
    ) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        Box::pin(self.start_invocation(event, stream).response())
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("name", &self.name()).field("state", &self.state()).finish_non_exhaustive()
    }
}
