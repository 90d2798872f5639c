//! How long an environment slept between two invocations.

use crate::environment;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// When this process last asked for an event.
static RESTED: Mutex<Option<(Instant, SystemTime)>> = Mutex::new(None);

/// The invocation's stages are over; the environment may freeze at any moment.
pub(crate) fn begin() {
    *lock() = Some((Instant::now(), SystemTime::now()));
}

/// Time since [`begin`]; `None` in the first invocation, and where nothing is ever frozen. A frozen machine's monotonic clock may stand still, and a wall clock may be
/// set back: the longer one counts.
pub(crate) fn end() -> Option<Duration> {
    if environment::kind().is_concurrent() {
        // Never frozen, and never at rest as long as one invocation is under way.
        return None;
    }
    let (instant, time) = (*lock())?;
    Some(instant.elapsed().max(time.elapsed().unwrap_or_default()))
}

fn lock() -> std::sync::MutexGuard<'static, Option<(Instant, SystemTime)>> {
    RESTED.lock().unwrap_or_else(PoisonError::into_inner)
}
