//! Calls that go out: one span for every call of every AWS SDK client, and the trace header from that very span.
//!
//! By itself the SDK sends the header of the environment, whose parent is the function's segment and not the call, and under
//! concurrency it sends none. With the interceptor the queue's node, and the worker's trace behind it, hang on the call that sent
//! the message:
//!
//! ```no_run
//! use lambda_lifecycle::aws_sdk::TraceInterceptor;
//!
//! # async fn client() -> aws_sdk_sqs::Client {
//! let config = aws_config::load_from_env().await;
//! let config = aws_sdk_sqs::config::Builder::from(&config).interceptor(TraceInterceptor::new()).build();
//! aws_sdk_sqs::Client::from_conf(config)
//! # }
//! ```
//!
//! The span says which service, operation and region, the request id, the HTTP status, the retries, the error with the code the
//! service gave it, and what was worked on: queue, topic, table, bucket, stream, event bus or function. The error's message is recorded only where
//! [`Builder::aws_error_messages`](crate::Builder::aws_error_messages) asks for it: services repeat in it what they were sent. A call may take no longer
//! than its invocation has: it fails with a timeout at the moment the token is cancelled, so that the handler can still answer. A call
//! that is dropped ends as cancelled.
//!
//! # All clients at once
//!
//! An `SdkConfig` has no list of interceptors, but it has the HTTP client that all clients share. [`traced`] wraps that one:
//!
//! ```no_run
//! use aws_smithy_http_client::{Builder, tls::{Provider, rustls_provider::CryptoMode}};
//! use lambda_lifecycle::aws_sdk::traced;
//!
//! # async fn clients() {
//! let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
//! let config = aws_config::from_env().http_client(traced(https)).load().await;
//! let queues = aws_sdk_sqs::Client::new(&config);
//! let topics = aws_sdk_sns::Client::new(&config);
//! # }
//! ```
//!
//! It sees requests and the heads of responses, not calls: a span for each attempt, an error's code only where a header has it, and
//! no bound on the call's time. A client that has the interceptor too gets its spans from there alone.
//!
//! # Messages of several traces in one call
//!
//! The header of a call counts for all its messages. Where they belong to different traces, each entry names its own: take
//! [`Invocation::trace_header`](crate::Invocation::trace_header) where the message is made, and give it to the entry.
//!
//! ```
//! use aws_sdk_sqs::types::{
//!     MessageSystemAttributeNameForSends::AwsTraceHeader, MessageSystemAttributeValue, SendMessageBatchRequestEntry,
//! };
//! use lambda_lifecycle::{aws_sdk::trace_header_value, xray::TraceHeader};
//! # let header = TraceHeader::parse("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
//!
//! let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace_header_value(&header)).build()?;
//! let entry = SendMessageBatchRequestEntry::builder().id("1").message_body("{}").message_system_attributes(AwsTraceHeader, value);
//!
//! // EventBridge has a field for it.
//! let event = aws_sdk_eventbridge::types::PutEventsRequestEntry::builder().trace_header(trace_header_value(&header));
//! # Ok::<(), aws_sdk_sqs::error::BuildError>(())
//! ```

mod config;
mod connect;
mod error;
mod http_client;
mod https;
mod interceptor;
mod resources;
mod roots;

pub use aws_config;
pub use config::{config, loader};
pub use connect::{ConnectOnly, connect};
pub use http_client::traced;
pub use https::HttpsClient;
pub use interceptor::TraceInterceptor;
pub use roots::{Roots, RootsError};

use crate::{trace::ClientSpan, xray::TraceHeader};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use opentelemetry::{
    KeyValue,
    trace::{Span as _, Status},
};

/// The longest `TraceHeader` that EventBridge takes.
const LONGEST_HEADER: usize = 500;

/// The value of SQS's `AWSTraceHeader` and EventBridge's `TraceHeader`: `header`, or if that is longer than the 500 characters that
/// EventBridge takes, the part of it that X-Ray needs.
pub fn trace_header_value(header: &TraceHeader) -> String {
    let value = header.to_string();
    match header.root() {
        Some(root) if value.len() > LONGEST_HEADER => TraceHeader::new(root, header.parent(), header.sampled()).to_string(),
        _ => value,
    }
}

fn describe_response(span: &mut ClientSpan, response: &HttpResponse) {
    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(response.status().as_u16())));
    let header = |name: &str| response.headers().get(name).map(str::to_owned);
    if let Some(id) = header("x-amzn-requestid").or_else(|| header("x-amz-request-id")) {
        span.set_attribute(KeyValue::new("aws.request_id", id));
    }
    if let Some(id) = header("x-amz-id-2") {
        span.set_attribute(KeyValue::new("aws.extended_request_id", id));
    }
}

fn fail(span: &mut ClientSpan, error: error::CallError) {
    let error::CallError { code, message } = error;
    span.set_attribute(KeyValue::new("aws.error.code", code.clone()));
    let exception = match message {
        Some(message) => crate::trace::exception(code.clone(), message),
        None => vec![KeyValue::new("exception.type", code.clone())],
    };
    span.add_event("exception", exception);
    span.set_status(Status::error(code));
}
