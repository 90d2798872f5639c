//! The functions under test, each as a user would write it.

use crate::support::function_main;
use crate::support::wait_at;
use crate::w3c;
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
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{process::ExitCode, time::Duration};
use tokio::runtime::Builder;
use tower::{Layer, Service};
use tracing::Instrument;

/// The functions. `PROBE` selects the one that a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Probe {
    /// Sends with SDK clients that have an interceptor.
    Interceptor,
    /// Sends with clients that have it twice.
    TwoInterceptors,
    /// Sends with clients on a traced HTTP client.
    Traced,
    /// Calls a URL.
    Http,
    /// Receives messages from a queue.
    Worker,
    /// The same with a budget of two spans.
    WorkerBudget,
    /// The same in the traces of the producers.
    WorkerContinues,
    /// Receives messages that SNS wrapped.
    WorkerSns,
    /// Receives messages as text.
    WorkerRaw,
    /// Receives notifications of SNS.
    Sns,
    /// Receives events of EventBridge.
    Bus,
    /// Receives orders over HTTP, sends each to the queue, and has an exporter.
    W3cApi,
    /// Receives messages, and has an exporter.
    W3cWorker,
}

/// The request to a sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do")]
pub(crate) enum Sending {
    Message,
    /// So many messages, each in a call, and one more after the response.
    Messages {
        count: usize,
    },
    /// Two messages, with these trace headers.
    MessageBatch {
        headers: Vec<String>,
    },
    Publish,
    /// Two notifications.
    PublishBatch,
    /// Two events, with these trace headers.
    Events {
        headers: Vec<String>,
    },
    ToUnknownQueue,
    ToUnknownTopic,
    /// Receive for longer than the invocation has.
    LongPoll,
    /// Receive in work that was frozen past its own deadline, and log the result.
    LongPollInFrozenWork,
    /// Receive, and drop the call.
    DroppedPoll,
    /// Send nothing until the gate opens.
    NothingUntil {
        gate: String,
    },
}

impl From<Sending> for Value {
    fn from(sending: Sending) -> Self {
        json!(sending)
    }
}

/// The context around the call of the function [`Probe::Http`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Inside {
    #[default]
    Nothing,
    Span,
    /// A span without a parent in `tracing`.
    Root,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) url: String,
    pub(crate) inside: Inside,
}

/// The request of a message, a notification or an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Do {
    #[default]
    Succeed,
    Fail,
    Panic,
}

/// The body of a message. It may be empty.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Body {
    #[serde(default, rename = "do")]
    pub(crate) act: Do,
}

impl Do {
    pub(crate) fn body(self) -> Value {
        json!(Body { act: self })
    }

    fn run(self) -> Result<(), Error> {
        match self {
            Self::Succeed => Ok(()),
            Self::Fail => Err("no stock".into()),
            Self::Panic => panic!("planned"),
        }
    }
}

pub(crate) fn main(probe: Probe) -> ExitCode {
    function_main(Builder::new_multi_thread(), run(probe))
}

async fn run(probe: Probe) -> Result<(), Error> {
    let life = match probe {
        Probe::W3cApi | Probe::W3cWorker => w3c::lifecycle(),
        _ => Lifecycle::from_env(),
    };
    match probe {
        Probe::Interceptor | Probe::TwoInterceptors | Probe::Traced => {
            let clients = Clients::connect(probe).await;
            life.run_concurrent(service_fn(move |event| send(clients.clone(), event))).await
        }
        Probe::Http => life.run(service_fn(call)).await,
        Probe::Worker => life.run_concurrent(sqs::batch(handle)).await,
        Probe::WorkerBudget => life.run_concurrent(sqs::batch(handle).span_budget(2)).await,
        Probe::WorkerContinues => life.run_concurrent(sqs::batch(handle).continue_traces()).await,
        Probe::WorkerSns => life.run_concurrent(sqs::batch(handle).from_sns()).await,
        Probe::WorkerRaw => life.run_concurrent(sqs::batch_raw(raw)).await,
        Probe::Sns => life.run_concurrent(sns::notifications(notified)).await,
        Probe::W3cApi => w3c::api(life).await,
        Probe::W3cWorker => w3c::worker(life).await,
        Probe::Bus => life.run_concurrent(event_bridge::events(happened)).await,
    }
}

#[derive(Clone)]
pub(crate) struct Clients {
    queues: aws_sdk_sqs::Client,
    topics: aws_sdk_sns::Client,
    bus: aws_sdk_eventbridge::Client,
}

impl Clients {
    pub(crate) async fn send_order(&self) -> Result<(), Error> {
        let queue = std::env::var("QUEUE_URL")?;
        self.queues.send_message().queue_url(queue).message_body("{}").send().await?;
        Ok(())
    }

