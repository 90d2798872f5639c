//! How long an environment slept between two invocations.

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

/// How many times this process was restored from a snapshot: a connection from before the last time is dead.
static RESTORES: AtomicU32 = AtomicU32::new(0);

/// The process was restored from a snapshot.
pub(crate) fn restored() {
    RESTORES.fetch_add(1, Ordering::Relaxed);
}

/// How many times [`restored`] was called.
#[cfg(feature = "aws-sdk")]
pub(crate) fn restores() -> u32 {
    RESTORES.load(Ordering::Relaxed)
}

/// The invocation's stages are over; the environment may freeze at any moment.
pub(crate) fn begin() {
    *lock() = Some(Moment::now());
}

/// Time since [`begin`]; `None` in the first invocation, and where nothing is ever frozen.
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
