//! The internal extension, without which Lambda sends no SIGTERM.

use crate::{
    invocation::Work,
    runtime_api::{Body, Client},
};
use bytes::Bytes;
use http::HeaderValue;
use std::time::Duration;

/// The Init phase is short, and an emulator may leave a request it does not know unanswered.
const REGISTERING: Duration = Duration::from_secs(1);

const IDENTIFIER: &str = "lambda-extension-identifier";

const NAME: &str = "lambda-lifecycle";

/// Registers an internal extension that asks for no events, and waits for the one it will not get in a task of its own: by asking
/// for it an extension says that it is ready.
pub(super) async fn register() {
    let Some(client) = Client::from_env() else { return };
    let headers = [
        ("lambda-extension-name", HeaderValue::from_static(NAME)),
        ("content-type", HeaderValue::from_static("application/json")),
    ];
    let uri = client.endpoint.uri("/2020-01-01/extension/register");
    let registering = client.call(client.post(uri, &headers, Body::Whole(Bytes::from_static(br#"{"events":[]}"#))), false);
    let registered = if crate::clock::timers_run() {
        tokio::time::timeout(REGISTERING, registering).await.ok()
    } else {
        Some(registering.await)
    };
    let refused = match registered {
        Some(Ok(reply)) if reply.parts.status.is_success() => match reply.parts.headers.get(IDENTIFIER).cloned() {
            Some(id) => {
                let mut next = client.get(client.endpoint.uri("/2020-01-01/extension/event/next"));
                next.headers_mut().insert(IDENTIFIER, id);
                // The client lives as long as its call.
                let call: Work = Box::pin(async move { drop(client.call(next, true).await) });
                tokio::spawn(call);
                return;
            }
            None => "no identifier was given".to_owned(),
        },
        Some(Ok(reply)) => format!("status {}", reply.parts.status),
        Some(Err(failure)) => failure.to_string(),
        None => "no response within a second".to_owned(),
    };
    crate::notice::warn(format_args!("no extension could be registered, so shutdown hooks will not run here: {refused}"));
}
