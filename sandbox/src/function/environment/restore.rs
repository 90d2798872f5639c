//! SnapStart: the process is frozen where its snapshot would be taken, and goes on where it would be restored.
//!
//! See "Lambda SnapStart runtime hooks" in AWS' developer guide.

use super::{Environment, refuse};
use crate::function::{
    api::{ApiError, FunctionError, Reply},
    builder::Settings,
    live::{Ending, Phase},
    pool::{EnvironmentState, Work},
    timeline::EventKind,
};
use std::time::Instant;

const SNAP_START: &str = "snap-start";

impl Environment {
    /// Counts as the runtime's `next` for the end of the Init phase.
    pub(super) async fn restore_next(&mut self, reply: Reply<()>) {
        let Some(live) = &mut self.live else { return };
        if !self.pool.settings.is_initialized_as(SNAP_START) {
            return refuse(reply, ApiError::not_found());
        }
        if !live.is_initialising() || live.is_dying() {
            return refuse(reply, ApiError::invalid_state("Ready", "RestoreReady"));
        }
        live.restore_called(reply);
        self.write(EventKind::RestoreNextCalled);
        self.proceed().await;
    }

    pub(super) fn restore_error(&mut self, error: FunctionError, reply: Reply<()>) {
        let Some(live) = &mut self.live else { return };
        if !live.restoring {
            return refuse(reply, ApiError::invalid_state("Ready", "RestoreError"));
        }
        let _ = reply.send(Ok(()));
        let (error_type, error_message) = (error.error_type.clone(), error.error_message.clone());
        self.write(EventKind::RestoreError { error_type, error_message });
        self.fail_soon(Ending::InitError(error));
    }

    /// True when the process waits for its restore: it is frozen, or to be.
    pub(super) fn is_to_be_restored(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.restore.is_some())
    }

    /// Freezes the process, and lets it go on when an event waits.
    pub(super) async fn restore(&mut self) {
        self.freeze().await;
        match self.work.front() {
            Some(Work::Job(job)) => {
                let Some(live) = &mut self.live else { return };
                let deadline = Instant::now() + self.pool.settings.restore_limit + self.pool.settings.kill_delay;
                live.thaw(Phase::Restore { deadline }, &job.request_id, &self.pool.timeline);
                self.pool.timeline.write(live.number, Some(&job.request_id), EventKind::Restored);
                live.restored();
                self.set_state(EnvironmentState::Initialising);
            }
            Some(Work::WarmUp(_)) => {
                let Some(Work::WarmUp(reply)) = self.work.pop_front() else { return };
                self.release(1, move || drop(reply.send(Ok(())))).await;
            }
            None => self.release(0, || ()).await,
        }
    }

    /// False while the hooks run; at their end the process is up.
    pub(super) fn is_restored(&mut self) -> bool {
        let Some(live) = self.live.as_mut().filter(|live| live.restoring) else {
            return true;
        };
        if live.all_waiting() {
            live.restore_done();
        }
        !live.restoring
    }
}

/// What is told when the hooks took too long.
pub(super) fn restore_timed_out(settings: &Settings) -> FunctionError {
    let message = format!("the work after the restore took longer than {:?}", settings.restore_limit);
    FunctionError::new("SnapStartTimeoutException", message)
}
