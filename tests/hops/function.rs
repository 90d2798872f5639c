//! The functions under test, each as a user would write it.

use crate::support::function_main;
use crate::support::wait_at;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sns::types::PublishBatchRequestEntry;
use aws_sdk_sqs::types::{
    MessageSystemAttributeNameForSends::AwsTraceHeader, MessageSystemAttributeValue, SendMessageBatchRequestEntry,
};
use lambda_lifecycle::{
    Error, Invocation, LambdaEvent, Lifecycle,
    aws_sdk::{TraceInterceptor, trace_header_value, traced},
    event_bridge::{self, EventBridgeEvent},
    http_client::{self, TraceLayer},
    service_fn,
    sns::{self, Notification},
    sqs::{self, Message},
    xray::TraceHeader,
};
use serde_json::{Value, json};
use std::{process::ExitCode, time::Duration};
use tokio::runtime::Builder;
use tower::{Layer, Service};
use tracing::Instrument;

pub(crate) fn main(probe: &str) -> ExitCode {
    function_main(Builder::new_multi_thread(), run(probe))
}

async fn run(probe: &str) -> Result<(), Error> {
    let life = Lifecycle::from_env();
    match probe {
        "interceptor" | "two interceptors" | "traced" => {
            let clients = Clients::connect(probe).await;
            life.run_concurrent(service_fn(move |event| send(clients.clone(), event))).await
        }
        "http" => life.run(service_fn(call)).await,
        "worker" => life.run_concurrent(sqs::batch(handle)).await,
        "worker-budget" => life.run_concurrent(sqs::batch(handle).span_budget(2)).await,
        "worker-continues" => life.run_concurrent(sqs::batch(handle).continue_traces()).await,
        "worker-sns" => life.run_concurrent(sqs::batch(handle).from_sns()).await,
        "worker-raw" => life.run_concurrent(sqs::batch_raw(raw)).await,
        "sns" => life.run_concurrent(sns::notifications(notified)).await,
        "bus" => life.run_concurrent(event_bridge::events(happened)).await,
        other => Err(format!("no probe is named {other}").into()),
    }
}

#[derive(Clone)]
struct Clients {
    queues: aws_sdk_sqs::Client,
    topics: aws_sdk_sns::Client,
    bus: aws_sdk_eventbridge::Client,
}

impl Clients {
    async fn connect(how: &str) -> Self {
        let http = aws_smithy_http_client::Builder::new().build_http();
        if how == "traced" {
            let config = aws_config::from_env().http_client(traced(http)).load().await;
            return Self {
                queues: aws_sdk_sqs::Client::new(&config),
                topics: aws_sdk_sns::Client::new(&config),
                bus: aws_sdk_eventbridge::Client::new(&config),
            };
        }
        let config = aws_config::from_env().http_client(http).load().await;
        let mut sqs = aws_sdk_sqs::config::Builder::from(&config).interceptor(TraceInterceptor::new());
        if how == "two interceptors" {
            sqs = sqs.interceptor(TraceInterceptor::new());
        }
        let sns = aws_sdk_sns::config::Builder::from(&config).interceptor(TraceInterceptor::new()).build();
        let bus = aws_sdk_eventbridge::config::Builder::from(&config).interceptor(TraceInterceptor::new()).build();
        Self {
            queues: aws_sdk_sqs::Client::from_conf(sqs.build()),
            topics: aws_sdk_sns::Client::from_conf(sns),
            bus: aws_sdk_eventbridge::Client::from_conf(bus),
        }
    }
}

