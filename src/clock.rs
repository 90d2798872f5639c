//! The clock of deadlines: Tokio's, which tests can pause. Elsewhere it is the system's monotonic clock. And what has passed since a moment, however
//! much of it the environment was frozen.

use crate::notice;
use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A moment on both clocks. A frozen machine's monotonic clock may stand still, and a wall clock may be set back: the longer time counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(Instant, SystemTime);

impl Moment {
    pub(crate) fn now() -> Self {
        Self(Instant::now(), SystemTime::now())
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
        // Without unwinding the question cannot be asked: the answer would end the process.
        let run = cfg!(panic = "abort") || crate::panics::catch(|| drop(tokio::time::sleep(Duration::ZERO))).is_ok();
        if !run {
            notice::warn(format_args!(
                "this Tokio runtime has no timers, so no deadline can be kept: build it with `enable_time` or `enable_all`"
            ));
        }
        run
    })
}
