//! Reads an event's headers, so that an invalid one never fails the invocation.

use super::fault::Faults;
use crate::{environment::variable, headers::first};
use http::{HeaderMap, HeaderValue};
use lambda_runtime::{Config, Context};
use serde::de::DeserializeOwned;
use std::{borrow::Cow, sync::Arc};

const REQUEST_ID: &str = "lambda-runtime-aws-request-id";
const DEADLINE: &str = "lambda-runtime-deadline-ms";
const FUNCTION_ARN: &str = "lambda-runtime-invoked-function-arn";
const TRACE_ID: &str = "lambda-runtime-trace-id";
const CLIENT_CONTEXT: &str = "lambda-runtime-client-context";
const IDENTITY: &str = "lambda-runtime-cognito-identity";
const TENANT_ID: &str = "lambda-runtime-aws-tenant-id";
pub(super) const INVOCATION_ID: &str = "lambda-runtime-invocation-id";

/// The ids that a response to an event must name.
#[derive(Clone, Debug)]
pub(super) struct Ids {
    pub(super) request_id: HeaderValue,
    /// Sent back unchanged, because Lambda refuses a response to an attempt that is over.
    pub(super) invocation_id: Option<HeaderValue>,
}

impl Ids {
    /// `None` for an event without a request id, to which no response is possible.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let request_id = copied(first(headers, REQUEST_ID).filter(|id| !id.is_empty())?);
        Some(Self { request_id, invocation_id: first(headers, INVOCATION_ID).map(copied) })
    }
}

/// A value with memory that is only its own. The headers of an event are parts of the connection's buffer, and a part that lives
/// until the response was posted would make the connection allocate another one, of 8 KB.
fn copied(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

/// The function, as its variables describe it.
pub(super) fn config() -> Arc<Config> {
    let text = |name| variable(name).unwrap_or_default();
    Arc::new(Config {
        function_name: text("AWS_LAMBDA_FUNCTION_NAME"),
        memory: text("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").parse().unwrap_or_default(),
        version: text("AWS_LAMBDA_FUNCTION_VERSION"),
        log_stream: text("AWS_LAMBDA_LOG_STREAM_NAME"),
        log_group: text("AWS_LAMBDA_LOG_GROUP_NAME"),
    })
}

/// The handler's context. An invalid header counts as missing, and is still in the raw headers.
pub(super) fn context(headers: &HeaderMap, ids: &Ids, config: &Arc<Config>, faults: &Faults) -> Context {
    let mut context = Context::default();
    context.env_config = Arc::clone(config);
    context.request_id = text(&ids.request_id).into_owned();
    context.deadline = deadline(headers, faults);
    context.invoked_function_arn = first(headers, FUNCTION_ARN).map(text).unwrap_or_default().into_owned();
    context.xray_trace_id = first(headers, TRACE_ID).map(|id| text(id).into_owned());
    context.tenant_id = first(headers, TENANT_ID).map(|id| text(id).into_owned());
    context.client_context = json(headers, CLIENT_CONTEXT, faults);
    context.identity = json(headers, IDENTITY, faults);
    context
}

fn text(value: &HeaderValue) -> Cow<'_, str> {
    // Nearly always valid, which the fast check finds out.
    std::str::from_utf8(value.as_bytes()).map_or_else(|_| String::from_utf8_lossy(value.as_bytes()), Cow::Borrowed)
}

/// 0 means no deadline.
fn deadline(headers: &HeaderMap, faults: &Faults) -> u64 {
    let Some(value) = first(headers, DEADLINE) else {
        faults.header_ignored(DEADLINE, format_args!("it is missing; the invocation has no deadline"));
        return 0;
    };
    value.to_str().ok().and_then(|text| text.trim().parse().ok()).unwrap_or_else(|| {
        faults
            .header_ignored(DEADLINE, format_args!("{value:?} is not a number of milliseconds; the invocation has no deadline"));
        0
    })
}

