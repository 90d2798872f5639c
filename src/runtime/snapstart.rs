//! SnapStart: the hooks around a snapshot, `/restore/next`, and the handling of failures.

use super::{
    Shared,
    deliver::reason,
    fault::{Fault, Pause},
};
use crate::{
    frozen, ids,
    panics::{Panic, catch},
    runtime_api::{
        Body, Failure,
        diagnostic::{self, ERROR_TYPE},
    },
};
use http::HeaderValue;
use lambda_runtime::{BoxFuture, Error, SnapStartResource};
use std::{
    fmt,
    future::{Future, poll_fn},
    sync::Arc,
    task::Poll,
};

const ATTEMPTS: u32 = 5;

/// Hooks around a snapshot, in the order of their registration.
#[derive(Clone, Default)]
pub(crate) struct Resources(Vec<Arc<dyn SnapStartResource>>);

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources").field("count", &self.0.len()).finish()
    }
}

impl Resources {
    pub(crate) fn push(&mut self, resource: Arc<dyn SnapStartResource>) {
        self.0.push(resource);
    }

    pub(crate) fn before_snapshot<F, E>(&mut self, hook: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error> + 'static,
    {
        self.push(Arc::new(BeforeSnapshot(hook)));
    }

    pub(crate) fn after_restore<F, E>(&mut self, hook: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error> + 'static,
    {
        self.push(Arc::new(AfterRestore(hook)));
    }

    /// For the loop of `lambda_runtime`, which knows nothing of what the library itself does after a restore.
    pub(crate) fn with_own(&self) -> Vec<Arc<dyn SnapStartResource>> {
        let own: Arc<dyn SnapStartResource> = Arc::new(Library);
        std::iter::once(own).chain(self.0.iter().cloned()).collect()
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(super) fn in_order(&self) -> &[Arc<dyn SnapStartResource>] {
        &self.0
    }
}

struct BeforeSnapshot<H>(H);

impl<H, F, E> SnapStartResource for BeforeSnapshot<H>
where
    H: Fn() -> F + Send + Sync,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Error> + 'static,
{
    fn before_snapshot(&self) -> BoxFuture<'_, Result<(), Error>> {
        let hook = (self.0)();
        Box::pin(async move { hook.await.map_err(Into::into) })
    }
}

struct AfterRestore<H>(H);

impl<H, F, E> SnapStartResource for AfterRestore<H>
where
    H: Fn() -> F + Send + Sync,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<Error> + 'static,
{
    fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
        let hook = (self.0)();
        Box::pin(async move { hook.await.map_err(Into::into) })
    }
}

struct Library;

impl SnapStartResource for Library {
    fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
        restored();
        Box::pin(async { Ok(()) })
    }
}

/// The library's own steps before any hook. Connections from before the snapshot are dead, and all environments that are restored from it
/// have the same random state.
fn restored() {
    frozen::restored();
    ids::reseed();
}

/// Runs the hooks before the snapshot, last registered first, waits for the restore, and runs the hooks after it, first
/// registered first.
pub(super) async fn restore(shared: &Shared, resources: &[Arc<dyn SnapStartResource>]) -> Result<(), Error> {
    for resource in resources.iter().rev() {
        if let Err(error) = hook("before_snapshot", || resource.before_snapshot()).await {
            return Err(post(shared, "init/error", "Runtime.InitError", error).await);
        }
    }
    if let Err(error) = next(shared).await {
        return Err(post(shared, "init/error", "Runtime.InitError", error).await);
    }
    restored();
    shared.client.forget_connections();
    for resource in resources {
        if let Err(error) = hook("after_restore", || resource.after_restore()).await {
            return Err(post(shared, "restore/error", "Runtime.AfterRestoreError", error).await);
        }
    }
    Ok(())
}

/// Waits until the environment is restored from its snapshot.
async fn next(shared: &Shared) -> Result<(), Error> {
    let mut pause = Pause::default();
    let mut attempts = 0;
    loop {
        let request = shared.client.get(shared.client.endpoint.runtime("restore/next"));
        match shared.client.call(request, true).await {
            Ok(reply) if reply.parts.status.is_success() => return Ok(()),
            // The environment is restored, even if the body is lost. Lambda would not respond to another request.
            Err(Failure::BodyBroken(parts, _) | Failure::BodyStalled(parts)) if parts.status.is_success() => return Ok(()),
            Ok(reply) => {
                return Err(
                    format!("/restore/next was refused with status {}: {}", reply.parts.status, reason(&reply.body)).into()
                );
            }
            Err(failure) => {
                attempts += 1;
                if attempts == ATTEMPTS {
                    return Err(format!("/restore/next: {failure}").into());
                }
                shared.faults.report(Fault::of(&failure), "restore/next", format_args!("{failure}"));
            }
        }
        pause.wait().await;
    }
}

async fn hook<'a>(name: &str, hook: impl FnOnce() -> BoxFuture<'a, Result<(), Error>>) -> Result<(), Error> {
    let panicked = |panic: Panic| Error::from(format!("{name} panicked: {panic}"));
    let mut hook = catch(hook).map_err(panicked)?;
    poll_fn(|cx| catch(|| hook.as_mut().poll(cx)).unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic))))).await
}

/// Posts an error after which the process ends. Returns it redacted, for the log and for `main`, which prints it.
async fn post(shared: &Shared, path: &'static str, kind: &'static str, error: Error) -> Error {
    let text = error.to_string();
    let redacted = shared.redacted(diagnostic::of_error(&error));
    let error = if redacted.error_message == text { error } else { redacted.error_message.as_str().into() };
    let diagnostic = diagnostic::bounded(redacted);
    let body = Body::Whole(serde_json::to_vec(&diagnostic).unwrap_or_default().into());
    let headers = [(ERROR_TYPE, HeaderValue::from_static(kind))];
    match shared.client.call(shared.client.post(shared.client.endpoint.runtime(path), &headers, body), false).await {
        Ok(reply) if reply.parts.status.is_success() => {}
        Ok(reply) => {
            shared.faults.report(Fault::Refused, path, format_args!("status {}: {}", reply.parts.status, reason(&reply.body)))
        }
        Err(failure) => shared.faults.report(Fault::of(&failure), path, format_args!("{failure}")),
    }
    error
}
