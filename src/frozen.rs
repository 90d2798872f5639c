//! The time for which an environment was frozen between two invocations.

use crate::{clock::Moment, environment};
use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// When this process last asked for an event.
static RESTED: Mutex<Option<Moment>> = Mutex::new(None);

/// How often this process was restored from a snapshot. Connections from before the last restore are dead.
static RESTORES: AtomicU32 = AtomicU32::new(0);

/// Records that the process was restored from a snapshot.
pub(crate) fn restored() {
    RESTORES.fetch_add(1, Ordering::Relaxed);
}

/// How often [`restored`] was called.
#[cfg(feature = "aws-sdk")]
pub(crate) fn restores() -> u32 {
    RESTORES.load(Ordering::Relaxed)
}

/// Records that the invocation's stages are over. The environment may freeze at any moment.
pub(crate) fn begin() {
    *lock() = Some(Moment::now());
}

/// Time since [`begin`]; `None` in the first invocation, and in environments that are never frozen.
pub(crate) fn time() -> Option<Duration> {
    if environment::kind().is_concurrent() {
        // These environments are never frozen while an invocation is in progress.
        return None;
    }
    lock().map(Moment::elapsed)
}

fn lock() -> MutexGuard<'static, Option<Moment>> {
    RESTED.lock().unwrap_or_else(PoisonError::into_inner)
}
