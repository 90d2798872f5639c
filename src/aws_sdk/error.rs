//! What a service said was wrong, in the ways that services say it.

use aws_smithy_runtime_api::client::{
    interceptors::context::Error,
    orchestrator::{HttpResponse, OrchestratorError},
};
use std::error::Error as _;

/// Bytes of an answer in which its error is looked for.
const LOOK: usize = 64 * 1024;

/// Code and message of an error in a response, by AWS's protocols: a header or `__type` in JSON, `<Code>` in XML.
pub(super) fn of_response(response: &HttpResponse) -> Option<(String, String)> {
    if response.status().is_success() {
        return None;
    }
    let body = response.body().bytes().map(|body| String::from_utf8_lossy(&body[..body.len().min(LOOK)])).unwrap_or_default();
    let (code, message) = if body.trim_start().starts_with('<') { of_xml(&body) } else { of_json(&body) };
    let header = ["x-amzn-errortype", "x-amzn-query-error"].into_iter().find_map(|name| response.headers().get(name));
    let code = header.map(str::to_owned).or(code)?;
    Some((bare(&code).to_owned(), message.unwrap_or_default()))
}

/// An error that no service sent: the kind of it, and what it says.
pub(super) fn of_failure(failure: &OrchestratorError<Error>) -> (String, String) {
    let kind = if failure.is_timeout_error() {
        "TimeoutError"
    } else if failure.is_connector_error() {
        "DispatchFailure"
    } else if failure.is_response_error() {
        "ResponseError"
    } else if failure.is_interceptor_error() {
        "ConstructionFailure"
    } else {
        "SdkError"
    };
    let mut message = failure.to_string();
    let mut source = failure.source();
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    (kind.to_owned(), message)
}

/// `com.amazonaws.sqs#QueueDoesNotExist:http://…` and `AWS.SimpleQueueService.NonExistentQueue;Sender` without what is around it.
fn bare(code: &str) -> &str {
    let code = code.split([';', ':']).next().unwrap_or(code);
    code.rsplit('#').next().unwrap_or(code).trim()
}

fn of_json(body: &str) -> (Option<String>, Option<String>) {
    #[derive(serde::Deserialize)]
    struct Told {
        #[serde(rename = "__type", alias = "code", alias = "Code")]
        code: Option<String>,
        #[serde(alias = "Message", alias = "errorMessage")]
        message: Option<String>,
    }
    serde_json::from_str::<Told>(body).map_or((None, None), |told| (told.code, told.message))
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
            assert_eq!(of_response(&response(header, body)), Some((code.to_owned(), message.to_owned())), "{body}");
        }
        assert_eq!(of_response(&response(None, "<html>502</html>")), None);
        assert_eq!(of_response(&response(None, "")), None);
    }
}
