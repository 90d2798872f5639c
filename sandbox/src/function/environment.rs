//! One execution environment: a task that owns a process and decides what happens to it.
//!
//! The Init phase ends when the runtime and every extension have called their `next`; an invocation is over when all of
//! them have called it again; then the process is stopped until there is another event.

mod ending;
mod failure;
mod managed;
mod restore;

use self::failure::{function_failure, give_up};
use super::{
    api::{
        Server,
        call::{Call, Reply},
        error::{ApiError, FunctionError},
    },
    job::Job,
    limited::Limited,
    message::{Api, Ended, EnvironmentState, Message, Status, Work},
    platform_log::PlatformLog,
    process::{Process, SpawnError},
    session::{Ending, Phase, Session, Start},
    shared::Shared,
    timeline::EventKind,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// How long a process may live on that has reported its failure, so that its last lines are read.
const FAILURE_GRACE: Duration = Duration::from_millis(100);

pub(crate) struct Environment {
    index: usize,
    shared: Arc<Shared>,
    mailbox: mpsc::UnboundedSender<Message>,
    session: Option<Session>,
    /// Waits for the end of the Init phase, and, with Managed Instances, for a poll. Otherwise there is one at most.
    work: VecDeque<Work>,
    /// The Init phase failed ahead of the first invocation: it is repeated inside it.
    init_failed: bool,
    shutdown: Vec<oneshot::Sender<Option<Ended>>>,
    /// Number of the last process.
    number: u32,
    /// How much of the work given to this environment is done, which the pool does not know yet.
    done: usize,
}

impl Environment {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, mailbox: mpsc::UnboundedSender<Message>) -> Self {
        let (work, shutdown) = (VecDeque::new(), Vec::new());
        Self { index, shared, mailbox, session: None, work, init_failed: false, shutdown, number: 0, done: 0 }
    }

    pub(crate) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        loop {
            let due = self.session.as_ref().and_then(Session::due);
            let ended = async {
                match &mut self.session {
                    Some(session) => session.process.ended().await,
                    None => std::future::pending().await,
                }
            };
            let waited = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // Calls of the process count before its end does.
                message = messages.recv() => match message {
                    Some(message) => self.receive(message).await,
                    None => return,
                },
                () = ended => self.ended().await,
                () = waited => self.due().await,
            }
        }
    }

    fn write(&self, kind: EventKind) {
        if let Some(session) = &self.session {
            self.shared.timeline.write(session.number, session.request_id(), kind);
        }
    }

    /// Runs while there is work. The pool knows whether there is more, and sets the state afterwards.
    fn set_state(&self, state: EnvironmentState) {
        let pid = self.session.as_ref().map(|session| session.process.pid());
        let status = Status { number: self.number, pid, state };
        self.shared.statuses.send_modify(|statuses| {
            statuses.insert(self.index, status);
        });
    }

    async fn receive(&mut self, message: Message) {
        match message {
            Message::Work(work) => self.begin(work).await,
            Message::Shutdown(reply) => {
                self.shutdown.push(reply);
                self.shut_down_if_idle();
            }
            Message::Expire => {
                if let Some(session) = &mut self.session {
                    session.expire();
                }
            }
            Message::Signal { environment, signal } => self.signal(environment, signal),
            Message::Api { environment, call } => {
                // A call of an earlier process gets no response from here, which its server reports as 410 Gone.
                if self.session.as_ref().is_some_and(|session| session.number == environment) {
                    self.serve(call).await;
                }
            }
        }
    }

    /// No more comes than this environment runs at once: the pool knows who is busy.
    async fn begin(&mut self, work: Work) {
        self.work.push_back(work);
        match &self.session {
            None => self.start().await,
            Some(session) if session.is_dying() => {}
            Some(_) => self.proceed().await,
        }
    }

    /// Starts a process: the Init phase begins, or is repeated inside the invocation that waits.
    async fn start(&mut self) {
        let mut deadline = None;
        if self.init_failed
            && let Some(Work::Job(job)) = self.work.front_mut()
        {
            deadline = Some(job.start_clock(&self.shared.settings).deadline);
        }
        let suppressed = deadline.is_some();
        let number = self.shared.next_number();
        self.number = number;
        let deadline =
            deadline.unwrap_or_else(|| Instant::now() + self.shared.settings.init_limit() + self.shared.settings.kill_delay);
        match self.spawn(number).await {
            Ok((server, process)) => {
                let pid = process.pid();
                let log = PlatformLog { history: Arc::clone(&self.shared.logs), environment: number, pid };
                log.init_start(&self.shared.settings);
                let init = Start { deadline, suppressed, managed: self.shared.settings.managed };
                self.session = Some(Session::new(log, server, process, init));
                self.write(EventKind::Spawned { pid, suppressed });
                if suppressed || !self.shared.settings.is_init_boosted() {
                    self.limit_cpu();
                }
                self.set_state(EnvironmentState::Initializing);
            }
            Err(error) => {
                let error_type = match &error {
                    SpawnError::Program(_) => "Runtime.InvalidEntrypoint",
                    SpawnError::Limit(_) => "Sandbox.NotLimited",
                };
                let error = FunctionError::new(error_type, error.to_string());
                let (error_type, error_message) = (error.error_type.clone(), error.error_message.clone());
                self.shared.timeline.write(number, None, EventKind::InitError { error_type, error_message });
                self.init_failed = false;
                let (done, tell) = give_up(&mut self.work, function_failure(error), &self.shared.settings);
                Box::pin(self.release(done, tell)).await;
            }
        }
    }

    async fn spawn(&self, environment: u32) -> Result<(Server, Process), SpawnError> {
        let server = Server::start(Api {
            post_faults: self.shared.settings.post_faults.clone(),
            environment,
            mailbox: self.mailbox.clone(),
        })
        .await?;
        let command = self.shared.settings.command(&server.address);
        let (settings, reaper) = (&self.shared.settings, &self.shared.reaper);
        let limited = settings.limit.as_ref().map(|groups| Limited::new(groups, settings.memory_mb, reaper)).transpose()?;
        let process = Process::spawn(command, environment, &self.shared.logs, reaper, limited)?;
        Ok((server, process))
    }

    fn limit_cpu(&mut self) {
        let Some(session) = &mut self.session else { return };
        match session.process.limit_cpu() {
            Ok(Some(quota)) => self.write(EventKind::CpuLimited { quota }),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the CPU share of a function is not limited"),
        }
    }

    async fn serve(&mut self, call: Call) {
        let Some(session) = &mut self.session else { return };
        let (timeline, settings) = (&self.shared.timeline, &self.shared.settings);
        match call {
            Call::Next { reply } => match session.next_called(settings) {
                Ok(over) => {
                    session.polls.push_back(reply);
                    let number = session.number;
                    let told = over.as_ref().map_or(session.request_id(), |over| over.request_id.as_deref());
                    timeline.write(number, told, EventKind::NextCalled);
                    if over.is_some() {
                        Box::pin(self.release(1, || ())).await;
                    }
                    self.proceed().await;
                }
                Err(refused) => refuse(reply, refused),
            },
            Call::PostBegins { request_id, kind, reply } => {
                let _ = reply.send(session.post_begins(&request_id, kind, timeline));
            }
            Call::PostEnds { request_id, post, reply } => {
                let _ = reply.send(session.post_ends(&request_id, post, settings, timeline));
            }
            Call::InitError { error, reply } => {
                if session.is_initializing() {
                    let _ = reply.send(Ok(()));
                    self.init_error(error);
                } else {
                    refuse(reply, ApiError::invalid_state("Ready", "InitError"));
                }
            }
            Call::RestoreNext { reply } => self.restore_next(reply).await,
            Call::RestoreError { error, reply } => self.restore_error(error, reply),
            Call::Register { name, events, reply } => {
                let _ = reply.send(session.register(name, events, settings, timeline));
            }
            Call::ExtensionNext { id, reply } => match session.extension_next(&id, reply, timeline) {
                Ok(()) => self.proceed().await,
                Err((reply, refused)) => refuse(reply, refused),
            },
            Call::ExtensionFailed { id, error, init, reply } => {
                if !session.has_extension(&id) {
                    refuse(reply, ApiError::unknown_extension(&id));
                } else if init && session.is_initializing() {
                    let _ = reply.send(Ok(()));
                    self.init_error(error);
                } else {
                    let _ = reply.send(Ok(()));
                    session.end_by(settings.exit_grace(FAILURE_GRACE), Ending::Extension(error));
                }
            }
        }
    }

    /// Goes on to whatever has become possible: the end of Init, an event for the runtime, the end of an invocation.
    async fn proceed(&mut self) {
        let Some(session) = self.session.as_mut().filter(|session| !session.is_dying()) else {
            return;
        };
        let initializing = session.is_initializing();
        if initializing {
            if !session.all_waiting() {
                return;
            }
            let took = session.init_done();
            self.write(EventKind::InitDone { took });
            self.limit_cpu();
            self.init_failed = false;
        }
        if self.is_to_be_restored() {
            return Box::pin(self.restore()).await;
        }
        if self.shared.settings.managed {
            return Box::pin(self.serve_polls()).await;
        }
        if !self.is_restored() {
            return;
        }
        match self.work.pop_front() {
            Some(Work::Job(job)) => self.invoke(*job),
            Some(Work::WarmUp(reply)) => {
                return Box::pin(self.rest(1, || drop(reply.send(Ok(()))))).await;
            }
            None if initializing => return Box::pin(self.rest(0, || ())).await,
            None => {}
        }
        let Some(session) = &mut self.session else { return };
        session.send_event(&self.shared.settings, &self.shared.timeline);
        let over = session.finish_invocations(&self.shared.settings);
        if over > 0 {
            Box::pin(self.rest(over, || ())).await;
        }
    }

    fn invoke(&mut self, job: Job) {
        let Some(session) = &mut self.session else { return };
        if session.phase == Phase::Frozen {
            session.thaw(Phase::Up, &job.request_id, &self.shared.timeline);
        }
        session.begin_invocation(job, &self.shared.settings);
        self.set_state(EnvironmentState::Busy);
    }

    /// Freezes the process.
    async fn rest(&mut self, done: usize, tell: impl FnOnce() + Send) {
        self.freeze().await;
        self.release(done, tell).await;
    }

    async fn freeze(&mut self) {
        if let Some(session) = self.session.as_mut().filter(|session| session.phase != Phase::Frozen) {
            session.process.stop().await;
            session.phase = Phase::Frozen;
            let request_id = session.last_request.take();
            self.shared.timeline.write(session.number, request_id.as_deref(), EventKind::Frozen);
        }
    }

    /// Takes the events that wait longest after `done` units of work, if there are any. Callers that waited for this environment are notified once
    /// its state has changed, and before other work starts.
    async fn release(&mut self, done: usize, tell: impl FnOnce() + Send) {
        self.done += done;
        // An environment that shuts down is released when its process is gone.
        let next = if self.shut_down_if_idle() { Vec::new() } else { self.settle() };
        tell();
        for job in next {
            Box::pin(self.begin(Work::Job(Box::new(job)))).await;
        }
    }

    fn settle(&mut self) -> Vec<Job> {
        let pid = self.session.as_ref().map(|session| session.process.pid());
        let state = match &self.session {
            None => EnvironmentState::Dead,
            Some(session) if session.is_starting() => EnvironmentState::Initializing,
            Some(_) => EnvironmentState::Idle,
        };
        let done = std::mem::take(&mut self.done);
        self.shared.settle(self.index, done, Status { number: self.number, pid, state })
    }
}

fn refuse<T>(reply: Reply<T>, refused: ApiError) {
    let _ = reply.send(Err(refused));
}
