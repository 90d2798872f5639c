//! An environment's knowledge of its process, and everything that ends with the process.

mod managed;

use super::{
    api::{
        Server,
        call::{ExtensionEvent, NextEvent, Post, PostKind, Registered, Reply},
        error::{ApiError, FunctionError},
    },
    invocation::Invocation,
    job::Job,
    platform_log::PlatformLog,
    process::Process,
    settings::{ACCOUNT, Settings},
    timeline::{EventKind, Timeline},
    trace_segments::ColdStart,
};
use crate::{StreamPart, ids::new_request_id};
use nix::sys::signal::Signal;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::mpsc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Init {
        deadline: Instant,
    },
    /// After SnapStart's restore, up to the first `/next`.
    Restore {
        deadline: Instant,
    },
    /// Running an event, or about to.
    Up,
    Frozen,
    /// It may still end by itself.
    Dying {
        kill_at: Instant,
    },
    /// SIGKILL was sent.
    Killed,
}

/// Why a process ends, where the environment knows better than the exit status.
#[derive(Debug)]
pub(crate) enum Ending {
    InitError(FunctionError),
    InitTimedOut,
    RestoreTimedOut,
    TimedOut,
    Extension(FunctionError),
    Shutdown { since: Instant, sigterm: bool },
}

/// An invocation that is over.
pub(crate) struct Over {
    /// Receives the id of the process.
    pub(crate) request_id: Option<String>,
}

type Invocations = HashMap<String, Invocation>;

struct Extension {
    id: String,
    name: String,
    invoke: bool,
    poll: Option<Reply<ExtensionEvent>>,
    /// Has called its `next` since the last event.
    waiting: bool,
}

pub(crate) struct Session {
    pub(crate) number: u32,
    pub(crate) process: Process,
    pub(crate) phase: Phase,
    pub(crate) ending: Option<Ending>,
    /// Init is being repeated inside an invocation.
    pub(crate) suppressed: bool,
    pub(crate) init_took: Option<Duration>,
    /// The runtime's open calls of `/next`.
    pub(crate) polls: VecDeque<Reply<NextEvent>>,
    /// The runtime's open call of `/restore/next`.
    pub(crate) restore: Option<Reply<()>>,
    /// The snapshot was restored, and the runtime has not polled since.
    pub(crate) restoring: bool,
    restored_at: SystemTime,
    /// The invocation that was over last, until the freeze after it is on record.
    pub(crate) last_request: Option<String>,
    /// By request id: with Managed Instances there are several at once.
    invocations: Invocations,
    managed: bool,
    /// It has had an event.
    pub(crate) served: bool,
    /// Until when its first polls may come, and whether they have come.
    first_polls: Option<Instant>,
    pub(crate) ready: bool,
    /// With Managed Instances: the invocations that the runtime has responded to without a new poll, in the order of their responses.
    responded: VecDeque<String>,
    extensions: Vec<Extension>,
    /// The runtime has called `/next` since the last event.
    runtime_waiting: bool,
    /// Extensions may register until the runtime has called `/next`.
    registration_open: bool,
    spawned: (SystemTime, Instant),
    /// The start of the process as the first invocation's trace shows it.
    cold_start: Option<ColdStart>,
    log: PlatformLog,
    _server: Server,
}

/// How a process is started.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    pub(crate) deadline: Instant,
    pub(crate) suppressed: bool,
    pub(crate) managed: bool,
}

impl Session {
    pub(crate) fn new(log: PlatformLog, server: Server, process: Process, init: Start) -> Self {
        let Start { deadline, suppressed, managed } = init;
        Self {
            number: log.environment,
            process,
            phase: Phase::Init { deadline },
            ending: None,
            suppressed,
            init_took: None,
            polls: VecDeque::new(),
            restore: None,
            restoring: false,
            restored_at: SystemTime::now(),
            last_request: None,
            invocations: Invocations::new(),
            managed,
            served: false,
            first_polls: None,
            ready: !managed,
            responded: VecDeque::new(),
            extensions: Vec::new(),
            runtime_waiting: false,
            registration_open: true,
            spawned: (SystemTime::now(), Instant::now()),
            cold_start: None,
            log,
            _server: server,
        }
    }

    pub(crate) fn into_parts(self) -> (Process, Invocations) {
        (self.process, self.invocations)
    }

    /// The data for a report of a failed Init phase.
    pub(crate) fn init_log(&self) -> (PlatformLog, Duration) {
        (self.log.clone(), self.spawned.1.elapsed())
    }

    pub(crate) fn is_starting(&self) -> bool {
        self.is_initializing() || self.restoring || !self.ready
    }

    pub(crate) fn is_initializing(&self) -> bool {
        matches!(self.phase, Phase::Init { .. })
    }