    pub(crate) async fn connect(probe: Probe) -> Self {
        let http = aws_smithy_http_client::Builder::new().build_http();
        if probe == Probe::Traced {
            let config = aws_config::from_env().http_client(traced(http)).load().await;
            return Self {
                queues: aws_sdk_sqs::Client::new(&config),
                topics: aws_sdk_sns::Client::new(&config),
                bus: aws_sdk_eventbridge::Client::new(&config),
            };
        }
        let config = aws_config::from_env().http_client(http).load().await;
        let mut sqs = aws_sdk_sqs::config::Builder::from(&config).interceptor(TraceInterceptor::new());
        if probe == Probe::TwoInterceptors {
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

async fn send(clients: Clients, event: LambdaEvent<Sending>) -> Result<Value, Error> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let (queue, topic) = (variable("QUEUE_URL")?, variable("TOPIC_ARN")?);
    let bodies = || (0..2).map(|number| (number.to_string(), Do::Succeed.body().to_string()));
    match event.payload {
        Sending::Message => {
            clients.queues.send_message().queue_url(queue).message_body("{}").send().await?;
        }
        Sending::Messages { count } => {
            for _ in 0..count {
                clients.send_order().await?;
            }
            // No message: it is not counted.
            clients.queues.receive_message().queue_url(topic).send().await.err();
            let later = clients.clone();
            Invocation::current().after_response(async move { later.send_order().await.unwrap_or_default() });
        }
        Sending::MessageBatch { headers } => {
            let mut entries = Vec::new();
            for (at, (id, body)) in bodies().enumerate() {
                let mut entry = SendMessageBatchRequestEntry::builder().id(id).message_body(body);
                if let Some(header) = headers.get(at).map(|header| TraceHeader::parse(header)) {
                    let value = MessageSystemAttributeValue::builder().data_type("String");
                    let value = value.string_value(trace_header_value(&header)).build()?;
                    entry = entry.message_system_attributes(AwsTraceHeader, value);
                }
                entries.push(entry.build()?);
            }
            clients.queues.send_message_batch().queue_url(queue).set_entries(Some(entries)).send().await?;
        }
        Sending::Publish => {
            clients.topics.publish().topic_arn(topic).message("{}").send().await?;
        }
        Sending::PublishBatch => {
            let entries = bodies().map(|(id, body)| PublishBatchRequestEntry::builder().id(id).message(body).build());
            let entries = entries.collect::<Result<Vec<_>, _>>()?;
            clients.topics.publish_batch().topic_arn(topic).set_publish_batch_request_entries(Some(entries)).send().await?;
        }
        Sending::Events { headers } => {
            let mut call = clients.bus.put_events();
            for (at, (_, body)) in bodies().enumerate() {
                let entry = PutEventsRequestEntry::builder().source("shop").detail_type("placed").detail(body);
                let header = headers.get(at).map(|header| trace_header_value(&TraceHeader::parse(header)));
                call = call.entries(entry.set_trace_header(header).build());
            }
            call.send().await?;
        }
        Sending::ToUnknownQueue => {
            let url = format!("{queue}-unknown");
            let refused = clients.queues.send_message().queue_url(url).message_body("{}").send().await;
            return Ok(json!(refused.is_err()));
        }
        Sending::ToUnknownTopic => {
            let refused = clients.topics.publish().topic_arn(format!("{topic}-unknown")).message("{}").send().await;
            return Ok(json!(refused.is_err()));
        }
        Sending::LongPoll => {
            // The queue is empty. The service responds after 20 seconds, and the invocation has less time.
            let polled = clients.queues.receive_message().queue_url(queue).wait_time_seconds(20).send().await;
            return Ok(json!(match polled {
                Err(aws_sdk_sqs::error::SdkError::TimeoutError(_)) => "timeout".to_owned(),
                // The HTTP client's error: with `?` it ends the invocation.
                Err(error) => return Err(error.into()),
                Ok(_) => "responded".to_owned(),
            }));
        }
        Sending::LongPollInFrozenWork => Invocation::current().after_response(async move {
            tokio::time::sleep(Invocation::current().remaining() + Duration::from_millis(50)).await;
            let polled = clients.queues.receive_message().queue_url(queue).wait_time_seconds(1).send().await;
            let error = polled.err().map(|error| format!("{error:?}"));
            tracing::info!(frozen_call_succeeded = error.is_none(), error, "a call of frozen work has ended");
        }),
        Sending::NothingUntil { gate } => wait_at(&gate).await,
        Sending::DroppedPoll => {
            let call = clients.queues.receive_message().queue_url(queue).wait_time_seconds(20).send();
            return Ok(json!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err()));
        }
    }
    Ok(Value::Null)
}

/// Calls the URL in the event, through the layer and with plain headers.
async fn call(event: LambdaEvent<Call>) -> Result<Value, Error> {
    let Call { url, inside } = event.payload;
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let mut client = TraceLayer::new().layer(client.build_http::<http_body_util::Empty<bytes::Bytes>>());
    let request = http::Request::get(&url).body(http_body_util::Empty::new())?;
    let calling = async { client.call(request).await };
    let status = match inside {
        // `tracing` has no current span here, so this one is a root.
        Inside::Root => calling.instrument(tracing::info_span!(parent: tracing::Span::current(), "outer")).await?.status(),
        Inside::Span => calling.instrument(tracing::info_span!("outer")).await?.status(),
        Inside::Nothing => calling.await?.status(),
    };
    let status = status.as_u16();
    let headers = http_client::headers();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(json!({ "status": status, "x-amzn-trace-id": header("x-amzn-trace-id"), "traceparent": header("traceparent") }))
}

async fn handle(message: Message<Body>) -> Result<(), Error> {
    let header = message.invocation.trace_header().map(|header| header.to_string());
    let topic = message.notification.as_ref().map(|notification| notification.topic());
    tracing::info!(handled = message.id, header, topic, "a message");
    work().await;
    message.body.act.run()
}

#[tracing::instrument]
async fn work() {}

async fn raw(message: Message<String>) -> Result<(), Error> {
    if message.body == "plain text" { Ok(()) } else { Err(message.body.into()) }
}

async fn notified(notification: Notification<Body>) -> Result<(), Error> {
    tracing::info!("notified");
    work().await;
    notification.message.act.run()
}

async fn happened(event: EventBridgeEvent<Body>) -> Result<(), Error> {
    tracing::info!(event = event.id, "happened");
    work().await;
    event.detail.act.run()
}
