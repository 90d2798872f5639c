//! The time of a stream, which a test can set.

use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// The time by which records arrive, become too old, and windows end. Clones show the same time.
///
/// ```
/// use lambda_lifecycle_sandbox::streams::{Clock, Stream};
/// use std::time::{Duration, UNIX_EPOCH};
///
/// let clock = Clock::manual(UNIX_EPOCH);
/// let readings = Stream::kinesis("readings", 1).with_clock(&clock);
/// readings.put("sensor-7", r#"{"celsius":21.5}"#);
/// // The record above is a minute old.
/// clock.advance(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<watch::Sender<SystemTime>>);

impl Clock {
    /// This machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that shows this time until it is advanced.
    pub fn manual(now: SystemTime) -> Self {
        Self(Some(watch::Sender::new(now)))
    }

    /// Moves a manual clock forward. This machine's clock stays as it is.
    pub fn advance(&self, by: Duration) {
        if let Some(now) = &self.0 {
            now.send_modify(|now| *now += by);
        }
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        self.0.as_ref().map_or_else(SystemTime::now, |now| *now.borrow())
    }

    /// Waits until it is so late.
    pub(crate) async fn reached(&self, time: SystemTime) {
        match &self.0 {
            // The sender lives in `self`.
            Some(now) => drop(now.subscribe().wait_for(|now| *now >= time).await),
            None => tokio::time::sleep(time.duration_since(SystemTime::now()).unwrap_or_default()).await,
        }
    }
}