    pub(crate) fn is_dying(&self) -> bool {
        matches!(self.phase, Phase::Dying { .. } | Phase::Killed)
    }

    pub(crate) fn has_extensions(&self) -> bool {
        !self.extensions.is_empty()
    }

    pub(crate) fn has_extension(&self, id: &str) -> bool {
        self.extensions.iter().any(|extension| extension.id == id)
    }

    /// The invocation that a process-wide event belongs to, where there is never more than one.
    pub(crate) fn request_id(&self) -> Option<&str> {
        self.invocations.keys().next().map(String::as_str).filter(|_| !self.managed)
    }

    /// When something has to be done about this process.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Init { deadline } | Phase::Restore { deadline } => Some(deadline),
            Phase::Dying { kill_at } => Some(kill_at),
            Phase::Up if !self.ready => self.first_polls,
            Phase::Up => {
                let pending = self.invocations.values().filter(|invocation| !invocation.overdue);
                pending.map(|invocation| invocation.clock.deadline).min()
            }
            Phase::Frozen | Phase::Killed => None,
        }
    }

    /// The process is to end; when it has not by then, it is killed.
    pub(crate) fn end_by(&mut self, grace: Duration, ending: Ending) {
        if !self.is_dying() {
            self.ending = Some(ending);
            self.phase = Phase::Dying { kill_at: Instant::now() + grace };
        }
    }

    pub(crate) fn all_waiting(&self) -> bool {
        self.runtime_waiting && self.extensions.iter().all(|extension| extension.waiting)
    }

    pub(crate) fn init_done(&mut self) -> Duration {
        let took = self.spawned.1.elapsed();
        self.init_took = Some(took);
        let (from, to) = (self.spawned.0, self.spawned.0 + took);
        self.cold_start = Some(ColdStart { phase: "Initialization", from, to });
        self.phase = Phase::Up;
        took
    }

    pub(crate) fn thaw(&mut self, phase: Phase, request_id: &str, timeline: &Timeline) {
        self.process.signal(Signal::SIGCONT);
        self.phase = phase;
        timeline.write(self.number, Some(request_id), EventKind::Thawed);
    }

    /// The runtime waits, for an event or for its restore.
    pub(crate) fn restore_called(&mut self, reply: Reply<()>) {
        self.restore = Some(reply);
        self.runtime_waiting = true;
        self.registration_open = false;
    }

    /// The runtime continues with its hooks, and then with its first `/next`.
    pub(crate) fn restored(&mut self) {
        if let Some(reply) = self.restore.take() {
            self.runtime_waiting = false;
            self.restoring = true;
            self.restored_at = SystemTime::now();
            let _ = reply.send(Ok(()));
        }
    }

    /// The hooks have run.
    pub(crate) fn restore_done(&mut self) {
        self.restoring = false;
        self.phase = Phase::Up;
        self.cold_start = Some(ColdStart { phase: "Restore", from: self.restored_at, to: SystemTime::now() });
    }

    pub(crate) fn begin_invocation(&mut self, job: Job, settings: &Settings) {
        self.served = true;
        let request_id = job.request_id.clone();
        let invocation = Invocation::new(settings, job, self.cold_start.take(), self.log.clone());
        self.invocations.insert(request_id, invocation);
    }

    /// Hands an event to the runtime, if there is one and the runtime waits for it.
    pub(crate) fn send_event(&mut self, settings: &Settings, timeline: &Timeline) {
        let Some((id, invocation)) = self.invocations.iter_mut().find(|(_, invocation)| !invocation.sent) else {
            return;
        };
        while let Some(poll) = self.polls.pop_front() {
            if poll.is_closed() {
                continue;
            }
            invocation.start(settings);
            self.runtime_waiting = false;
            timeline.write(self.number, Some(id), EventKind::EventOut { deadline: invocation.clock.wall });
            for extension in self.extensions.iter_mut().filter(|extension| extension.invoke) {
                extension.waiting = false;
                if let Some(poll) = extension.poll.take() {
                    let body = invocation.extension_event(settings);
                    let _ = poll.send(Ok(ExtensionEvent { id: new_request_id(), body }));
                }
            }
            let _ = poll.send(Ok(invocation.next_event(settings)));
            return;
        }
    }

    /// Says which invocation is over, where this is what ends one.
    pub(crate) fn next_called(&mut self, settings: &Settings) -> Result<Option<Over>, ApiError> {
        if self.is_dying() {
            return Err(ApiError::gone());
        }
        if self.managed {
            self.runtime_waiting = true;
            self.registration_open = false;
            return Ok(self.next_over(settings));
        }
        for invocation in self.invocations.values_mut().filter(|invocation| invocation.sent) {
            invocation.next_called(settings)?;
        }
        self.runtime_waiting = true;
        self.registration_open = false;
        Ok(None)
    }

    pub(crate) fn post_begins(
        &mut self,
        id: &str,
        kind: PostKind,
        timeline: &Timeline,
    ) -> Result<Option<mpsc::Sender<StreamPart>>, ApiError> {
        let invocation = self.invocations.get_mut(id);
        let result = invocation.map_or_else(|| Err(ApiError::invalid_request_id()), |invocation| invocation.post_begins(kind));
        match &result {
            Ok(_) if kind == PostKind::Streamed => {
                timeline.write(self.number, Some(id), EventKind::StreamStarted);
            }
            Ok(_) => {}
            Err(refused) => {
                let (status, error) = (refused.status.as_u16(), kind == PostKind::Error);
                timeline.write(self.number, Some(id), EventKind::ResponseIn { status, bytes: 0, error });
                self.response_ended(id);
            }
        }
        result
    }

    pub(crate) fn post_ends(&mut self, id: &str, post: Post, settings: &Settings, timeline: &Timeline) -> Result<(), ApiError> {
        let number = self.number;
        let invocation = self.invocations.get_mut(id);
        let result =
            invocation.map_or_else(|| Err(ApiError::gone()), |invocation| invocation.post_ends(post, number, settings, timeline));
        self.response_ended(id);
        result
    }

    /// The number of finished invocations: they have a response, and everyone waits for the next.
    pub(crate) fn finish_invocations(&mut self, settings: &Settings) -> usize {
        if self.phase != Phase::Up || !self.all_waiting() {
            return 0;
        }
        let over: Vec<_> = self.invocations.extract_if(|_, invocation| invocation.is_posted()).collect();
        let count = over.len();
        for (id, mut invocation) in over {
            invocation.end(settings);
            self.last_request = Some(id);
        }
        count
    }

    /// Whatever the invocations have left of their time is over.
    pub(crate) fn expire(&mut self) {
        let now = Instant::now();
        for invocation in self.invocations.values_mut() {
            invocation.clock.deadline = invocation.clock.deadline.min(now);
        }
    }

    /// The deadline of one invocation or more has passed.
    pub(crate) fn time_out(&mut self, settings: &Settings, timeline: &Timeline) {
        let now = Instant::now();
        for (id, invocation) in &mut self.invocations {
            if invocation.clock.deadline > now || invocation.overdue {
                continue;
            }
            invocation.overdue = true;
            // Without enforcement a response in time counts, regardless of how long the work after it takes.
            if !(self.managed && invocation.is_posted()) {
                timeline.write(self.number, Some(id), EventKind::TimedOut);
                invocation.time_out(settings);
            }
        }
    }

    pub(crate) fn register(
        &mut self,
        name: String,
        events: Vec<String>,
        settings: &Settings,
        timeline: &Timeline,
    ) -> Result<Registered, ApiError> {
        if !self.registration_open || self.is_dying() {
            let message = "Extension registration closed already";
            return Err(ApiError::extension("Extension.RegistrationClosed", message));
        }
        if self.extensions.iter().any(|extension| extension.name == name) {
            let message = "Extension with this name already registered";
            return Err(ApiError::extension("Extension.AlreadyRegistered", message));
        }
        if self.extensions.len() == 10 {
            return Err(ApiError::extension("Extension.TooManyExtensions", "Extension limit (10) reached"));
        }
        if self.managed
            && let Some(event) = events.first()
        {
            return Err(ApiError::extension("Extension.InvalidEventType", format!("{event}: ErrorInvalidEventType")));
        }
        let id = new_request_id();
        let invoke = events.iter().any(|event| event == "INVOKE");
        self.extensions.push(Extension { id: id.clone(), name: name.clone(), invoke, poll: None, waiting: false });
        timeline.write(self.number, None, EventKind::ExtensionRegistered { name, events });
        let body = serde_json::json!({
            "functionName": settings.name,
            "functionVersion": settings.version,
            "handler": settings.handler(),
            "accountId": ACCOUNT,
        });
        Ok(Registered { id, body })
    }

    pub(crate) fn extension_next(
        &mut self,
        id: &str,
        reply: Reply<ExtensionEvent>,
        timeline: &Timeline,
    ) -> Result<(), (Reply<ExtensionEvent>, ApiError)> {
        let request_id = self.request_id().map(str::to_owned);
        let Some(extension) = self.extensions.iter_mut().find(|extension| extension.id == id) else {
            return Err((reply, ApiError::unknown_extension(id)));
        };
        extension.poll = Some(reply);
        extension.waiting = true;
        let name = extension.name.clone();
        timeline.write(self.number, request_id.as_deref(), EventKind::ExtensionNextCalled { name });
        Ok(())
    }
}
