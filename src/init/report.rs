//! `POST /runtime/init/error`: Lambda learns why a function did not start, and its caller with it.

use crate::causes::Causes;
use lambda_runtime::Diagnostic;
use lambda_runtime_api_client::{PooledClient, body::Body, build_request};
use std::time::Duration;

/// Posts the error; a failure to post is logged, for the process ends anyway.
pub(super) async fn post(diagnostic: &Diagnostic) {
    let body = serde_json::json!({
        "errorType": diagnostic.error_type,
        "errorMessage": diagnostic.error_message,
        "stackTrace": [],
    });
    let request = build_request()
        .method("POST")
        .uri("/2018-06-01/runtime/init/error")
        .header("lambda-runtime-function-error-type", header_value(&diagnostic.error_type))
        .body(Body::from(body.to_string()));
    let request = match request {
        Ok(request) => request,
        Err(error) => return crate::notice::warn(format_args!("the init error could not be posted: {error}")),
    };
    let client = PooledClient::builder().build();
    let call = client.call(request);
    let sent = if crate::clock::timers_run() {
        match tokio::time::timeout(Duration::from_millis(500), call).await {
            Ok(sent) => sent,
            Err(_) => return crate::notice::warn(format_args!("the init error could not be posted within 500 ms")),
        }
    } else {
        call.await
    };
    match sent {
        Ok(response) if response.status().is_success() => {}
        Ok(response) => crate::notice::warn(format_args!("the init error was refused with status {}", response.status())),
        Err(error) => crate::notice::warn(format_args!("the init error could not be posted: {}", Causes(&*error))),
    }
}

/// Type names of closures and generics hold characters a header must not.
fn header_value(error_type: &str) -> String {
    error_type.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect()
}
