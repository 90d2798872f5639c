//! The error in a service's response, in the formats that services use.

use aws_smithy_runtime_api::client::{
    interceptors::context::Error,
    orchestrator::{HttpResponse, OrchestratorError},
};
use std::error::Error as _;

/// The bytes of a response that are searched for its error.
const LOOK: usize = 64 * 1024;

/// The longest code that is recorded. AWS's own codes have at most about sixty characters.
const LONGEST_CODE: usize = 128;

/// The error in the form that a span shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CallError {
    /// The service's code, or the kind of failure if no service responded.
    pub(super) code: String,
    /// The part of the message that may be recorded.
    pub(super) message: Option<String>,
}

/// The error in a response, by AWS's protocols: a header or `__type` in JSON, `<Code>` in XML. Its message is included only with
/// `messages`, because a service may repeat request data in it.
/// may repeat in it what was sent.
pub(super) fn of_response(response: &HttpResponse, messages: bool) -> Option<CallError> {
    if response.status().is_success() {
        return None;
    }
    let body = response.body().bytes().map(|body| String::from_utf8_lossy(&body[..body.len().min(LOOK)])).unwrap_or_default();
    let (code, message) = if body.trim_start().starts_with('<') { of_xml(&body) } else { of_json(&body) };
    let header = ["x-amzn-errortype", "x-amzn-query-error"].into_iter().find_map(|name| response.headers().get(name));
    let code = header.map(str::to_owned).or(code)?;
    let code = bare(&code);
    // A substitute for a service may repeat its input there too.
    let is_code = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let code = if code.len() <= LONGEST_CODE && code.bytes().all(is_code) && !code.is_empty() { code } else { "UnknownError" };
    Some(CallError { code: code.to_owned(), message: message.filter(|message| messages && !message.is_empty()) })
}

/// An error that no service sent: its kind, and its text if that comes from the connection and cannot contain data.
pub(super) fn of_failure(failure: &OrchestratorError<Error>, messages: bool) -> CallError {
    let (kind, of_connection) = if failure.is_timeout_error() {
        ("TimeoutError", true)
    } else if failure.is_connector_error() {
        ("DispatchFailure", true)
    } else if failure.is_response_error() {
        ("ResponseError", false)
    } else if failure.is_interceptor_error() {
        ("ConstructionFailure", false)
    } else {
        ("SdkError", false)
    };
    let message = (of_connection || messages).then(|| {
        let mut message = failure.to_string();
        let mut source = failure.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        message
    });
    CallError { code: kind.to_owned(), message }
}

/// The code in `com.amazonaws.sqs#QueueDoesNotExist:http://…` and `AWS.SimpleQueueService.NonExistentQueue;Sender`.
fn bare(code: &str) -> &str {
    let code = code.split([';', ':']).next().unwrap_or(code);
    code.rsplit('#').next().unwrap_or(code).trim()
}

fn of_json(body: &str) -> (Option<String>, Option<String>) {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(rename = "__type", alias = "code", alias = "Code")]
        code: Option<String>,
        #[serde(alias = "Message", alias = "errorMessage")]
        message: Option<String>,
    }
    serde_json::from_str::<Body>(body).map_or((None, None), |error| (error.code, error.message))
}

fn of_xml(body: &str) -> (Option<String>, Option<String>) {
    let element = |name: &str| {
        let (_, rest) = body.split_once(&format!("<{name}>"))?;
        let (text, _) = rest.split_once(&format!("</{name}>"))?;
        Some(text.to_owned())
    };
    (element("Code"), element("Message"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_runtime_api::http::StatusCode;
    use aws_smithy_types::body::SdkBody;

    fn response(header: Option<(&'static str, &'static str)>, body: &'static str) -> HttpResponse {
        let mut response = HttpResponse::new(StatusCode::try_from(400).expect("a status"), SdkBody::from(body));
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }

    #[test]
    fn every_protocols_error_is_read() {
        for (header, body, code, message) in [
            (None, r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"no queue"}"#, "QueueDoesNotExist", "no queue"),
            (None, r#"{"__type":"ThrottlingException","Message":"Rate exceeded"}"#, "ThrottlingException", "Rate exceeded"),
            (
                Some(("x-amzn-errortype", "TooManyRequestsException:http://internal.amazon.com/")),
                "{}",
                "TooManyRequestsException",
                "",
            ),
            (
                Some(("x-amzn-query-error", "AWS.SimpleQueueService.NonExistentQueue;Sender")),
                "{}",
                "AWS.SimpleQueueService.NonExistentQueue",
                "",
            ),
            (
                None,
                "<ErrorResponse><Error><Type>Sender</Type><Code>NotFound</Code><Message>no topic</Message></Error></ErrorResponse>",
                "NotFound",
                "no topic",
            ),
            (None, "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code></Error>", "SlowDown", ""),
        ] {
            let message = Some(message.to_owned()).filter(|message| !message.is_empty());
            let error = |message| Some(CallError { code: code.to_owned(), message });
            assert_eq!(of_response(&response(header, body), true), error(message), "{body}");
            assert_eq!(of_response(&response(header, body), false), error(None), "{body}");
        }
        assert_eq!(of_response(&response(None, "<html>502</html>"), true), None);
        assert_eq!(of_response(&response(None, ""), true), None);
    }

    #[test]
    fn a_code_that_is_none_is_not_recorded() {
        for body in [r#"{"__type":"no such card 4111"}"#, r#"{"code":"a/b"}"#, r#"{"code":""}"#, "<Code>SECRET SECRET</Code>"] {
            let error = of_response(&response(None, body), false).map(|error| error.code);
            assert_eq!(error.as_deref(), Some("UnknownError"), "{body}");
        }
    }
}
