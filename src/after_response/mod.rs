#![doc = include_str!("../../docs/after_response.md")]

mod hooks;
mod stage;

pub use hooks::Report;
pub(crate) use hooks::{Hooks, hooks, install as install_hooks};
#[cfg(feature = "testing")]
pub(crate) use stage::run;
pub(crate) use stage::{after_posting, nothing_follows, stages};

use crate::Invocation;
use std::future::Future;

impl Invocation {
    /// Runs `future` after the caller has its answer, before the next invocation of this environment.
    ///
    /// It is stored now and spawned then, so it delays nothing. It also runs when the handler fails, panics or meets its
    /// deadline. What it does is billed, and it is done at most once: for work that must not be lost, use a queue.
    pub fn after_response<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.deferred().push(self, Box::pin(future));
    }
}
