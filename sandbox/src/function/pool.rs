//! Which environment runs which event.

use super::{
    builder::Settings,
    environment::{Environment, Message},
    guardian::Guardian,
    invocation::Job,
    journal::Journal,
    logs::{LINES_KEPT, LogLine},
    process::Exit,
    timeline::Timeline,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::AbortHandle,
};

/// What an execution environment is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvironmentState {
    /// No process has been started yet.
    Cold,
    /// The process is in its Init phase.
    Initialising,
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

/// What is asked of an environment that is free.
pub(crate) enum Work {
    Job(Box<Job>),
    WarmUp(oneshot::Sender<Result<(), WarmUpError>>),
}

/// Why an environment could not be initialised ahead of its first invocation, which will repeat the Init phase.
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

pub(crate) struct Pool {
    pub(crate) settings: Settings,
    pub(crate) timeline: Timeline,
    pub(crate) logs: Arc<Journal<LogLine>>,
    pub(crate) guardian: Arc<Guardian>,
    pub(crate) statuses: watch::Sender<BTreeMap<usize, Status>>,
    processes: AtomicU32,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    slots: Vec<Slot>,
    queue: VecDeque<Job>,
}

/// A place for an environment: its processes follow one another.
struct Slot {
    mailbox: mpsc::UnboundedSender<Message>,
    task: AbortHandle,
    /// How many pieces of work it was given and is not done with.
    load: usize,
}

impl Pool {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            timeline: Timeline::new(),
            logs: Journal::new(LINES_KEPT),
            guardian: Arc::new(Guardian::new()),
            statuses: watch::Sender::new(BTreeMap::new()),
            processes: AtomicU32::new(0),
            runtime: Handle::current(),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.processes.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Gives the event to an environment that is free, or to a new one, or lets it wait for the first that becomes free.
    pub(crate) fn submit(self: &Arc<Self>, job: Job) {
        let mut state = self.state();
        let loads = state.slots.iter().enumerate().filter(|(_, slot)| slot.load < self.settings.concurrency);
        let free = loads.min_by_key(|(_, slot)| slot.load).map(|(index, _)| index);
        let free = free.or_else(|| self.add_slot(&mut state));
        match free {
            Some(index) => self.give(index, &mut state.slots[index], Work::Job(Box::new(job))),
            None => state.queue.push_back(job),
        }
    }

    fn add_slot(self: &Arc<Self>, state: &mut State) -> Option<usize> {
        let index = state.slots.len();
        if index == self.settings.max_environments {
            return None;
        }
        let (mailbox, messages) = mpsc::unbounded_channel();
        let environment = Environment::new(index, Arc::clone(self), mailbox.clone());
        let task = self.runtime.spawn(environment.run(messages)).abort_handle();
        state.slots.push(Slot { mailbox, task, load: 0 });
        Some(index)
    }

    /// Has every environment that is free go through its Init phase, and as many new ones as there may be. Those of Managed
    /// Instances, which do so by themselves, say when they are through.
    pub(crate) fn warm_up(self: &Arc<Self>) -> Vec<oneshot::Receiver<Result<(), WarmUpError>>> {
        let mut state = self.state();
        while self.add_slot(&mut state).is_some() {}
        let free = state.slots.iter_mut().enumerate().filter(|(_, slot)| slot.load == 0 || self.settings.managed);
        free.map(|(index, slot)| {
            let (reply, done) = oneshot::channel();
            self.give(index, slot, Work::WarmUp(reply));
            done
        })
        .collect()
    }

    pub(crate) fn shutdown(&self) -> Vec<oneshot::Receiver<Option<Ended>>> {
        let state = self.state();
        let ask = |slot: &Slot| {
            let (reply, ended) = oneshot::channel();
            let _ = slot.mailbox.send(Message::Shutdown(reply));
            ended
        };
        state.slots.iter().map(ask).collect()
    }

    pub(crate) fn expire(&self) {
        for slot in &self.state().slots {
            let _ = slot.mailbox.send(Message::Expire);
        }
    }

    /// An environment is done with so much work: it gets the events that wait longest, or its state at rest.
    ///
    /// It keeps its state when other work is already on its way to it.
    pub(crate) fn settle(&self, index: usize, done: usize, rest: Status) -> Vec<Job> {
        let mut state = self.state();
        let State { slots, queue } = &mut *state;
        let Some(slot) = slots.get_mut(index) else {
            return Vec::new();
        };
        slot.load = slot.load.saturating_sub(done);
        let free = self.settings.concurrency.saturating_sub(slot.load).min(done);
        let next: Vec<_> = queue.drain(..free.min(queue.len())).collect();
        slot.load += next.len();
        if slot.load == 0 {
            self.statuses.send_modify(|statuses| {
                statuses.insert(index, rest);
            });
        }
        next
    }

    /// From here on the environment is not at rest, though its task learns of it only later.
    fn give(&self, index: usize, slot: &mut Slot, work: Work) {
        slot.load += 1;
        self.statuses.send_modify(|statuses| {
            let cold = Status { number: 0, pid: None, state: EnvironmentState::Cold };
            let status = statuses.entry(index).or_insert(cold);
            status.state = match (status.pid, status.state) {
                (None, _) | (_, EnvironmentState::Initialising) => EnvironmentState::Initialising,
                (Some(_), _) => EnvironmentState::Busy,
            };
        });
        // An environment's task ends only when the function is dropped; then the reply channel in `work` tells the caller.
        let _ = slot.mailbox.send(Message::Work(work));
    }

    /// Kills every process and ends every task.
    pub(crate) fn abandon(&self) {
        self.guardian.kill_all();
        let mut state = self.state();
        for slot in state.slots.drain(..) {
            slot.task.abort();
        }
        state.queue.clear();
    }
}
