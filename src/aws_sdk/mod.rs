//! Clients of the AWS SDK: their configuration on Lambda, connections that are opened before the first invocation, and a span for
//! each call.
//!
//! ```no_run
//! use lambda_lifecycle::{Error, Lifecycle, aws_sdk::{self, ConnectOnly}};
//!
//! # async fn main_() -> Result<(), Error> {
//! let life = Lifecycle::from_env();
//! let queues = aws_sdk_sqs::Client::new(&aws_sdk::config().await);
//! life.init("queues", aws_sdk::connect(queues.list_queues().customize().interceptor(ConnectOnly).send())).await?;
//! # Ok(()) }
//! ```
//!
//! The first call of a function is its most expensive: the SDK's default cryptography initializes itself, certificates are read,
//! a name is resolved, and TLS performs its handshake. The caller waits for all that, at the CPU share of a small function. Here
//! the cryptography is ring, and the rest happens in the Init phase, at full speed. `docs/fast-cold-start.md` is a step-by-step
//! guide.
//!
//! # Configuration
//!
//! [`config`] returns an `SdkConfig` for all clients. [`loader`] lets you change settings first. Both use `aws_config`, with the
//! parts that Lambda needs:
//!
//! | setting | source |
//! |---|---|
//! | region | `AWS_REGION`, or else `AWS_DEFAULT_REGION`; if neither is set, as on a developer's machine, a profile |
//! | credentials | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` |
//! | credentials under SnapStart, and in containers | `AWS_CONTAINER_CREDENTIALS_FULL_URI` or `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`, with `AWS_CONTAINER_AUTHORIZATION_TOKEN` or `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`; never through a proxy |
//! | endpoints | `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>`, `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`, `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT` |
//! | retries | `AWS_MAX_ATTEMPTS`, `AWS_RETRY_MODE` |
//! | other settings that `aws_config` reads from variables | those variables |
//! | root certificates and proxies | the variables of [`HttpsClient`] |
//! | HTTP client | [`HttpsClient`], with the spans and the time limit of [`traced`] |
//! | behavior version, timeouts, defaults of retries | the SDK |
//!
//! Profile files, instance metadata and STS are used in two cases only: if `AWS_PROFILE`, `AWS_CONFIG_FILE`,
//! `AWS_SHARED_CREDENTIALS_FILE` or `AWS_WEB_IDENTITY_TOKEN_FILE` is set, or if the environment has no credentials. `aws_config`
//! then loads the credentials from all its sources. Sources that are features of `aws_config`, such as `sso`, are available if
//! you enable them in your own dependency on it. ring is not validated for FIPS: if you need that, set `loader().http_client(..)`
//! to your own client.
//!
//! A missing region, missing credentials, invalid numbers of retries, an endpoint that is not a URL, an invalid proxy and an
//! invalid bundle of certificates are logged once, as a warning that names the variable. Call
//! [`Lifecycle::from_env`](crate::Lifecycle::from_env) first, so that there is a log.
//!
//! # Connections
//!
//! [`connect`] opens a connection in the Init phase. The first call then makes no handshake.
//!
//! A connection may be closed while the environment is frozen. The client does not reuse a connection that was idle for 50
//! seconds. If the service has closed a connection, the SDK replaces it without a failed attempt. If a gateway forgets
//! connections earlier, drop them in the hook, and open new ones while the handler starts:
//!
//! ```no_run
//! use lambda_lifecycle::{Lifecycle, aws_sdk::{self, ConnectOnly, HttpsClient}};
//! use std::{sync::{Arc, OnceLock}, time::Duration};
//!
//! # async fn main_() {
//! let https = HttpsClient::from_env();
//! let client = Arc::new(OnceLock::<aws_sdk_sqs::Client>::new());
//! let (thawed, queues) = (https.clone(), Arc::clone(&client));
//! let life = Lifecycle::builder()
//!     .on_thaw(Duration::from_secs(20), move |_slept| {
//!         thawed.drop_connections();
//!         if let Some(queues) = queues.get().cloned() {
//!             tokio::spawn(async move {
//!                 aws_sdk::connect(queues.list_queues().customize().interceptor(ConnectOnly).send()).await
//!             });
//!         }
//!     })
//!     .build();
//! let _ = client.set(aws_sdk_sqs::Client::new(&https.loader().load().await));
//! # }
//! ```
//!
//! # Spans
//!
//! The SDK itself sends the trace header of the environment, whose parent is the function's segment and not the call. With
//! concurrent invocations it sends none. Clients of [`config`] record a span for each attempt of a call and send its header. So
//! the queue's node, and the worker's trace after it, are children of the call that sent the message. An attempt is limited by
//! its invocation: when the token is cancelled, it fails with [`DeadlineExceeded`](crate::DeadlineExceeded), so that the handler
//! can still respond.
//!
//! [`TraceInterceptor`] records more, because it sees whole calls: one span over all attempts, the error's code if the body has
//! it, and a limit on the call's total time. An `SdkConfig` has no list of interceptors, so add it to each client:
//!
//! ```no_run
//! use lambda_lifecycle::aws_sdk::{self, TraceInterceptor};
//!
//! # async fn client() -> aws_sdk_sqs::Client {
//! let config = aws_sdk_sqs::config::Builder::from(&aws_sdk::config().await).interceptor(TraceInterceptor::new()).build();
//! aws_sdk_sqs::Client::from_conf(config)
//! # }
//! ```
//!
//! Such clients get their spans only from the interceptor. With your own HTTP client, [`traced`] records the attempts of all
//! clients that share it:
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
//! A span has the service, the operation and the region, the request id, the HTTP status, the retries, the error with the
//! service's code, and the resource: queue, topic, table, bucket, stream, event bus or function. The error's message is recorded
//! only if [`Builder::aws_error_messages`](crate::Builder::aws_error_messages) asks for it, because services repeat request data
//! in it. A call that is dropped ends as cancelled.
//!
//! # Many messages in one invocation
//!
//! X-Ray shows 100 links of a trace, and a trace with more may be incomplete. So only the first 100 calls of an invocation that send messages
//! carry a sampled trace; [`Builder::trace_sends`](crate::Builder::trace_sends) sets another limit. Further calls are recorded and carry `Sampled=0`.
//!
//! # Messages of several traces in one call
//!
//! A call's header applies to all its messages. If they belong to different traces, each entry can have its own: call
//! [`Invocation::trace_header`](crate::Invocation::trace_header) where the message is created, and add the value to the entry.
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

