//! `POST /runtime/init/error`: reports to Lambda and its caller why a function did not start.

use crate::{
    notice::{self, Data, Warning},
    runtime_api::{
        Body, Client,
        diagnostic::{self, ERROR_TYPE},
    },
};
use lambda_runtime::Diagnostic;
use std::time::Duration;

/// Posts the error. If that fails, it is logged, because the process ends anyway.
pub(super) async fn post(diagnostic: &Diagnostic) {
    let Some(client) = Client::from_env() else { return };
    let diagnostic = diagnostic::bounded(diagnostic.clone());
    let body = serde_json::json!({
        "errorType": diagnostic.error_type,
        "errorMessage": diagnostic.error_message,
        "stackTrace": [],
    });
    let headers = [(ERROR_TYPE, diagnostic::header_value(&diagnostic.error_type))];
    let request = client.post(client.endpoint.runtime("init/error"), &headers, Body::Whole(body.to_string().into()));
    let call = client.call(request, false);
    let sent = if crate::clock::timers_run() {
        match tokio::time::timeout(Duration::from_millis(500), call).await {
            Ok(sent) => sent,
            Err(_) => return notice::log(Warning::InitErrorNotPosted, Data::error(&"no response within 500 ms")),
        }
    } else {
        call.await
    };
    match sent {
        Ok(reply) if reply.parts.status.is_success() => {}
        Ok(reply) => notice::log(Warning::InitErrorNotPosted, Data::error(&format_args!("status {}", reply.parts.status))),
        Err(failure) => notice::log(Warning::InitErrorNotPosted, Data::error(&failure)),
    }
}
