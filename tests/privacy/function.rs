//! The functions under test, each as a user would write it.

use crate::support::function_main;
use axum::{Router, body::Bytes, routing::post};
use futures_util::Stream;
use lambda_lifecycle::{
    Error, Invocation, LambdaEvent, Lifecycle,
    aws_sdk::{TraceInterceptor, traced},
    dynamodb::{self, Change},
    http_client::TraceLayer,
    kafka, kinesis, service_fn,
    sqs::{self, Message},
    xray::Redaction,
};
use lambda_runtime::{Diagnostic, MetadataPrelude, StreamResponse};
use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, process::ExitCode, task::Poll};
use tokio::runtime::Builder;
use tower::{Layer, Service};
use tracing::info_span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The functions. `PROBE` names the one that a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Probe {
    /// Does what its events ask for.
    Value,
    /// Fails with an error whose type is marked.
    ErrorType,
    /// Streams its response.
    Stream,
    /// Takes events of a type that knows its fields.
    Typed,
    Http,
    Sqs,
    SqsWithGroups,
    Kinesis,
    DynamoDb,
    Kafka,
    InitFails,
    /// Fails with an error whose Rust type is marked.
    InitFailsWithType,
    InitPanics,
}

impl Probe {
    pub(crate) fn is_init(self) -> bool {
        matches!(self, Self::InitFails | Self::InitFailsWithType | Self::InitPanics)
    }
}

/// The request of an event or a message: each brings its text somewhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Do {
    Nothing,
    Fail,
    Panic,
    LogError,
    LogInfo,
    LogField,
    SpanField,
    SpanName,
    SpanEvent,
    SpanLink,
    SpanStatus,
    Annotate,
    /// Call AWS in JSON, with an interceptor.
    AwsJson,
    /// Call AWS in XML, with an interceptor.
    AwsXml,
    /// Call AWS in JSON, on a traced HTTP client.
    AwsJsonTraced,
    /// Call AWS in XML, on a traced HTTP client.
    AwsXmlTraced,
    /// Call the URL in the text, which fails.
    CallUrl,
    /// The same, and log the error.
    CallUrlAndLog,
    /// The same, and return the error.
    CallUrlAndReturn,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    #[serde(rename = "do")]
    pub(crate) act: Do,
    #[serde(default)]
    pub(crate) text: String,
}

pub(crate) fn main(probe: Probe) -> ExitCode {
    // As the documentation of `Builder::redact` says.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    function_main(Builder::new_current_thread(), run(probe))
}

async fn run(probe: Probe) -> Result<(), Error> {
    let builder = Lifecycle::builder().exporter(Printer);
    let builder = if std::env::var_os("REDACT").is_some() {
        builder
            .redact(|_, value| if value.contains("MARKED") { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep })
    } else {
        builder
    };
    let life = builder.build();
    let text = std::env::var("TEXT").unwrap_or_default();
    match probe {
        Probe::Value => life.run_concurrent(service_fn(value)).await,
        Probe::ErrorType => life.run_concurrent(service_fn(async |_: LambdaEvent<Value>| Err::<(), _>(typed()))).await,
        Probe::Stream => life.run_concurrent(service_fn(stream)).await,
        Probe::Typed => life.run_concurrent(service_fn(async |_: LambdaEvent<Order>| Ok::<_, Error>(()))).await,
        Probe::Http => life.serve(Router::new().route("/orders/{id}", post(async |_: Bytes| "done"))).await,
        Probe::Sqs => life.run_concurrent(sqs::batch(handle)).await,
        Probe::SqsWithGroups => life.run_concurrent(sqs::batch(handle).record_group_ids()).await,
        Probe::Kinesis => life.run_concurrent(kinesis::batch(async |_: kinesis::Record<Order>| Ok::<_, Error>(()))).await,
        Probe::DynamoDb => life.run_concurrent(dynamodb::batch(async |_: Change<Order>| Ok::<_, Error>(()))).await,
        Probe::Kafka => {
            let batch = kafka::batch(async |_: kafka::Record<Order>| Ok::<_, Error>(()));
            life.run_concurrent(batch.partial_responses()).await
        }
        Probe::InitFails => life.init("database", async { Err::<(), _>(text) }).await.map_err(Into::into),
        Probe::InitFailsWithType => life.init("database", async { Err::<(), _>(MARKEDInitTypeX) }).await.map_err(Into::into),
        Probe::InitPanics => life.init("database", async { panic_with::<Result<(), Error>>(&text) }).await.map_err(Into::into),
    }
}

fn panic_with<T>(text: &str) -> T {
    panic!("{text}")
}

