//! The measurements of one invocation, until they are written.

use crate::emf::Store;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// The metrics of an invocation.
#[derive(Debug, Default)]
pub(crate) struct Measured(Mutex<State>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) store: Store,
    /// The time when the handler ended.
    pub(crate) handled: Option<Instant>,
    /// The library's own metrics are written, so that an invocation counts once, regardless of its outcome.
    pub(crate) concluded: bool,
    /// The last metrics are written. Later ones are written at once.
    pub(crate) closed: bool,
}

impl Measured {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
