//! Managed Instances: several invocations in one process at a time, which is never frozen.

use super::Environment;
use crate::function::message::{EnvironmentState, Work};
use std::collections::VecDeque;

impl Environment {
    /// Hands out as many events as there are open polls.
    ///
    /// While a shutdown is waited for, events wait, too: the process would never be free.
    pub(super) async fn serve_polls(&mut self) {
        let Some(session) = &mut self.session else { return };
        if !session.is_ready(&self.shared.settings) {
            return;
        }
        let (ready, jobs): (VecDeque<_>, _) = self.work.drain(..).partition(|work| matches!(work, Work::WarmUp(_)));
        self.work = jobs;
        while self.shutdown.is_empty() && session.has_poll() {
            let Some(Work::Job(job)) = self.work.pop_front() else { break };
            session.begin_invocation(*job, &self.shared.settings);
            session.send_event(&self.shared.settings, &self.shared.timeline);
        }
        if session.is_busy() {
            self.set_state(EnvironmentState::Busy);
        }
        let told = ready.len();
        let tell = move || {
            for work in ready {
                if let Work::WarmUp(reply) = work {
                    let _ = reply.send(Ok(()));
                }
            }
        };
        self.release(told, tell).await;
    }
}
