//! SnapStart: the process is frozen where Lambda would take its snapshot, and continues where Lambda would restore it.
//!
//! See "Lambda SnapStart runtime hooks" in AWS' developer guide.

use super::{Environment, refuse};
use crate::function::{
    api::{
        call::Reply,
        error::{ApiError, FunctionError},
    },
    message::{EnvironmentState, Work},
    session::{Ending, Phase},
    timeline::EventKind,
};
use std::time::Instant;

const SNAP_START: &str = "snap-start";

impl Environment {
    /// Counts as the runtime's `next` for the end of the Init phase.
    pub(super) async fn restore_next(&mut self, reply: Reply<()>) {
        let Some(session) = &mut self.session else { return };
        if !self.shared.settings.is_initialized_as(SNAP_START) {
            return refuse(reply, ApiError::not_found());
        }
        if !session.is_initializing() || session.is_dying() {
            return refuse(reply, ApiError::invalid_state("Ready", "RestoreReady"));
        }
        session.restore_called(reply);
        self.write(EventKind::RestoreNextCalled);
        self.proceed().await;
    }

    pub(super) fn restore_error(&mut self, error: FunctionError, reply: Reply<()>) {
        let Some(session) = &mut self.session else { return };
        if !session.restoring {
            return refuse(reply, ApiError::invalid_state("Ready", "RestoreError"));
        }
        let _ = reply.send(Ok(()));
        let (error_type, error_message) = (error.error_type.clone(), error.error_message.clone());
        self.write(EventKind::RestoreError { error_type, error_message });
        self.fail_soon(Ending::InitError(error));
    }

    /// True when the process waits for its restore: it is frozen, or to be.
    pub(super) fn is_to_be_restored(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.restore.is_some())
    }

    /// Freezes the process, and lets it go on when an event waits.
    pub(super) async fn restore(&mut self) {
        self.freeze().await;
        match self.work.front() {
            Some(Work::Job(job)) => {
                let Some(session) = &mut self.session else { return };
                let deadline = Instant::now() + self.shared.settings.restore_limit + self.shared.settings.kill_delay;
                session.thaw(Phase::Restore { deadline }, &job.request_id, &self.shared.timeline);
                self.shared.timeline.write(session.number, Some(&job.request_id), EventKind::Restored);
                session.restored();
                self.set_state(EnvironmentState::Initializing);
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
        let Some(session) = self.session.as_mut().filter(|session| session.restoring) else {
            return true;
        };
        if session.all_waiting() {
            session.restore_done();
        }
        !session.restoring
    }
}
