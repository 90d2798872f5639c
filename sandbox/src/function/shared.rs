//! Shared by the environments of a function: its settings and records, and which of them is busy.

use super::{
    calls::Calls,
    job::Job,
    logs::{LINES_KEPT, LogLine},
    message::{EnvironmentState, Message, Status, Work},
    reaper::Reaper,
    settings::Settings,
    timeline::Timeline,
};
use crate::history::History;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::AbortHandle,
};

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) timeline: Timeline,
    pub(crate) logs: Arc<History<LogLine>>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) reaper: Arc<Reaper>,
    pub(crate) statuses: watch::Sender<BTreeMap<usize, Status>>,
    /// Tells one of those that were rejected that there may be room.
    pub(crate) room: Notify,
    processes: AtomicU32,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) slots: Vec<Slot>,
    pub(crate) queue: VecDeque<Job>,
}

/// A place for an environment: its processes follow one another.
pub(crate) struct Slot {
    pub(crate) mailbox: mpsc::UnboundedSender<Message>,
    pub(crate) task: AbortHandle,
    /// How many pieces of work it was given and is not done with.
    pub(crate) load: usize,
    /// Each warm-up of the load holds a copy.
    pub(crate) warm_ups: Arc<()>,
}

impl Slot {
    /// How many events it has.
    pub(crate) fn jobs(&self) -> usize {
        self.load.saturating_sub(Arc::strong_count(&self.warm_ups) - 1)
    }
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            timeline: Timeline::new(),
            logs: History::new(LINES_KEPT),
            calls: Arc::default(),
            reaper: Arc::new(Reaper::new()),
            statuses: watch::Sender::new(BTreeMap::new()),
            room: Notify::new(),
            processes: AtomicU32::new(0),
            state: Mutex::default(),
        })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn next_number(&self) -> u32 {
        self.processes.fetch_add(1, Ordering::Relaxed) + 1
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
        if slot.load < self.settings.concurrency {
            self.room.notify_one();
        }
        if slot.load == 0 {
            self.statuses.send_modify(|statuses| {
                statuses.insert(index, rest);
            });
        }
        next
    }

    /// Waits until an environment may have a free worker.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            let freed = self.room.notified();
            if self.state().slots.iter().any(|slot| slot.jobs() < self.settings.concurrency) {
                return;
            }
            freed.await;
        }
    }

    /// From here on the environment is not at rest, though its task learns of it only later.
    pub(crate) fn give(&self, index: usize, slot: &mut Slot, work: Work) {
        slot.load += 1;
        self.statuses.send_modify(|statuses| {
            let cold = Status { number: 0, pid: None, state: EnvironmentState::Cold };
            let status = statuses.entry(index).or_insert(cold);
            status.state = match (status.pid, status.state) {
                (None, _) | (_, EnvironmentState::Initializing) => EnvironmentState::Initializing,
                (Some(_), _) => EnvironmentState::Busy,
            };
        });
        // An environment's task ends only when the function is dropped; then the reply channel in `work` notifies the caller.
        let _ = slot.mailbox.send(Message::Work(work));
    }
}
