//! The builder's hooks that are called with an invocation.

use super::{Invocation, Outcome, Work};
use opentelemetry::Context;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

type AfterHook = Box<dyn Fn(Report) -> Work + Send + Sync>;
type UnfinishedHook = Box<dyn Fn(&Invocation, usize) + Send + Sync>;
type ThawHook = Box<dyn Fn(Duration) + Send + Sync>;
pub(crate) type ShutdownHook = Box<dyn FnOnce() -> Work + Send>;

/// The facts of an invocation when its response was posted and its background work is over.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The invocation.
    pub invocation: Invocation,
    /// The outcome. `None` when the response could not be made, and when no [`HandlerLayer`](crate::service::HandlerLayer) saw
    /// it.
    pub outcome: Option<Outcome>,
    /// Background work that was done.
    pub finished: usize,
    /// Background work that panicked.
    pub panicked: usize,
    /// Background work that was cancelled, or frozen.
    pub unfinished: usize,
    /// Time since the response was posted. It is billed, and the next invocation of this environment waits for it.
    pub after_response: Duration,
}

/// The results of the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) finished: usize,
    pub(crate) panicked: usize,
    pub(crate) unfinished: usize,
}

type Running<'i> = Pin<Box<dyn Future<Output = Done> + Send + 'i>>;

/// The functions that handle stored work. They are stored with the work, so that a function without such work does not link them.
pub(crate) struct Stage {
    /// Runs the stored work, in a separate span.
    pub(crate) run: for<'i> fn(&'i Invocation, &'i Context) -> Running<'i>,
    /// Starts the stored work when the stage has no more time.
    pub(crate) leave: fn(&Invocation, &Context),
    /// Starts a piece of work at once.
    pub(crate) begin: fn(&Invocation, Work),
}

/// Runs the hooks after a response. It is set with the first of them, so that a function without hooks does not link it.
pub(crate) type RunAfter =
    for<'h> fn(&'h Hooks, &'h Report, &'h Context, Option<Instant>) -> Pin<Box<dyn Future<Output = ()> + Send + 'h>>;

/// The hooks of a lifecycle.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) after: Vec<AfterHook>,
    pub(crate) run_after: Option<RunAfter>,
    pub(crate) unfinished: Vec<UnfinishedHook>,
    pub(crate) thaw: Vec<(Duration, ThawHook)>,
    shutdown: Mutex<Vec<ShutdownHook>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("after", &self.after.len())
            .field("unfinished", &self.unfinished.len())
            .field("thaw", &self.thaw.len())
            .finish_non_exhaustive()
    }
}

impl Hooks {
    pub(crate) fn push_after<F>(&mut self, hook: impl Fn(Report) -> F + Send + Sync + 'static, run_after: RunAfter)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.after.push(Box::new(move |report| Box::pin(hook(report))));
        self.run_after = Some(run_after);
    }

    pub(crate) fn push_shutdown<F>(&mut self, hook: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hooks = self.shutdown.get_mut().unwrap_or_else(PoisonError::into_inner);
        hooks.push(Box::new(move || Box::pin(hook())));
    }

    pub(crate) fn has_shutdown(&self) -> bool {
        !self.shutdown.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// The shutdown hooks, in the order of their registration. Each runs once.
    pub(crate) fn take_shutdown(&self) -> Vec<ShutdownHook> {
        std::mem::take(&mut *self.shutdown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
