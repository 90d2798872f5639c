#![doc = include_str!("../../docs/after_response.md")]

mod hooks;
mod rest;

pub use hooks::Report;
pub(crate) use hooks::{Hooks, hooks, install as install_hooks};
pub(crate) use rest::{begin as rest, end as slept};

use crate::{Unfinished, environment, invocation::CURRENT, invocation::Invocation, settings::Settings};
use opentelemetry::{Context as OtelContext, context::FutureExt as _};
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Mutex, OnceLock, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

/// Work of any kind. Boxed where it is spawned: Tokio's part of a task is compiled for each type of future.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The work an invocation has stored for after its response.
#[derive(Default)]
pub(crate) struct Deferred(Mutex<Stored>);

#[derive(Default)]
struct Stored {
    work: Vec<Work>,
    closed: bool,
    /// The stage, where it waits for work that is under way.
    stage: Option<Waker>,
}

impl Deferred {
    pub(crate) fn push(&self, owner: &Invocation, work: Work) {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owner.is_detached() || stored.closed {
            drop(stored);
            // Nobody posts a response for a detached invocation, nor one more for one that is over: the work would never run.
            if let Ok(handle) = tokio::runtime::Handle::try_current() {
                let here = OtelContext::current();
                let is_owners = owner.is_detached() || here.get::<Invocation>().is_some_and(|invocation| invocation.is(owner));
                // Without the invocation in it, its spans would belong to nothing.
                let context = if is_owners { here } else { crate::trace::context_without_span(owner) };
                let work: Work = Box::pin(CURRENT.scope(owner.clone(), work).with_context(context));
                drop(handle.spawn(work));
            } else {
                crate::logs::warn(format_args!(
                    "after_response outside of an invocation and of a Tokio runtime: the work is dropped"
                ));
            }
            return;
        }
        stored.work.push(work);
        let stage = stored.stage.take();
        drop(stored);
        if let Some(stage) = stage {
            stage.wake();
        }
    }

    /// The stage is over: what is stored from here on begins at once. Gives back what was stored and not begun.
    pub(crate) fn close(&self) -> Vec<Work> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.closed = true;
        std::mem::take(&mut stored.work)
    }

    /// As [`close`](Self::close) if nothing is stored; false if something is.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.closed |= stored.work.is_empty();
        stored.closed
    }

    /// True when the stage is over.
    #[cfg(feature = "aws-sdk")]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).work.is_empty()
    }

    fn take(&self) -> Vec<Work> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).work)
    }

    /// Ready when something is stored.
    fn poll_stored(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !stored.work.is_empty() {
            return Poll::Ready(());
        }
        stored.stage = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The stages under way where no worker waits for them.
pub(crate) fn stages() -> &'static TaskTracker {
    static STAGES: OnceLock<TaskTracker> = OnceLock::new();
    STAGES.get_or_init(TaskTracker::new)
}

/// What became of the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) finished: usize,
    pub(crate) panicked: usize,
    pub(crate) unfinished: usize,
}

/// Runs the stored work, and what that work stores in its turn, until all is done or its time is over.
pub(crate) async fn run(invocation: &Invocation, context: &OtelContext) -> Done {
    let until = until(invocation);
    // While there is still time to stop in order.
    let mut soft = invocation.timing().map(|deadline| deadline.soft).filter(|soft| until.is_some_and(|until| *soft < until));
    let mut done = Done::default();
    let mut tasks = JoinSet::new();
    loop {
        begin(invocation.deferred().take(), invocation, context, &mut tasks);
        let joined = poll_fn(|cx| match tasks.poll_join_next(cx) {
            // What work stores begins beside it, and does not wait for its end.
            Poll::Pending => invocation.deferred().poll_stored(cx).map(|()| None),
            joined @ Poll::Ready(_) => joined,
        });
        let joined = match soft.or(until) {
            Some(at) => match tokio::time::timeout_at(at.into(), joined).await {
                Ok(joined) => joined,
                Err(_) if soft.take().is_some() => {
                    invocation.token().cancel();
                    continue;
                }
                Err(_) => break,
            },
            None => joined.await,
        };
        match joined {
            Some(Ok(())) => done.finished += 1,
            Some(Err(error)) => {
                done.panicked += 1;
                if let Some(panic) = hooks::panic_of(error) {
                    crate::logs::error(format_args!("work after the response panicked: {panic}"));
                }
            }
            None if tasks.is_empty() && invocation.deferred().is_empty() => return done,
            None => {}
        }
    }
    // Counted as well, and it goes on or is cancelled as the rest.
    begin(invocation.deferred().take(), invocation, context, &mut tasks);
    done.unfinished = tasks.len();
    hooks().run_unfinished(invocation, done.unfinished);
    if freezes() {
        tracing::info!(unfinished = done.unfinished, "work after the response goes on in the next invocation, if there is one");
        tasks.detach_all();
    } else {
        tracing::warn!(
            unfinished = done.unfinished,
            "work after the response was not done in its time and is cancelled: move it to a queue, or raise the timeout"
        );
        invocation.token().cancel();
        // Not waited for: a task that blocks a thread does not end when it is told to.
        tasks.abort_all();
        tokio::task::yield_now().await;
    }
    done
}

/// Ends the stage, though something was stored when its time was over.
pub(crate) fn leave(invocation: &Invocation, context: &OtelContext) {
    let mut tasks = JoinSet::new();
    begin(invocation.deferred().close(), invocation, context, &mut tasks);
    if freezes() {
        tasks.detach_all();
    } else if !tasks.is_empty() {
        tracing::warn!(unfinished = tasks.len(), "work after the response was stored when its time was over, and is cancelled");
    }
}

/// True where unfinished work goes on in the next invocation.
fn freezes() -> bool {
    Settings::current().unfinished == Unfinished::Freeze && !environment::kind().is_concurrent()
}

fn begin(stored: Vec<Work>, invocation: &Invocation, context: &OtelContext, tasks: &mut JoinSet<()>) {
    for work in stored {
        let work: Work = Box::pin(CURRENT.scope(invocation.clone(), work).with_context(context.clone()));
        tasks.spawn(work);
    }
}

/// When work after the response must be over: early enough that its spans still get out.
fn until(invocation: &Invocation) -> Option<Instant> {
    let settings = Settings::current();
    let now = crate::clock::now();
    let hard = invocation.timing().map(|deadline| deadline.after_response(now));
    let budget = match settings.unfinished {
        Unfinished::Wait => settings.after_response_budget.and_then(|budget| now.checked_add(budget)),
        Unfinished::Cancel | Unfinished::Freeze => Some(now),
    };
    if crate::deadline::timers_run() { budget.into_iter().chain(hard).min() } else { None }
}
