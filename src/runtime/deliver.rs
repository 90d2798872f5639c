//! Posts the outcome of an invocation, and records the result of the post.

use super::{
    Shared,
    event::{INVOCATION_ID, Ids},
    fault::{Fault, Pause},
    response_state::ResponseState,
};
use crate::{
    Invocation, Outcome,
    notice::{self, Data, Warning},
    runtime_api::{
        Body, Connection, Failure, Progress, Reply,
        diagnostic::{self, ERROR_BODY, ERROR_CAUSE, ERROR_TYPE},
    },
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, StatusCode};
use lambda_runtime::Diagnostic;
use std::sync::Arc;

/// A whole response is sent again when its connection breaks. Lambda accepts the first one that arrives.
const ATTEMPTS: u32 = 5;

/// The post that ends an invocation.
pub(super) enum Post {
    Response(Bytes),
    Streamed {
        body: Body,
        progress: Arc<Progress>,
    },
    /// [Redacted](Shared::redacted).
    Error(Diagnostic),
}

/// The result of a post.
#[derive(Debug)]
pub(super) enum Delivery {
    Accepted,
    Refused { status: StatusCode, reason: String },
    Broken { reason: String },
}

/// Posts, and records on the invocation if the caller did not get the response.
pub(super) async fn deliver(shared: &Shared, ids: &Ids, state: &ResponseState, post: Post) {
    let posting = state.begin();
    let is_error = matches!(post, Post::Error(_));
    // The connection lives until the outcome is known. It owns the user's stream, and dropping that would look like the cause.
    let (delivery, connection) = match post {
        Post::Response(body) => {
            let uri = shared.client.endpoint.invocation(ids.request_id.as_bytes(), "response");
            whole(shared, || shared.client.post(uri.clone(), &[], Body::Whole(body.clone())), ids).await
        }
        Post::Error(diagnostic) => {
            let diagnostic = diagnostic::bounded(diagnostic);
            let body = Bytes::from(serde_json::to_vec(&diagnostic).unwrap_or_default());
            let mut headers = vec![(ERROR_TYPE, diagnostic::header_value(&diagnostic.error_type))];
            headers.extend(diagnostic::xray_cause(&diagnostic).map(|cause| (ERROR_CAUSE, cause)));
            let uri = shared.client.endpoint.invocation(ids.request_id.as_bytes(), "error");
            whole(shared, || shared.client.post(uri.clone(), &headers, Body::Whole(body.clone())), ids).await
        }
        Post::Streamed { body, progress } => streamed(shared, ids, body, &progress).await,
    };
    if let Some(outcome) = outcome(&delivery) {
        conclude(outcome, is_error);
    }
    posting.conclude();
    drop(connection);
}

type Kept = Option<Box<dyn Send>>;

async fn whole(shared: &Shared, make: impl Fn() -> Request<Body>, ids: &Ids) -> (Delivery, Kept) {
    let mut pause = Pause::default();
    let mut broken: Option<String> = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            pause.wait().await;
        }
        let (ended, connection) = shared.client.send(with_invocation_id(make(), ids), false, None).await;
        match ended {
            Ok(reply) => {
                if let Some(connection) = connection {
                    shared.client.keep(connection);
                }
                return (judge(&reply, broken), None);
            }
            // The status decides, even if the rest of the response is lost.
            Err(Failure::BodyBroken(parts, _) | Failure::BodyStalled(parts)) => {
                return (judge(&Reply { parts: *parts, body: Bytes::new() }, broken), None);
            }
            Err(failure) => {
                shared.faults.report(Fault::of(&failure), "response", format_args!("{failure}"));
                broken = Some(failure.to_string());
            }
        }
    }
    (Delivery::Broken { reason: broken.unwrap_or_default() }, None)
}

async fn streamed(shared: &Shared, ids: &Ids, body: Body, progress: &Progress) -> (Delivery, Kept) {
    let uri = shared.client.endpoint.invocation(ids.request_id.as_bytes(), "response");
    let headers = [
        ("transfer-encoding", HeaderValue::from_static("chunked")),
        ("lambda-runtime-function-response-mode", HeaderValue::from_static("streaming")),
        // See https://docs.aws.amazon.com/lambda/latest/dg/runtimes-custom.html#runtimes-custom-response-streaming
        ("trailer", HeaderValue::from_static("Lambda-Runtime-Function-Error-Type")),
        ("trailer", HeaderValue::from_static("Lambda-Runtime-Function-Error-Body")),
        ("content-type", HeaderValue::from_static("application/vnd.awslambda.http-integration-response")),
    ];
    debug_assert!([ERROR_TYPE, ERROR_BODY].iter().all(|name| name.starts_with("lambda-runtime-function-error")));
    let mut request = with_invocation_id(shared.client.post(uri, &headers, body), ids);
    let mut pause = Pause::default();
    let mut attempt = 0;
    loop {
        let (ended, connection) = shared.client.send(request, false, Some(progress)).await;
        attempt += 1;
        let failure = match ended {
            Ok(reply) => {
                let delivery = judge(&reply, None);
                return match connection {
                    Some(connection) if matches!(delivery, Delivery::Accepted) => finished(shared, connection, progress).await,
                    // The Runtime API responded early, so the rest of the stream is not needed.
                    connection => (delivery, connection.map(kept)),
                };
            }
            Err(Failure::BodyBroken(parts, _) | Failure::BodyStalled(parts))
                if progress.has_ended() || !parts.status.is_success() =>
            {
                return (judge(&Reply { parts: *parts, body: Bytes::new() }, None), connection.map(kept));
            }
            Err(failure) => failure,
        };
        let reason = failure.to_string();
        shared.faults.report(Fault::of(&failure), "response", format_args!("{reason}"));
        match failure {
            // A stream can be sent again only if none of it was sent.
            Failure::NotSent(unsent) | Failure::Unreachable(unsent, _) if attempt < ATTEMPTS => request = *unsent,
            _ => return (Delivery::Broken { reason }, connection.map(kept)),
        }
        pause.wait().await;
    }
}

