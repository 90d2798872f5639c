//! Shared by the invocations of one lifecycle.

use super::{store::Store, write::Base};
use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

/// The dimensions of all metrics, the metrics that belong to no invocation, and the durations of the Init phase.
#[derive(Debug, Default)]
pub(crate) struct Common {
    base: OnceLock<Base>,
    outside: Mutex<Store>,
    init: Mutex<InitTimes>,
    memory_read: Mutex<Option<Instant>>,
}

/// The durations of the initializers, each with its name.
#[derive(Debug, Default)]
pub(crate) struct InitTimes {
    pub(crate) each: Vec<(String, Duration)>,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl InitTimes {
    pub(crate) fn add(&mut self, name: String, began: Instant, ended: Instant) {
        self.began = self.began.into_iter().chain([began]).min();
        self.ended = self.ended.into_iter().chain([ended]).max();
        self.each.push((name, ended.saturating_duration_since(began)));
    }

    /// From the start of the first to the end of the last; `None` without an initializer.
    pub(crate) fn in_all(&self) -> Option<Duration> {
        Some(self.ended?.saturating_duration_since(self.began?))
    }
}

impl Common {
    /// The namespace and the dimensions of all metrics, created by the first caller.
    pub(crate) fn base(&self, make: impl FnOnce() -> Base) -> &Base {
        self.base.get_or_init(make)
    }

    /// The metrics that belong to no invocation.
    pub(crate) fn outside(&self) -> MutexGuard<'_, Store> {
        lock(&self.outside)
    }

    /// The durations of the Init phase.
    pub(crate) fn init(&self) -> MutexGuard<'_, InitTimes> {
        lock(&self.init)
    }

    /// True once for each `interval`, for measurements that are too expensive for every invocation.
    pub(crate) fn is_due(&self, now: Instant, interval: Duration) -> bool {
        let mut last = lock(&self.memory_read);
        let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= interval);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