/// Parses a header that the caller sets. Its content may be confidential, so only the position of the error is logged.
fn json<T: DeserializeOwned>(headers: &HeaderMap, name: &'static str, faults: &Faults) -> Option<T> {
    let value = first(headers, name).filter(|value| !value.is_empty())?;
    serde_json::from_slice(value.as_bytes())
        .inspect_err(|error| {
            let what = if error.is_data() { "its JSON does not have the expected form" } else { "it is not JSON" };
            faults
                .header_ignored(name, format_args!("{what} (column {}); the handler's context does not have it", error.column()));
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &[u8])]) -> Context {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("id"));
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_bytes(value).expect("a header"));
        }
        let ids = Ids::of(&headers).expect("an id");
        context(&headers, &ids, &config(), &Faults::default())
    }

    #[test]
    fn what_lambda_sends_is_in_the_context() {
        let context = read(&[
            (DEADLINE, b"1542409706888"),
            (FUNCTION_ARN, b"arn:aws:lambda:eu-west-1:1:function:f"),
            (TRACE_ID, b"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=1"),
            (CLIENT_CONTEXT, br#"{"custom":{"a":"b"},"environment":{}}"#),
            (IDENTITY, br#"{"cognitoIdentityId":"i","cognitoIdentityPoolId":"p"}"#),
            (TENANT_ID, b"tenant-1"),
        ]);
        assert_eq!(context.request_id, "id");
        assert_eq!(context.deadline, 1_542_409_706_888);
        assert_eq!(context.invoked_function_arn, "arn:aws:lambda:eu-west-1:1:function:f");
        assert!(context.xray_trace_id.is_some_and(|id| id.ends_with("Sampled=1")));
        assert_eq!(context.tenant_id.as_deref(), Some("tenant-1"));
        assert!(context.client_context.is_some_and(|client| client.custom["a"] == "b"));
        assert_eq!(context.identity.map(|identity| identity.identity_pool_id).as_deref(), Some("p"));
    }

    #[test]
    fn no_header_costs_the_invocation() {
        for odd in [
            &br#"{"custom":{"n":1}}"#[..],
            br#"{"custom":{"_tracer":{"id":"1"}}}"#,
            br#"{"custom":null}"#,
            br#"{"client":{}}"#,
            b"null",
            b"warm",
            b"",
            b"\xff\xfe",
            b"[1,2",
        ] {
            let context = read(&[(CLIENT_CONTEXT, odd), (IDENTITY, odd), (DEADLINE, odd), (FUNCTION_ARN, odd), (TENANT_ID, odd)]);
            assert_eq!((context.request_id.as_str(), context.deadline), ("id", 0));
            assert!(context.client_context.is_none() && context.identity.is_none(), "{context:?}");
        }
        assert!(read(&[(CLIENT_CONTEXT, br#"{"testing":123}"#)]).client_context.is_some());
        assert!(
            read(&[(CLIENT_CONTEXT, "{\"custom\":{\"a\":\"ü\"}}".as_bytes())])
                .client_context
                .is_some_and(|c| c.custom["a"] == "ü")
        );
    }

    #[test]
    fn an_absurd_deadline_is_none_or_as_it_came() {
        for (value, deadline) in
            [("0", 0), ("-1", 0), ("soon", 0), (" 7 ", 7), ("600000", 600_000), ("18446744073709551615", u64::MAX), ("1e9", 0)]
        {
            assert_eq!(read(&[(DEADLINE, value.as_bytes())]).deadline, deadline, "{value}");
        }
        assert_eq!(read(&[]).deadline, 0);
    }

    #[test]
    fn ids_do_not_keep_the_buffer_of_their_event() {
        let mut headers = HeaderMap::new();
        let buffer = bytes::Bytes::from("8476a536".to_owned());
        headers.insert(REQUEST_ID, HeaderValue::from_maybe_shared(buffer.clone()).expect("a header"));
        let ids = Ids::of(&headers).expect("an id");
        drop(headers);
        assert_eq!(ids.request_id, "8476a536");
        assert!(buffer.is_unique());
    }

    #[test]
    fn without_a_request_id_there_is_no_event() {
        let mut headers = HeaderMap::new();
        assert!(Ids::of(&headers).is_none());
        headers.insert(REQUEST_ID, HeaderValue::from_static(""));
        assert!(Ids::of(&headers).is_none());
    }
}
