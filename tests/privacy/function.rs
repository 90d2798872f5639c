//! The functions under test, each as a user would write it.

use crate::support::function_main;
use axum::{Router, body::Bytes, routing::post};
use futures_util::Stream;
use lambda_lifecycle::{
    Error, Invocation, LambdaEvent, Lifecycle,
    aws_sdk::{TraceInterceptor, traced},
    http_client::TraceLayer,
    service_fn,
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
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use std::{collections::BTreeMap, process::ExitCode, task::Poll};
use tokio::runtime::Builder;
use tower::{Layer, Service};
use tracing::info_span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub(crate) fn main(probe: &str) -> ExitCode {
    // As the documentation of `Builder::redact` says.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    function_main(Builder::new_current_thread(), run(probe))
}

async fn run(probe: &str) -> Result<(), Error> {
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
        "value" => life.run_concurrent(service_fn(value)).await,
        "type" => life.run_concurrent(service_fn(async |_: LambdaEvent<Value>| Err::<(), _>(typed()))).await,
        "stream" => life.run_concurrent(service_fn(stream)).await,
        "typed" => life.run_concurrent(service_fn(async |_: LambdaEvent<Order>| Ok::<_, Error>(()))).await,
        "http" => life.serve(Router::new().route("/orders/{id}", post(async |_: Bytes| "done"))).await,
        "sqs" => life.run_concurrent(sqs::batch(handle)).await,
        "sqs with groups" => life.run_concurrent(sqs::batch(handle).record_group_ids()).await,
        "init fails" => life.init("database", async { Err::<(), _>(text) }).await.map_err(Into::into),
        "init fails with a type" => life.init("database", async { Err::<(), _>(MARKEDInitTypeX) }).await.map_err(Into::into),
        "init panics" => life.init("database", async { panic_with::<Result<(), Error>>(&text) }).await.map_err(Into::into),
        other => Err(format!("no probe is named {other}").into()),
    }
}

fn panic_with<T>(text: &str) -> T {
    panic!("{text}")
}

async fn value(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let text = event.payload["text"].as_str().unwrap_or_default().to_owned();
    let act = event.payload["do"].as_str().unwrap_or_default();
    let span = info_span!("work");
    match act {
        "nothing" => {}
        "error" => return Err(text.into()),
        "panic" => panic_with(&text),
        "error event" => span.in_scope(|| tracing::error!("no stock of {text}")),
        "info event" => tracing::info!("sold {text}"),
        "log field" => tracing::warn!(text, "sold"),
        "span field" => info_span!("field", text).in_scope(|| ()),
        "span name" => info_span!("name", "otel.name" = text).in_scope(|| ()),
        "span event" => span.add_event("sold", vec![KeyValue::new("what", text)]),
        "link" => {
            let other =
                SpanContext::new(TraceId::from(1_u128 << 96 | 1), SpanId::from(1), TraceFlags::SAMPLED, true, TraceState::NONE);
            span.add_link_with_attributes(other, vec![KeyValue::new("what", text)]);
        }
        "status" => span.set_status(Status::error(text)),
        "annotation" => Invocation::current().annotate("what", text),
        "http client" | "http client, logged" | "http client, returned" => {
            // What reqwest's errors say.
            let refused = |request: http::Request<()>| async move {
                let error = format!("error sending request for url ({})", request.uri());
                Err::<http::Response<()>, _>(std::io::Error::other(error))
            };
            let called = TraceLayer::new().layer(tower::service_fn(refused)).call(http::Request::get(&text).body(())?).await;
            if let Err(error) = called {
                match act {
                    "http client, logged" => {
                        span.in_scope(|| tracing::error!(error = &error as &dyn std::error::Error, "refused: {error}"))
                    }
                    "http client, returned" => return Err(error.into()),
                    _ => {}
                }
            }
        }
        act => call_aws(act, &text).await?,
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
    event: LambdaEvent<Value>,
) -> Result<StreamResponse<impl Stream<Item = Result<Vec<u8>, Error>> + Unpin + Send + 'static>, Error> {
    let text = event.payload["text"].as_str().unwrap_or_default().to_owned();
    let panics = event.payload["do"] == "panic";
    let stream = futures_util::stream::poll_fn(move |_| -> Poll<Option<Result<Vec<u8>, Error>>> {
        if panics {
            panic_with(&text)
        }
        Poll::Ready(Some(Err(text.clone().into())))
    });
    Ok(StreamResponse { metadata_prelude: MetadataPrelude::default(), stream })
}

/// Calls a service that refuses, and repeats what it was sent.
async fn call_aws(act: &str, text: &str) -> Result<(), Error> {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let is_traced = act.ends_with(" traced");
    let config = aws_config::from_env();
    let config = if is_traced { config.http_client(traced(http)) } else { config.http_client(http) }.load().await;
    let refused = if act.starts_with("aws json") {
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

#[derive(Deserialize)]
struct Body {
    r#do: String,
    text: String,
}

async fn handle(message: Message<Body>) -> Result<(), Error> {
    match message.body.r#do.as_str() {
        "fail" => Err(message.body.text.into()),
        "panic" => panic_with(&message.body.text),
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
