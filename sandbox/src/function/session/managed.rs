//! Which of several invocations at once is over.

use super::{Over, Phase, Session};
use crate::function::{invocation::Invocation, settings::Settings};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long after its first poll a runtime may have fewer open than configured. Until then a poll after a response might be
/// another worker's first.
const FIRST_POLLS: Duration = Duration::from_millis(100);

impl Session {
    /// True when a poll is open that an event can be handed to.
    pub(crate) fn has_poll(&mut self) -> bool {
        while self.polls.front().is_some_and(oneshot::Sender::is_closed) {
            self.polls.pop_front();
        }
        !self.polls.is_empty()
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.invocations.is_empty()
    }

    /// True if no caller waits for anything of this process: the process does not wait for overdue responses.
    pub(crate) fn may_be_shut_down(&self) -> bool {
        if self.managed {
            self.phase == Phase::Up && self.invocations.values().all(|invocation| invocation.overdue)
        } else {
            self.phase == Phase::Frozen
        }
    }

    /// True if events may be sent: as many polls are open as configured, or the runtime has had the time to open them.
    pub(crate) fn is_ready(&mut self, settings: &Settings) -> bool {
        let since = *self.first_polls.get_or_insert_with(|| Instant::now() + FIRST_POLLS.max(settings.kill_delay));
        self.ready |= self.polls.len() >= settings.concurrency || since <= Instant::now();
        self.ready
    }

    /// The runtime's post for an invocation has ended, or was refused.
    pub(super) fn response_ended(&mut self, id: &str) {
        let written = self.invocations.get(id).is_some_and(Invocation::is_written);
        if self.managed && written && !self.responded.iter().any(|responded| responded == id) {
            self.responded.push_back(id.to_owned());
        }
    }

    /// A worker of the runtime requests its next event. The request does not say which invocation it has finished. If several have a
    /// response, the oldest is crossed out.
    pub(super) fn next_over(&mut self, settings: &Settings) -> Option<Over> {
        let told = self.responded.len() == 1;
        let id = self.responded.pop_front()?;
        if let Some(mut invocation) = self.invocations.remove(&id) {
            // Responds to the caller of a stream that broke off.
            let _ = invocation.next_called(settings);
        }
        Some(Over { request_id: told.then_some(id) })
    }
}
