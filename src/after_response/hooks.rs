//! Runs a function's hooks: after each response, at a thaw, and at shutdown.

use crate::{
    Invocation, Report,
    invocation::{CURRENT, Hooks, ShutdownHook, Work},
    notice::{self, Data, Warning},
    panics::{self, Panic},
};
use opentelemetry::{Context, context::FutureExt as _};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

impl Hooks {
    /// Runs the hooks of an invocation one after the other. A hook that panics or hangs affects no other hook.
    pub(crate) async fn run_after(&self, report: &Report, context: &Context, until: Option<Instant>) {
        for hook in &self.after {
            let invocation = report.invocation.clone();
            let Ok(work) = guarded("after_response", || hook(report.clone())) else { continue };
            let work: Work = Box::pin(CURRENT.scope(invocation, work).with_context(context.clone()));
            if !ended_in_time("after_response", tokio::spawn(work), until).await {
                return;
            }
        }
    }

    pub(crate) fn run_unfinished(&self, invocation: &Invocation, count: usize) {
        for hook in &self.unfinished {
            let _ = guarded("on_unfinished", || hook(invocation, count));
        }
    }

    pub(crate) fn run_thaw(&self, slept: Duration) {
        for (gap, hook) in &self.thaw {
            if slept >= *gap {
                let _ = guarded("on_thaw", || hook(slept));
            }
        }
    }

    /// Runs the shutdown hooks in reverse order, because later ones may depend on resources of earlier ones.
    pub(crate) async fn run_shutdown(&self, until: Option<Instant>) {
        for hook in self.take_shutdown().into_iter().rev() {
            let cancelled = CancellationToken::new();
            if !ended_in_time("on_shutdown", on_a_thread(hook, cancelled.clone()), until).await {
                cancelled.cancel();
                return;
            }
        }
    }
}

/// `name` is the builder's method that registered the hook.
fn guarded<T>(name: &str, hook: impl FnOnce() -> T) -> Result<T, ()> {
    panics::catch(hook).map_err(|panic| report_panic(name, &panic))
}

fn report_panic(name: &str, panic: &Panic) {
    notice::log(Warning::HookPanicked, Data { name: Some(name), ..Data::error(panic) });
}

/// Starts a shutdown hook on a separate thread, because a hook that blocks must not keep the others and the last flush from
/// running.
fn on_a_thread(hook: ShutdownHook, cancelled: CancellationToken) -> JoinHandle<()> {
    let runtime = Handle::current();
    let hook = Arc::new(Mutex::new(Some(hook)));
    let run = async move |hook: &Mutex<Option<ShutdownHook>>| {
        let hook = hook.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hook) = hook {
            cancelled.run_until_cancelled(hook()).await;
        }
    };
    let (taken, run_there) = (Arc::clone(&hook), run.clone());
    // Tokio panics if the system has no thread left.
    panics::catch(|| tokio::task::spawn_blocking(move || runtime.block_on(run_there(&taken))))
        .unwrap_or_else(|_| tokio::spawn(async move { run(&hook).await }))
}

/// False if the time is over.
async fn ended_in_time(name: &str, task: JoinHandle<()>, until: Option<Instant>) -> bool {
    let abort = task.abort_handle();
    let ended = match until {
        Some(until) => tokio::time::timeout_at(until.into(), task).await,
        None => Ok(task.await),
    };
    match ended {
        Ok(joined) => {
            if let Some(panic) = joined.err().and_then(Panic::of_task) {
                report_panic(name, &panic);
            }
            true
        }
        Err(_) => {
            abort.abort();
            notice::log(Warning::HookCancelled, Data::name(name));
            false
        }
    }
}