async fn value(event: LambdaEvent<Asked>) -> Result<Value, Error> {
    let Asked { act, text } = event.payload;
    let span = info_span!("work");
    match act {
        Do::Nothing => {}
        Do::Fail => return Err(text.into()),
        Do::Panic => panic_with(&text),
        Do::LogError => span.in_scope(|| tracing::error!("no stock of {text}")),
        Do::LogInfo => tracing::info!("sold {text}"),
        Do::LogField => tracing::warn!(text, "sold"),
        Do::SpanField => info_span!("field", text).in_scope(|| ()),
        Do::SpanName => info_span!("name", "otel.name" = text).in_scope(|| ()),
        Do::SpanEvent => span.add_event("sold", vec![KeyValue::new("what", text)]),
        Do::SpanLink => {
            let other =
                SpanContext::new(TraceId::from(1_u128 << 96 | 1), SpanId::from(1), TraceFlags::SAMPLED, true, TraceState::NONE);
            span.add_link_with_attributes(other, vec![KeyValue::new("what", text)]);
        }
        Do::SpanStatus => span.set_status(Status::error(text)),
        Do::Annotate => Invocation::current().annotate("what", text),
        Do::CallUrl | Do::CallUrlAndLog | Do::CallUrlAndReturn => {
            // The text of reqwest's errors.
            let refused = |request: http::Request<()>| async move {
                let error = format!("error sending request for url ({})", request.uri());
                Err::<http::Response<()>, _>(std::io::Error::other(error))
            };
            let called = TraceLayer::new().layer(tower::service_fn(refused)).call(http::Request::get(&text).body(())?).await;
            if let Err(error) = called {
                match act {
                    Do::CallUrlAndLog => {
                        span.in_scope(|| tracing::error!(error = &error as &dyn std::error::Error, "refused: {error}"))
                    }
                    Do::CallUrlAndReturn => return Err(error.into()),
                    _ => {}
                }
            }
        }
        Do::AwsJson => call_aws(true, false, &text).await?,
        Do::AwsXml => call_aws(false, false, &text).await?,
        Do::AwsJsonTraced => call_aws(true, true, &text).await?,
        Do::AwsXmlTraced => call_aws(false, true, &text).await?,
    }
    Ok(json!("done"))
}

/// An error of an initializer whose type says too much.
#[derive(Debug, thiserror::Error)]
#[error("no database")]
struct MARKEDInitTypeX;

/// An error whose type says too much.
fn typed() -> Diagnostic {
    Diagnostic { error_type: "MARKED-error-type-x".to_owned(), error_message: "failed".to_owned() }
}

/// A stream that breaks off.
async fn stream(
    event: LambdaEvent<Asked>,
) -> Result<StreamResponse<impl Stream<Item = Result<Vec<u8>, Error>> + Unpin + Send + 'static>, Error> {
    let Asked { act, text } = event.payload;
    let stream = futures_util::stream::poll_fn(move |_| -> Poll<Option<Result<Vec<u8>, Error>>> {
        if act == Do::Panic {
            panic_with(&text)
        }
        Poll::Ready(Some(Err(text.clone().into())))
    });
    Ok(StreamResponse { metadata_prelude: MetadataPrelude::default(), stream })
}

/// Calls a service that refuses, and repeats what it was sent.
async fn call_aws(is_json: bool, is_traced: bool, text: &str) -> Result<(), Error> {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_config::from_env();
    let config = if is_traced { config.http_client(traced(http)) } else { config.http_client(http) }.load().await;
    let refused = if is_json {
        let client = aws_sdk_sqs::config::Builder::from(&config);
        let client = if is_traced { client } else { client.interceptor(TraceInterceptor::new()) }.build();
        let call =
            aws_sdk_sqs::Client::from_conf(client).send_message().queue_url("http://localhost/1/orders").message_body(text);
        call.send().await.is_err()
    } else {
        let client = aws_sdk_sns::config::Builder::from(&config);
        let client = if is_traced { client } else { client.interceptor(TraceInterceptor::new()) }.build();
        let call = aws_sdk_sns::Client::from_conf(client).publish().topic_arn("arn:aws:sns:us-east-1:1:orders").message(text);
        call.send().await.is_err()
    };
    if refused { Ok(()) } else { Err("the service did not refuse".into()) }
}

async fn handle(message: Message<Asked>) -> Result<(), Error> {
    match message.body.act {
        Do::Fail => Err(message.body.text.into()),
        Do::Panic => panic_with(&message.body.text),
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "only its decoding is of interest")]
struct Order {
    quantity: Option<u8>,
    empty: Option<Empty>,
    map: Option<BTreeMap<String, u8>>,
    own: Option<Own>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

/// A type whose errors are what was found.
struct Own;

impl<'de> Deserialize<'de> for Own {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(String::deserialize(deserializer)?))
    }
}

/// Prints all it gets, one line a span.
#[derive(Debug)]
struct Printer;

impl SpanExporter for Printer {
    fn set_resource(&mut self, resource: &Resource) {
        println!("EXPORTED {resource:?}");
    }

    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        for span in batch {
            println!("EXPORTED {span:?}");
        }
        Ok(())
    }
}
