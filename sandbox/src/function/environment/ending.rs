//! The end of a process, and the results that its callers get.

use super::{
    Environment, FAILURE_GRACE,
    failure::{Tell, function_failure, give_up, restore_timed_out},
};
use crate::{
    Failure,
    function::{
        api::error::FunctionError,
        job::timed_out,
        message::{Ended, Work},
        session::{Ending, Phase},
        timeline::EventKind,
    },
};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// Between SIGTERM and SIGKILL at a shutdown with an internal extension.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// Between SIGTERM and SIGKILL at a timeout with an extension, as the Runtime Interface Emulator has it.
const TIMEOUT_GRACE: Duration = Duration::from_millis(600);

impl Environment {
    pub(super) fn init_error(&mut self, error: FunctionError) {
        let (error_type, error_message) = (error.error_type.clone(), error.error_message.clone());
        self.write(EventKind::InitError { error_type, error_message });
        self.fail_soon(Ending::InitError(error));
    }

    pub(super) fn fail_soon(&mut self, ending: Ending) {
        if let Some(session) = &mut self.session {
            session.end_by(self.shared.settings.exit_grace(FAILURE_GRACE), ending);
        }
    }

    /// True when the process is now being shut down.
    pub(super) fn shut_down_if_idle(&mut self) -> bool {
        if self.shutdown.is_empty() {
            return false;
        }
        match &self.session {
            None => {
                for reply in self.shutdown.drain(..) {
                    let _ = reply.send(None);
                }
                false
            }
            Some(session) if session.may_be_shut_down() && (self.shared.settings.managed || self.work.is_empty()) => {
                self.shut_down();
                true
            }
            Some(_) => false,
        }
    }

    fn shut_down(&mut self) {
        let Some(session) = &mut self.session else { return };
        let (sigterm, frozen) = (session.has_extensions(), session.phase == Phase::Frozen);
        session.process.signal(Signal::SIGCONT);
        if sigterm {
            session.end_by(self.shared.settings.exit_grace(SHUTDOWN_GRACE), Ending::Shutdown { since: Instant::now(), sigterm });
            if frozen {
                self.write(EventKind::Thawed);
            }
            self.terminate();
        } else {
            session.end_by(Duration::ZERO, Ending::Shutdown { since: Instant::now(), sigterm });
            self.kill();
        }
    }

    /// A signal that has nothing to do with the environment's own decisions.
    pub(super) fn signal(&self, environment: u32, signal: Signal) {
        let Some(session) = self.session.as_ref().filter(|session| session.number == environment) else { return };
        match signal {
            Signal::SIGKILL => self.write(EventKind::Killed),
            Signal::SIGTERM => self.write(EventKind::Sigterm),
            _ => {}
        }
        session.process.signal(signal);
    }

    fn terminate(&self) {
        if let Some(session) = &self.session {
            self.write(EventKind::Sigterm);
            session.process.signal(Signal::SIGTERM);
        }
    }

    fn kill(&mut self) {
        self.write(EventKind::Killed);
        if let Some(session) = &mut self.session {
            session.phase = Phase::Killed;
            session.process.signal(Signal::SIGKILL);
        }
    }

    /// The time is over for Init, for an invocation, or for a process that is to end.
    pub(super) async fn due(&mut self) {
        let Some(session) = &mut self.session else { return };
        match session.phase {
            Phase::Init { .. } => {
                let suppressed = session.suppressed;
                session.ending = Some(Ending::InitTimedOut);
                self.write(if suppressed { EventKind::TimedOut } else { EventKind::InitTimedOut });
                self.kill();
            }
            Phase::Restore { .. } => {
                session.ending = Some(Ending::RestoreTimedOut);
                let FunctionError { error_type, error_message } = restore_timed_out(&self.shared.settings);
                self.write(EventKind::RestoreError { error_type, error_message });
                self.kill();
            }
            Phase::Dying { .. } => self.kill(),
            Phase::Up if self.shared.settings.managed => {
                session.time_out(&self.shared.settings, &self.shared.timeline);
                // Also when its first polls were waited for, and when a shutdown waited for what is now overdue.
                self.serve_polls().await;
            }
            Phase::Up => {
                session.time_out(&self.shared.settings, &self.shared.timeline);
                if session.has_extensions() {
                    session.end_by(self.shared.settings.exit_grace(TIMEOUT_GRACE), Ending::TimedOut);
                    self.terminate();
                } else {
                    session.ending = Some(Ending::TimedOut);
                    self.kill();
                }
            }
            Phase::Frozen | Phase::Killed => {}
        }
    }