fn kept(connection: Connection) -> Box<dyn Send> {
    Box::new(connection)
}

/// An accepted stream. The Runtime API may have responded before its end.
async fn finished(shared: &Shared, mut connection: Connection, progress: &Progress) -> (Delivery, Kept) {
    let reason = match connection.finish(progress).await {
        Ok(true) => {
            shared.client.keep(connection);
            return (Delivery::Accepted, None);
        }
        Ok(false) if progress.has_ended() => return (Delivery::Accepted, None),
        Ok(false) => "the connection was closed before the end of the stream".to_owned(),
        Err(failure) => failure.to_string(),
    };
    (Delivery::Broken { reason }, Some(kept(connection)))
}

fn with_invocation_id(mut request: Request<Body>, ids: &Ids) -> Request<Body> {
    if let Some(id) = &ids.invocation_id {
        request.headers_mut().insert(HeaderName::from_static(INVOCATION_ID), id.clone());
    }
    request
}

/// The result of a post, from the Runtime API's response. An earlier attempt may have arrived.
fn judge(reply: &Reply, broken: Option<String>) -> Delivery {
    let status = reply.parts.status;
    if status.is_success() {
        return Delivery::Accepted;
    }
    let reason = reason(&reply.body);
    match broken {
        Some(broken) if !matches!(status, StatusCode::GONE | StatusCode::PAYLOAD_TOO_LARGE) => {
            Delivery::Broken { reason: format!("{broken}; sent again it was refused with status {status}: {reason}") }
        }
        _ => Delivery::Refused { status, reason },
    }
}

/// The reason that the Runtime API gives for a refusal.
pub(super) fn reason(body: &[u8]) -> String {
    let error = serde_json::from_slice::<Diagnostic>(body);
    error.map_or_else(
        |_| String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned(),
        |error| format!("{} ({})", error.error_message, error.error_type),
    )
}

fn outcome(delivery: &Delivery) -> Option<Outcome> {
    let diagnostic = |kind: &str, error_message| Diagnostic { error_type: format!("Lifecycle.{kind}"), error_message };
    Some(match delivery {
        Delivery::Accepted => return None,
        Delivery::Refused { status: StatusCode::PAYLOAD_TOO_LARGE, reason } => {
            Outcome::TooLarge(diagnostic("ResponseTooLarge", format!("Lambda refused the response with status 413: {reason}")))
        }
        Delivery::Refused { status: StatusCode::GONE, reason } => Outcome::Late(diagnostic(
            "LateResponse",
            format!("the response came after the function's timeout, the caller has an error instead: {reason}"),
        )),
        Delivery::Refused { status, reason } => {
            Outcome::Refused(diagnostic("ResponseRefused", format!("Lambda refused the response with status {status}: {reason}")))
        }
        Delivery::Broken { reason } => {
            Outcome::Undelivered(diagnostic("ResponseUndelivered", format!("the response could not be delivered: {reason}")))
        }
    })
}

fn conclude(outcome: Outcome, is_error: bool) {
    let invocation = Invocation::try_current();
    let message = outcome.diagnostic().map(|diagnostic| diagnostic.error_message.clone()).unwrap_or_default();
    let (name, kind) = (outcome.as_str(), outcome.diagnostic().map(|diagnostic| diagnostic.error_type.clone()));
    let counts = !is_error && invocation.as_ref().is_none_or(|invocation| invocation.set_undelivered(outcome));
    if counts {
        if let Some(invocation) = &invocation {
            invocation.release_lines();
        }
        let data = Data { outcome: Some(name), error_type: kind.as_deref(), ..Data::error(&message) };
        notice::log(Warning::InvocationFailed, data);
    } else {
        // The reason for the failure is already logged, and remains the outcome.
        notice::log(Warning::ErrorUndelivered, Data::error(&message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        assert_eq!(
            reason(br#"{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}"#),
            "Invalid request ID (InvalidRequestID)"
        );
        assert_eq!(reason(b"<html>no</html>"), "<html>no</html>");
        assert_eq!(reason(&[0xff; 1_000]).chars().count(), 200);
    }
}
