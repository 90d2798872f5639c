//! SnapStart: the hooks around a snapshot, `/restore/next`, and the handling of failures.

use super::{
    Shared,
    deliver::reason,
    fault::{Fault, Pause},
};
use crate::{
    frozen,
    panics::{Panic, catch},
    runtime_api::{
        Body, Failure,
        diagnostic::{self, ERROR_TYPE},
    },
};
use http::HeaderValue;
use lambda_runtime::{BoxFuture, Error, SnapStartResource};
use std::{future::poll_fn, sync::Arc, task::Poll};

const ATTEMPTS: u32 = 5;

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
    frozen::restored();
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
