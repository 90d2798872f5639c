//! Faults of the Runtime API. The first one is logged at once, and repetitions are logged rarely. The pauses between attempts
//! grow.

use crate::{
    clock,
    notice::{self, Data, Warning},
    runtime_api::Failure,
};
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No connection could be made.
    Unreachable,
    /// A connection was closed or reset, or the data was not HTTP.
    ConnectionBroken,
    /// No data was sent or received for a minute.
    Stalled,
    /// A status that is not a success.
    Refused,
    /// An event without a request id: no response to it is possible.
    MissingRequestId,
    /// An event broke off after its headers.
    EventLost,
    /// A layer ended an invocation, or panicked, without a response.
    NoResponse,
    /// A worker panicked.
    WorkerPanicked,
}

const KINDS: usize = 8;

impl Fault {
    fn warning(self) -> Warning {
        match self {
            Self::Unreachable => Warning::RuntimeApiUnreachable,
            Self::ConnectionBroken => Warning::RuntimeApiConnectionBroken,
            Self::Stalled => Warning::RuntimeApiStalled,
            Self::Refused => Warning::RuntimeApiRefused,
            Self::MissingRequestId => Warning::EventWithoutRequestId,
            Self::EventLost => Warning::EventLost,
            Self::NoResponse => Warning::InvocationWithoutResponse,
            Self::WorkerPanicked => Warning::WorkerPanicked,
        }
    }

    pub(super) fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Unreachable(..) => Self::Unreachable,
            Failure::NotSent(_) | Failure::Broken(_) => Self::ConnectionBroken,
            Failure::Stalled => Self::Stalled,
            Failure::BodyBroken(..) | Failure::BodyStalled(_) => Self::EventLost,
        }
    }
}

/// The shortest time between two log lines about faults of one kind, for all workers together.
const INTERVAL: Duration = Duration::from_secs(10);

/// The faults of one process.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    kinds: [Logged; KINDS],
    headers: Vec<&'static str>,
    /// Requests for events that failed since the last event.
    failed: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Logged {
    at: Option<Instant>,
    unlogged: u32,
}

impl Faults {
    /// Logs a fault, unless one of its kind was logged recently.
    #[cold]
    #[inline(never)]
    pub(super) fn report(&self, fault: Fault, endpoint: &str, error: fmt::Arguments<'_>) {
        let repeated = {
            let mut state = self.state();
            let logged = &mut state.kinds[fault as usize];
            let now = clock::now();
            if logged.at.is_some_and(|at| now.saturating_duration_since(at) < INTERVAL) {
                logged.unlogged += 1;
                return;
            }
            logged.at = Some(now);
            std::mem::take(&mut logged.unlogged)
        };
        let data = Data { endpoint: Some(endpoint), repeated: Some(repeated), ..Data::error(&error) };
        notice::log(fault.warning(), data);
    }

    /// Logs that a header is ignored, once for each header.
    #[cold]
    #[inline(never)]
    pub(super) fn header_ignored(&self, header: &'static str, problem: fmt::Arguments<'_>) {
        {
            let mut state = self.state();
            if state.headers.contains(&header) {
                return;
            }
            state.headers.push(header);
        }
        notice::log(Warning::HeaderIgnored, Data { name: Some(header), ..Data::error(&problem) });
    }

    /// A request for an event failed.
    pub(super) fn failed(&self) {
        self.state().failed += 1;
    }

    /// Records that an event came. Logs the recovery if it is the first one after failures.
    pub(super) fn recovered(&self) {
        let failed = std::mem::take(&mut self.state().failed);
        // A single failure is usually a connection that was closed while it was idle.
        if failed > 1 {
            notice::log(Warning::RuntimeApiRecovered, Data { repeated: Some(failed), ..Data::default() });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// The pause between two attempts: none before the second, then twice as long each time, at most five seconds.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
}

impl Pause {
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    fn next(&mut self) -> Duration {
        let failures = self.failures;
        self.failures += 1;
        if failures == 0 { Duration::ZERO } else { FIRST.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST) }
    }

    pub(super) async fn wait(&mut self) {
        let time = self.next();
        if time.is_zero() {
            tokio::task::yield_now().await;
        } else {
            clock::sleep(time).await;
        }
    }

    /// The pause between two attempts that both succeed.
    pub(super) async fn shortest() {
        clock::sleep(FIRST).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_its_limit() {
        let mut pause = Pause::default();
        let pauses: Vec<u128> = (0..10).map(|_| pause.next().as_millis()).collect();
        assert_eq!(pauses, [0, 50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        for _ in 0..100 {
            assert_eq!(pause.next(), LONGEST);
        }
        pause.reset();
        assert_eq!(pause.next(), Duration::ZERO);
    }
}