/// Sends as the event says: `{"how": "SendMessage", "headers": ["Root=…", …]}`.
async fn send(clients: Clients, event: LambdaEvent<Value>) -> Result<Value, Error> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let (queue, topic) = (variable("QUEUE_URL")?, variable("TOPIC_ARN")?);
    let headers: Vec<TraceHeader> =
        event.payload["headers"].as_array().into_iter().flatten().filter_map(Value::as_str).map(TraceHeader::parse).collect();
    let bodies = || (0..2).map(|number| (number.to_string(), json!({ "do": "succeed" }).to_string()));
    match event.payload["how"].as_str().unwrap_or_default() {
        "SendMessage" => {
            clients.queues.send_message().queue_url(queue).message_body("{}").send().await?;
        }
        "SendMessageBatch" => {
            let mut entries = Vec::new();
            for (at, (id, body)) in bodies().enumerate() {
                let mut entry = SendMessageBatchRequestEntry::builder().id(id).message_body(body);
                if let Some(header) = headers.get(at) {
                    let value = MessageSystemAttributeValue::builder().data_type("String");
                    let value = value.string_value(trace_header_value(header)).build()?;
                    entry = entry.message_system_attributes(AwsTraceHeader, value);
                }
                entries.push(entry.build()?);
            }
            clients.queues.send_message_batch().queue_url(queue).set_entries(Some(entries)).send().await?;
        }
        "Publish" => {
            clients.topics.publish().topic_arn(topic).message("{}").send().await?;
        }
        "PublishBatch" => {
            let entries = bodies().map(|(id, body)| PublishBatchRequestEntry::builder().id(id).message(body).build());
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            clients.topics.publish_batch().topic_arn(topic).set_publish_batch_request_entries(Some(entries)).send().await?;
        }
        "PutEvents" => {
            let mut call = clients.bus.put_events();
            for (at, (_, body)) in bodies().enumerate() {
                let entry = PutEventsRequestEntry::builder().source("shop").detail_type("placed").detail(body);
                let header = headers.get(at).map(trace_header_value);
                call = call.entries(entry.set_trace_header(header).build());
            }
            call.send().await?;
        }
        "unknown queue" => {
            let url = format!("{queue}-unknown");
            let refused = clients.queues.send_message().queue_url(url).message_body("{}").send().await;
            return Ok(json!(refused.is_err()));
        }
        "unknown topic" => {
            let refused = clients.topics.publish().topic_arn(format!("{topic}-unknown")).message("{}").send().await;
            return Ok(json!(refused.is_err()));
        }
        "long poll" => {
            // The queue is empty: the service answers after 20 seconds, the invocation has less.
            let polled = clients.queues.receive_message().queue_url(queue).wait_time_seconds(20).send().await;
            return Ok(json!(polled.is_err_and(|error| matches!(error, aws_sdk_sqs::error::SdkError::TimeoutError(_)))));
        }
        "long poll in frozen work" => Invocation::current().after_response(async move {
            tokio::time::sleep(Invocation::current().remaining() + Duration::from_millis(50)).await;
            let polled = clients.queues.receive_message().queue_url(queue).wait_time_seconds(1).send().await;
            match polled {
                Ok(_) => tracing::info!("the frozen call was answered"),
                Err(error) => tracing::info!("the frozen call failed: {error:?}"),
            }
        }),
        "wait" => wait_at(event.payload["gate"].as_str().unwrap_or_default()).await,
        "dropped" => {
            let call = clients.queues.receive_message().queue_url(queue).wait_time_seconds(20).send();
            return Ok(json!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err()));
        }
        other => return Err(format!("no way to send is named {other}").into()),
    }
    Ok(Value::Null)
}

/// Calls the URL in the event, through the layer and with plain headers.
async fn call(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let url = event.payload["url"].as_str().unwrap_or_default().to_owned();
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let mut client = TraceLayer::new().layer(client.build_http::<http_body_util::Empty<bytes::Bytes>>());
    let request = http::Request::get(&url).body(http_body_util::Empty::new())?;
    let calling = async { client.call(request).await };
    let status = match event.payload["inside"].as_str() {
        // `tracing` knows of no span here, so this one is a root to it.
        Some("a root") => calling.instrument(tracing::info_span!(parent: tracing::Span::current(), "outer")).await?.status(),
        Some("a span") => calling.instrument(tracing::info_span!("outer")).await?.status(),
        _ => calling.await?.status(),
    };
    let status = status.as_u16();
    let headers = http_client::headers();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(json!({ "status": status, "x-amzn-trace-id": header("x-amzn-trace-id"), "traceparent": header("traceparent") }))
}

async fn handle(message: Message<Value>) -> Result<(), Error> {
    let header = message.invocation.trace_header().map(|header| header.to_string());
    let topic = message.notification.as_ref().map(|notification| notification.topic());
    tracing::info!(message_id = message.id, header, topic, body = %message.body, "handled");
    work().await;
    if message.body["do"] == "fail" { Err("no stock".into()) } else { Ok(()) }
}

#[tracing::instrument]
async fn work() {}

async fn raw(message: Message<String>) -> Result<(), Error> {
    if message.body == "plain text" { Ok(()) } else { Err(message.body.into()) }
}

async fn notified(notification: Notification<Value>) -> Result<(), Error> {
    work().await;
    assert!(notification.message["do"] != "panic", "planned");
    if notification.message["do"] == "fail" { Err("no stock".into()) } else { Ok(()) }
}

async fn happened(event: EventBridgeEvent<Value>) -> Result<(), Error> {
    work().await;
    assert!(event.detail["do"] != "panic", "planned");
    if event.detail["do"] == "fail" { Err("no stock".into()) } else { Ok(()) }
}