mod carry;
mod config;
mod connect;
mod error;
mod http_client;
mod https;
mod interceptor;
mod resources;
mod roots;

pub use config::{config, loader};
pub use connect::{ConnectOnly, connect};
pub use http_client::traced;
pub use https::HttpsClient;
pub use interceptor::TraceInterceptor;
pub use roots::{Roots, RootsError};

use crate::{
    Invocation,
    notice::{self, Data, Warning},
    trace::{self, ClientSpan},
    xray::{Sampled, TraceHeader},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanContext, SpanId, Status},
};
use std::sync::Once;

/// The longest `TraceHeader` that EventBridge accepts.
const LONGEST_HEADER: usize = 500;

/// The value of SQS's `AWSTraceHeader` and EventBridge's `TraceHeader`: `header`, or if that is longer than the 500 characters
/// that EventBridge accepts, the part of it that X-Ray needs.
pub fn trace_header_value(header: &TraceHeader) -> String {
    let value = header.to_string();
    match header.root() {
        Some(root) if value.len() > LONGEST_HEADER => TraceHeader::new(root, header.parent(), header.sampled()).to_string(),
        _ => value,
    }
}

/// Compiles the code of the page.
#[cfg(doctest)]
#[doc = include_str!("../../docs/fast-cold-start.md")]
struct FastColdStart;

/// X-Ray's header of a call. If X-Ray's is not among the propagators, Lambda's header is sent on unchanged. With its Lineage,
/// Lambda stops functions that call each other in a loop.
fn header_of_call(invocation: &Invocation, call: Option<&ClientSpan>) -> TraceHeader {
    if invocation.shared().settings.propagators().xray {
        trace::outgoing_header(invocation, call.map(ClientSpan::context))
    } else {
        invocation.received_header().clone()
    }
}

/// Operations that send messages: PRODUCER in OpenTelemetry's terms.
const SENDS: [&str; 6] = ["SendMessage", "SendMessageBatch", "Publish", "PublishBatch", "PutEvents", "PutRecords"];

/// True for an operation that sends messages.
fn sends(operation: &str) -> bool {
    SENDS.contains(&operation)
}

/// False if the invocation has made as many calls that send messages as may be sampled.
fn may_sample(invocation: &Invocation, retry: bool) -> bool {
    static LOGGED: Once = Once::new();
    let admitted = invocation.notes().sends.admit(invocation.shared().settings.trace_sends, retry);
    if !admitted {
        LOGGED.call_once(|| notice::log(Warning::SendsNotSampled, Data::default()));
    }
    admitted
}

/// The caller, as the headers of a call name it.
struct Outgoing {
    header: TraceHeader,
    /// For W3C's fields.
    caller: SpanContext,
}

/// What goes with a call that has a span. Of calls that send messages only so many carry a sampled trace.
fn outgoing(invocation: &Invocation, span: &ClientSpan, operation: &str, retry: bool) -> Outgoing {
    let header = header_of_call(invocation, Some(span));
    let caller = span.context().clone();
    if !sends(operation) || header.sampled() != Sampled::Yes || may_sample(invocation, retry) {
        return Outgoing { header, caller };
    }
    let header = header.with_parent(header.parent().unwrap_or(SpanId::INVALID), Sampled::No);
    if invocation.wanted().exporters {
        return Outgoing { header, caller };
    }
    let flags = caller.trace_flags().with_sampled(false);
    let caller = SpanContext::new(caller.trace_id(), caller.span_id(), flags, false, caller.trace_state().clone());
    Outgoing { header, caller }
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
