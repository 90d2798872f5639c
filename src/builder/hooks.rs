//! The hooks.

use super::Builder;
use crate::{Invocation, Report, shutdown::OnShutdown};
use lambda_runtime::Error;
use std::{future::Future, time::Duration};

/// Hooks.
impl Builder {
    /// Runs after every response, when its background work is over, with a [`Report`] of the invocation. Hooks run one after the
    /// other. A hook that panics or exceeds the invocation's hard deadline affects no other hook.
    pub fn after_response<F>(mut self, hook: impl Fn(Report) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push_after(hook, |hooks, report, context, until| Box::pin(hooks.run_after(report, context, until)));
        self
    }

    /// Called with the number of pieces of background work that were not done in their time, before they are cancelled.
    pub fn on_unfinished(mut self, hook: impl Fn(&Invocation, usize) + Send + Sync + 'static) -> Self {
        self.hooks.unfinished.push(Box::new(hook));
        self
    }

    /// Called before the handler when the environment was frozen for at least `gap` since its last invocation, with the frozen
    /// time.
    ///
    /// Use it to drop connections that are closed by now, for example with `aws_sdk::HttpsClient::drop_connections`. It must be
    /// quick, because the caller waits for it. It runs in the function's Tokio runtime, so it may spawn a task that opens new
    /// connections while the handler runs.
    pub fn on_thaw(mut self, gap: Duration, hook: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.hooks.thaw.push((gap, Box::new(hook)));
        self
    }

    /// Runs before Lambda takes the SnapStart snapshot of the initialized environment. Close here what must not be in the
    /// snapshot. Without SnapStart the hook is not called.
    ///
    /// Hooks run in reverse order of their registration, after those of
    /// [`register_snapstart_resource`](crate::Lifecycle::register_snapstart_resource). A hook that fails or panics ends the
    /// function. Its error is posted to `/init/error`, logged and returned by [`run`](crate::Lifecycle::run).
    /// [`init`](crate::init#snapstart) describes what the library does itself.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, Lifecycle};
    /// # async fn load_prices() -> Result<(), Error> { Ok(()) }
    /// # async fn refresh_secrets() -> Result<(), Error> { Ok(()) }
    ///
    /// let life = Lifecycle::builder()
    ///     .before_snapshot(|| async { load_prices().await })
    ///     .after_restore(|| async { refresh_secrets().await })
    ///     .build();
    /// ```
    pub fn before_snapshot<F, E>(mut self, hook: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error> + 'static,
    {
        self.snapstart.before_snapshot(hook);
        self
    }

    /// Runs in each environment that is restored from a SnapStart snapshot, before its first event. Reconnect here, refresh
    /// credentials and seed random numbers. Without SnapStart the hook is not called.
    ///
    /// Hooks run in the order of their registration, and share the 10 seconds that Lambda gives a restore. A hook that fails or
    /// panics ends the function. Its error is posted to `/restore/error`, logged and returned by [`run`](crate::Lifecycle::run).
    pub fn after_restore<F, E>(mut self, hook: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error> + 'static,
    {
        self.snapstart.after_restore(hook);
        self
    }

    /// Runs when the platform ends the environment, and when [`run`](crate::Lifecycle::run) ends with an error. Hooks run in
    /// reverse order and have 400 ms together. Then the last flush runs, and `run` returns.
    ///
    /// They run on a separate thread, so a handler that blocks its thread does not keep them from running. Registers an
    /// extension, which costs time in the Init phase: see [`shutdown`](crate::shutdown). Needs Unix signals.
    pub fn on_shutdown<F>(mut self, hook: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push_shutdown(hook);
        self.on_shutdown = Some(OnShutdown::new());
        self
    }
}
