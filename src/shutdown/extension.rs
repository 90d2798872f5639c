//! The internal extension, without which Lambda sends no SIGTERM.

use crate::{causes::Causes, invocation::Work};
use lambda_runtime_api_client::{PooledClient, body::Body, build_request};
use std::time::Duration;

/// The Init phase is short, and an emulator may leave a request it does not know unanswered.
const REGISTERING: Duration = Duration::from_secs(1);

const NAME: &str = "lambda-lifecycle";

/// Registers an internal extension that asks for no events, and waits for the one it will not get in a task of its own: by asking
/// for it an extension says that it is ready.
pub(super) async fn register() {
    let client = PooledClient::builder().build();
    let request = build_request()
        .method("POST")
        .uri("/2020-01-01/extension/register")
        .header("lambda-extension-name", NAME)
        .header("content-type", "application/json")
        .body(Body::from(r#"{"events":[]}"#.to_owned()));
    let response = match request {
        Ok(request) if crate::clock::timers_run() => match tokio::time::timeout(REGISTERING, client.call(request)).await {
            Ok(response) => response,
            Err(_) => Err("no response within a second".into()),
        },
        Ok(request) => client.call(request).await,
        Err(error) => Err(error.into()),
    };
    let refused = match response {
        Ok(response) if response.status().is_success() => {
            match response.headers().get("lambda-extension-identifier").cloned() {
                Some(id) => {
                    let next = build_request().uri("/2020-01-01/extension/event/next").header("lambda-extension-identifier", id);
                    if let Ok(next) = next.body(Body::empty()) {
                        // The client lives as long as its call.
                        let call: Work = Box::pin(async move { drop(client.call(next).await) });
                        tokio::spawn(call);
                    }
                    return;
                }
                None => "no identifier was given".to_owned(),
            }
        }
        Ok(response) => format!("status {}", response.status()),
        Err(error) => Causes(&*error).to_string(),
    };
    crate::notice::warn(format_args!("no extension could be registered, so shutdown hooks will not run here: {refused}"));
}