    /// The process is gone.
    pub(super) async fn ended(&mut self) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        let (number, pid) = (session.number, session.process.pid());
        let request_id = session.request_id().map(str::to_owned);
        let (initializing, restoring) = (session.init_took.is_none() || !session.ready, session.restoring);
        let (ending, suppressed, served) = (session.ending.take(), session.suppressed, session.served);
        let (log, init_took) = session.init_log();
        let out_of_memory = session.process.is_out_of_memory();
        let (process, mut invocations) = session.into_parts();
        let exit = process.wait(self.shared.settings.exit_grace(Duration::ZERO)).await;
        if out_of_memory {
            self.shared.timeline.write(number, request_id.as_deref(), EventKind::OutOfMemory);
        }
        self.shared.timeline.write(number, request_id.as_deref(), EventKind::Exited { exit });
        let exited = if out_of_memory {
            Failure::OutOfMemory { memory_mb: self.shared.settings.memory_mb }
        } else {
            Failure::Exited(exit.to_string())
        };

        let settings = &self.shared.settings;
        let mut done = invocations.len();
        let mut ready_again = false;
        let tell: Tell = if let Some(Ending::Shutdown { since, sigterm }) = ending {
            let ended = Ended { environment: number, pid, sigterm, exit, took: since.elapsed() };
            let waiting = std::mem::take(&mut self.shutdown);
            Box::new(move || waiting.into_iter().for_each(|reply| drop(reply.send(Some(ended.clone())))))
        } else if initializing || restoring {
            let failure = self.init_failure(number, ending, exited);
            if initializing {
                log.init_report(&self.shared.settings, init_took, suppressed, &failure);
            }
            let repeatable = initializing && !suppressed && !self.shared.settings.managed;
            self.init_failed = repeatable;
            if repeatable && matches!(self.work.front(), Some(Work::Job(_))) {
                return Box::pin(self.start()).await;
            }
            let (given_up, tell) = give_up(&mut self.work, failure, &self.shared.settings);
            done += given_up;
            tell
        } else {
            let failure = match ending {
                Some(Ending::Extension(error)) => function_failure(error),
                _ => exited,
            };
            for invocation in invocations.values_mut() {
                invocation.fail(failure.clone(), settings);
                invocation.end(settings);
            }
            // Managed Instances are kept ready, but not at any price: what ended before its first event waits for the next.
            ready_again = settings.managed && served && self.shutdown.is_empty();
            Box::new(move || drop(invocations))
        };
        if self.work.is_empty() && !ready_again {
            return self.release(done, tell).await;
        }
        // Waiting events arrived while the process was ending.
        self.done += done;
        Box::pin(self.start()).await;
        self.release(0, tell).await;
    }

    fn init_failure(&self, number: u32, ending: Option<Ending>, exited: Failure) -> Failure {
        match ending {
            Some(Ending::InitError(error) | Ending::Extension(error)) => function_failure(error),
            Some(Ending::InitTimedOut) => timed_out(self.shared.settings.timeout),
            Some(Ending::RestoreTimedOut) => function_failure(restore_timed_out(&self.shared.settings)),
            _ => {
                let error_type = "Runtime.ExitError".to_owned();
                let error_message = format!("the process ended before it asked for an event: {exited}");
                self.shared.timeline.write(number, None, EventKind::InitError { error_type, error_message });
                exited
            }
        }
    }
}
