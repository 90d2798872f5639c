#![doc = include_str!("../../docs/shutdown.md")]

#[cfg(unix)]
mod extension;
#[cfg(unix)]
mod signal;

use crate::{
    causes::Causes,
    invocation::{Hooks, Shared},
    metrics,
    notice::{self, Data, Warning},
    panics, trace,
};
use lambda_runtime::{BoxFuture, Error};
use std::{
    fmt::{self, Debug, Formatter},
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// The part of the budget for invocations in progress.
fn draining(budget: Duration) -> Duration {
    budget / 3 * 2
}

/// The end of the time for hooks, so that a hanging hook leaves time for the last flush.
fn hooks(budget: Duration) -> Duration {
    budget / 9 * 8
}

/// The function cannot serve events any more.
///
/// Returned by [`Lifecycle::run`](crate::Lifecycle::run) and the other serving methods once the shutdown hooks have run. Returned
/// from `main`, it ends the process with status 1, and Lambda starts another one.
#[derive(thiserror::Error)]
#[error("the function stops serving events: {}", Causes(&**.source))]
#[non_exhaustive]
pub struct ServeError {
    /// The cause: Lambda refused to send events ([`EventsRefused`](crate::runtime::EventsRefused)), the service was not ready for
    /// an event ([`ServiceNotReady`](crate::runtime::ServiceNotReady)), or a SnapStart hook failed.
    pub source: Error,
}

/// `main` prints an error with `Debug`, so it must be as readable as `Display`.
impl Debug for ServeError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The code that only some functions need: those with shutdown hooks, and those with an exporter whose spans wait for shutdown.
/// The builder sets it with those, so that other functions do not link it.
#[derive(Clone, Copy)]
pub(crate) struct OnShutdown {
    listen: fn(Arc<Shutdown>) -> BoxFuture<'static, Option<Listener>>,
    run_hooks: for<'h> fn(&'h Hooks, Option<Instant>) -> BoxFuture<'h, ()>,
}

impl Debug for OnShutdown {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("OnShutdown")
    }
}

impl OnShutdown {
    pub(crate) fn new() -> Self {
        Self { listen: |shutdown| Box::pin(listen(shutdown)), run_hooks: |hooks, until| Box::pin(hooks.run_shutdown(until)) }
    }
}

/// Serves until the service ends, or until the platform ends the environment.
///
/// The caller pins the future, because it has several kilobytes, and an argument of an async function is stored a second time
/// beside its pinned copy. The future is not dropped before the end, because that would end the spans of invocations in progress
/// as if they were complete.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    on_shutdown: Option<OnShutdown>,
    mut serving: Pin<&mut impl Future<Output = Result<(), Error>>>,
) -> Result<(), Error> {
    let serving = poll_fn(|cx| {
        panics::catch(|| serving.as_mut().poll(cx))
            .unwrap_or_else(|panic| Poll::Ready(Err(format!("the loop panicked: {panic}").into())))
    });
    let shutdown = Arc::new(Shutdown { shared: Arc::clone(shared), optional: on_shutdown, done: OnceCell::new() });
    let wanted = shared.hooks.has_shutdown() || shared.destinations.flush_at_shutdown();
    let mut listener = match on_shutdown.filter(|_| wanted) {
        Some(on_shutdown) => (on_shutdown.listen)(Arc::clone(&shutdown)).await,
        None => None,
    };
    let ended = tokio::select! {
        biased;
        () = over(listener.as_mut()) => {
            listener = None;
            Ok(())
        }
        // Still polled during the shutdown, so that a response in progress is sent.
        ended = serving => ended,
    };
    crate::settings::warn_of_unknown_variables();
    let ended = ended.map_err(|source| ServeError { source });
    if let Err(error) = &ended {
        // Before the hooks, which may hang.
        notice::log(Warning::ServingFailed, Data::error(error));
    }
    Box::pin(async {
        if let Some(listener) = listener {
            listener.end().await;
        }
        shutdown.run(crate::clock::timers_run()).await;
    })
    .await;
    Ok(ended?)
}

#[cfg(unix)]
use signal::Listener;

/// Without Unix signals a process is not notified of its end.
#[cfg(not(unix))]
enum Listener {}

#[cfg(not(unix))]
impl Listener {
    async fn over(&mut self) {
        match *self {}
    }

    async fn end(self) {
        match self {}
    }
}

#[cfg(unix)]
async fn listen(shutdown: Arc<Shutdown>) -> Option<Listener> {
    match Listener::start(move |runtime| runtime.block_on(shutdown.run(true))) {
        Ok(listener) => {
            extension::register().await;
            Some(listener)
        }
        Err(error) => {
            notice::log(Warning::ShutdownUnavailable, Data::error(&error));
            None
        }
    }
}

#[cfg(not(unix))]
async fn listen(_: Arc<Shutdown>) -> Option<Listener> {
    notice::log(Warning::ShutdownUnavailable, Data::error(&"this system has no SIGTERM"));
    None
}

/// Never ready without a listener.
async fn over(listener: Option<&mut Listener>) {
    match listener {
        Some(listener) => listener.over().await,
        None => std::future::pending().await,
    }
}

/// The shutdown, which the first task that notices the end of the function runs once.
pub(crate) struct Shutdown {
    shared: Arc<Shared>,
    optional: Option<OnShutdown>,
    done: OnceCell<()>,
}

impl Shutdown {
    /// Returns when it is done, also if another task runs it.
    async fn run(&self, timers: bool) {
        self.done.get_or_init(|| end(&self.shared, self.optional, timers)).await;
    }
}

/// Without timers, only the platform's kill limits the shutdown.
async fn end(shared: &Shared, optional: Option<OnShutdown>, timers: bool) {
    let began = Instant::now();
    let budget = shared.settings.shutdown_budget;
    // No limit if it is beyond the clock's range.
    let until = |time| if timers { began.checked_add(time) } else { None };
    tracing::debug!("the environment ends: invocations in progress, shutdown hooks and a last flush");
    let stages = &shared.stages;
    stages.close();
    if timers && tokio::time::timeout(draining(budget), stages.wait()).await.is_err() {
        notice::log(Warning::ShutdownCutOff, Data::unfinished(stages.len()));
    }
    let until_hooks = until(hooks(budget));
    // Concurrently with the hooks, because either may need all of the time.
    let hooks = async {
        if let Some(optional) = optional {
            (optional.run_hooks)(&shared.hooks, until_hooks).await;
        }
    };
    tokio::join!(trace::report_shutdown(shared, until_hooks), hooks);
    // After the hooks, which may record metrics.
    metrics::shut_down(shared);
    trace::flush(shared, until(budget)).await;
}
