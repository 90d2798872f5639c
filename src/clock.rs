//! The clock of deadlines: Tokio's, which tests can pause. Elsewhere it is the system's monotonic clock. And what has passed since a moment, however
//! much of it the environment was frozen.

use std::time::{Duration, Instant, SystemTime};

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
