//! The clock of deadlines: Tokio's, which tests can pause. Elsewhere it is the system's monotonic clock.

use std::time::Instant;

pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
