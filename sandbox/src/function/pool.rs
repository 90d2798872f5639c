//! Which environment runs which event.

use super::{
    environment::Environment,
    job::Job,
    message::{Ended, Message, WarmUpError, WarmUpReply, Work},
    settings::Settings,
    shared::{Shared, Slot, State},
};
use crate::Failure;
use nix::sys::signal::Signal;
use std::sync::Arc;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

/// The environments of a function.
pub(crate) struct Pool {
    pub(crate) shared: Arc<Shared>,
    runtime: Handle,
}

impl Pool {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { shared: Shared::new(settings), runtime: Handle::current() }
    }

    /// Gives the event to an environment that is free, or to a new one. Where all are busy, Managed Instances reject it, and on-demand
    /// functions let it wait for the first that becomes free.
    pub(crate) fn submit(&self, mut job: Job) {
        let mut state = self.shared.state();
        // A warm-up is not a reason to reject an event.
        let load = |slot: &Slot| if self.shared.settings.rejects() { slot.jobs() } else { slot.load };
        let loads = state.slots.iter().enumerate().filter(|(_, slot)| load(slot) < self.shared.settings.concurrency);
        let free = loads.min_by_key(|(_, slot)| slot.load).map(|(index, _)| index);
        let free = free.or_else(|| self.add_slot(&mut state));
        match free {
            Some(index) => self.shared.give(index, &mut state.slots[index], Work::Job(Box::new(job))),
            None if self.shared.settings.rejects() => {
                drop(state);
                job.respond(Err(Failure::Throttled), false);
            }
            None => state.queue.push_back(job),
        }
    }

    fn add_slot(&self, state: &mut State) -> Option<usize> {
        let index = state.slots.len();
        if index == self.shared.settings.max_environments {
            return None;
        }
        let (mailbox, messages) = mpsc::unbounded_channel();
        let environment = Environment::new(index, Arc::clone(&self.shared), mailbox.clone());
        let task = self.runtime.spawn(environment.run(messages)).abort_handle();
        state.slots.push(Slot { mailbox, task, load: 0, warm_ups: Arc::new(()) });
        Some(index)
    }

    /// Has every environment that is free go through its Init phase, and as many new ones as there may be. Those of Managed
    /// Instances, which do so by themselves, say when they are through.
    pub(crate) fn warm_up(&self) -> Vec<oneshot::Receiver<Result<(), WarmUpError>>> {
        let mut state = self.shared.state();
        while self.add_slot(&mut state).is_some() {}
        let free = state.slots.iter_mut().enumerate().filter(|(_, slot)| slot.load == 0 || self.shared.settings.managed);
        free.map(|(index, slot)| {
            let (reply, done) = oneshot::channel();
            let reply = WarmUpReply { sender: reply, _counted: Arc::clone(&slot.warm_ups) };
            self.shared.give(index, slot, Work::WarmUp(reply));
            done
        })
        .collect()
    }

    pub(crate) fn shutdown(&self) -> Vec<oneshot::Receiver<Option<Ended>>> {
        let state = self.shared.state();
        let ask = |slot: &Slot| {
            let (reply, ended) = oneshot::channel();
            let _ = slot.mailbox.send(Message::Shutdown(reply));
            ended
        };
        state.slots.iter().map(ask).collect()
    }

    pub(crate) fn signal(&self, environment: u32, signal: Signal) {
        for slot in &self.shared.state().slots {
            let _ = slot.mailbox.send(Message::Signal { environment, signal });
        }
    }

    pub(crate) fn expire(&self) {
        for slot in &self.shared.state().slots {
            let _ = slot.mailbox.send(Message::Expire);
        }
    }
}

impl Drop for Pool {
    /// Kills every process and ends every task.
    fn drop(&mut self) {
        self.shared.reaper.kill_all();
        let mut state = self.shared.state();
        for slot in state.slots.drain(..) {
            slot.task.abort();
        }
        state.queue.clear();
    }
}
