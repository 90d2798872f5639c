//! The clock of deadlines is Tokio's, which tests can pause. Other times use the system's monotonic clock. [`Moment`] measures
//! elapsed time that includes frozen time.

use crate::notice::{self, Data, Warning};
use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A moment on both clocks. The monotonic clock may stand still while the environment is frozen, and the wall clock may be set
/// back. So the longer of both times counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(Instant, SystemTime);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
    }

    /// A moment that is so long ago on the monotonic clock and on the wall clock.
    #[cfg(test)]
    pub(crate) fn ago(monotonic: Duration, wall: Duration) -> Self {
        Self(Instant::now().checked_sub(monotonic).expect("the machine has run that long"), SystemTime::now() - wall)
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

/// False on a runtime without a time driver, where any use of a timer panics: invocations then have no deadline.
pub(crate) fn timers_run() -> bool {
    static RUN: OnceLock<bool> = OnceLock::new();
    if tokio::runtime::Handle::try_current().is_err() {
        return false;
    }
    *RUN.get_or_init(|| {
        // Without unwinding, a failed test would end the process.
        let run = cfg!(panic = "abort") || crate::panics::catch(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok();
        if !run {
            notice::log(Warning::TimersMissing, Data::default());
        }
        run
    })
}

/// Sleeps, with or without a time driver.
pub(crate) async fn sleep(time: Duration) {
    if timers_run() {
        tokio::time::sleep(time).await;
    } else {
        without_timers(time).await;
    }
}

#[cold]
async fn without_timers(time: Duration) {
    let (done, over) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().spawn(move || {
        std::thread::sleep(time);
        let _ = done.send(());
    });
    match thread {
        Ok(_) => drop(over.await),
        Err(_) => tokio::task::yield_now().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_timers_a_pause_is_one_all_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let (began, pause) = (Instant::now(), Duration::from_millis(50));
        runtime.block_on(without_timers(pause));
        assert!(began.elapsed() >= pause);
    }
}
