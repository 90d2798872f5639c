//! How a process ends, and what its callers are told.

use super::{Environment, FAILURE_GRACE};
use crate::{
    Failure,
    function::{
        api::FunctionError,
        builder::Settings,
        invocation::timed_out,
        live::{Ending, Phase},
        pool::{Ended, WarmUpError, Work},
        process::Exit,
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
        if let Some(live) = &mut self.live {
            live.end_by(FAILURE_GRACE, Ending::InitError(error));
        }
    }

    /// True when the process is now being shut down.
    pub(super) fn shut_down_if_idle(&mut self) -> bool {
        if self.shutdown.is_empty() {
            return false;
        }
        match &self.live {
            None => {
                for reply in self.shutdown.drain(..) {
                    let _ = reply.send(None);
                }
                false
            }
            Some(live) if live.phase == Phase::Frozen && self.work.is_none() => {
                self.shut_down();
                true
            }
            Some(_) => false,
        }
    }

    fn shut_down(&mut self) {
        let Some(live) = &mut self.live else { return };
        let sigterm = live.has_extensions();
        live.process.signal(Signal::SIGCONT);
        if sigterm {
            live.end_by(SHUTDOWN_GRACE, Ending::Shutdown { since: Instant::now(), sigterm });
            self.write(EventKind::Thawed);
            self.terminate();
        } else {
            live.end_by(Duration::ZERO, Ending::Shutdown { since: Instant::now(), sigterm });
            self.kill();
        }
    }

    fn terminate(&self) {
        if let Some(live) = &self.live {
            self.write(EventKind::Sigterm);
            live.process.signal(Signal::SIGTERM);
        }
    }

    fn kill(&mut self) {
        self.write(EventKind::Killed);
        if let Some(live) = &mut self.live {
            live.phase = Phase::Killed;
            live.process.signal(Signal::SIGKILL);
        }
    }

    /// The time is over for Init, for an invocation, or for a process that is to end.
    pub(super) fn due(&mut self) {
        let Some(live) = &mut self.live else { return };
        match live.phase {
            Phase::Init { .. } => {
                let suppressed = live.suppressed;
                live.ending = Some(Ending::InitTimedOut);
                self.write(if suppressed { EventKind::TimedOut } else { EventKind::InitTimedOut });
                self.kill();
            }
            Phase::Dying { .. } => self.kill(),
            Phase::Up => {
                live.time_out(&self.pool.settings, &self.pool.timeline);
                if live.has_extensions() {
                    live.end_by(TIMEOUT_GRACE, Ending::TimedOut);
                    self.terminate();
                } else {
                    live.ending = Some(Ending::TimedOut);
                    self.kill();
                }
            }
            Phase::Frozen | Phase::Killed => {}
        }
    }

    /// The process is gone.
    pub(super) async fn ended(&mut self) {
        let Some(mut live) = self.live.take() else {
            return;
        };
        let (number, pid) = (live.number, live.process.pid());
        let request_id = live.request_id().map(str::to_owned);
        let initialising = live.init_took.is_none();
        let (ending, suppressed) = (live.ending.take(), live.suppressed);
        let (process, mut invocations) = live.into_parts();
        let exit = process.wait().await;
        self.pool.timeline.write(number, request_id.as_deref(), EventKind::Exited { exit });

        let settings = &self.pool.settings;
        let tell: Tell = if let Some(Ending::Shutdown { since, sigterm }) = ending {
            let ended = Ended { environment: number, pid, sigterm, exit, took: since.elapsed() };
            let waiting = std::mem::take(&mut self.shutdown);
            Box::new(move || waiting.into_iter().for_each(|reply| drop(reply.send(Some(ended.clone())))))
        } else if initialising {
            let failure = self.init_failure(number, ending, exit);
            self.init_failed = !suppressed;
            if !suppressed && matches!(self.work, Some(Work::Job(_))) {
                return Box::pin(self.start()).await;
            }
            give_up(self.work.take(), failure, settings)
        } else {
            let failure = match ending {
                Some(Ending::Extension(error)) => function_failure(error),
                _ => Failure::Exited(exit.to_string()),
            };
            for invocation in invocations.values_mut() {
                invocation.fail(failure.clone());
                invocation.end(settings);
            }
            Box::new(move || drop(invocations))
        };
        if self.work.is_some() {
            // It came while the process was on its way out.
            tell();
            return Box::pin(self.start()).await;
        }
        self.release(tell).await;
    }

    fn init_failure(&self, number: u32, ending: Option<Ending>, exit: Exit) -> Failure {
        match ending {
            Some(Ending::InitError(error) | Ending::Extension(error)) => function_failure(error),
            Some(Ending::InitTimedOut) => timed_out(&self.pool.settings),
            _ => {
                let error_type = "Runtime.ExitError".to_owned();
                let error_message = format!("Runtime exited before it asked for an event: {exit}");
                self.pool.timeline.write(number, None, EventKind::InitError { error_type, error_message });
                Failure::Exited(exit.to_string())
            }
        }
    }
}

/// Tells those who wait.
pub(super) type Tell = Box<dyn FnOnce() + Send>;

/// Answers whoever waits for a process that will not come up.
pub(super) fn give_up(work: Option<Work>, failure: Failure, settings: &Settings) -> Tell {
    let limit = settings.init_limit;
    Box::new(move || match work {
        Some(Work::Job(mut job)) => job.answer(Err(failure), false),
        Some(Work::WarmUp(reply)) => {
            let error = match failure {
                Failure::Function { error_type, error_message } => WarmUpError::Failed { error_type, error_message },
                Failure::TimedOut { .. } => WarmUpError::TimedOut(limit),
                other => WarmUpError::Failed { error_type: "Runtime.ExitError".into(), error_message: other.to_string() },
            };
            let _ = reply.send(Err(error));
        }
        None => {}
    })
}

pub(super) fn function_failure(error: FunctionError) -> Failure {
    Failure::Function { error_type: error.error_type, error_message: error.error_message }
}
