//! A topic and its subscriptions.

use super::publish::Published;
use crate::{Event, Invoke, ids::new_request_id, invoke_until_accepted, sqs::Queue};
use serde_json::{Map, Value, json};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

/// How a queue gets what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The message alone; its attributes become the queue's message attributes. SNS calls it raw message delivery.
    Raw,
    /// The message in a JSON document that says where it comes from: SNS's default.
    Wrapped,
}

/// A topic. Clones are the same topic.
#[derive(Clone)]
pub struct Topic {
    /// As in `arn:aws:sns:us-east-1:000000000000:orders`.
    pub arn: String,
    subscriptions: Arc<Mutex<Vec<Subscription>>>,
}

#[derive(Clone)]
enum Subscription {
    Queue(Queue, Delivery),
    Function(Arc<dyn Invoke>),
}

impl Topic {
    pub(super) fn new(arn: String) -> Self {
        Self { arn, subscriptions: Arc::default() }
    }

    /// Delivers to a queue from now on.
    pub fn subscribe_queue(&self, queue: &Queue, delivery: Delivery) {
        self.subscribe(Subscription::Queue(queue.clone(), delivery));
    }

    /// Invokes a function from now on, asynchronously and once: a failure is not repeated.
    pub fn subscribe_function(&self, function: Arc<dyn Invoke>) {
        self.subscribe(Subscription::Function(function));
    }

    fn subscribe(&self, subscription: Subscription) {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).push(subscription);
    }

    /// Hands a message to all subscriptions; returns its id.
    pub(super) async fn publish(&self, message: &Published, trace_header: Option<&str>) -> String {
        let id = new_request_id();
        let subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for subscription in subscriptions {
            match subscription {
                Subscription::Queue(queue, delivery) => self.send(&queue, delivery, message, &id, trace_header).await,
                Subscription::Function(function) => {
                    let record = json!({
                        "EventVersion": "1.0",
                        "EventSource": "aws:sns",
                        "EventSubscriptionArn": format!("{}:{id}", self.arn),
                        "Sns": self.notification(message, &id),
                    });
                    let payload = json!({ "Records": [record] }).to_string();
                    let event =
                        Event { payload: payload.into(), trace_header: trace_header.map(str::to_owned), ..Event::default() };
                    tokio::spawn(async move { invoke_until_accepted(&*function, event).await });
                }
            }
        }
        id
    }

    async fn send(&self, queue: &Queue, delivery: Delivery, message: &Published, id: &str, trace_header: Option<&str>) {
        let mut sent = match delivery {
            Delivery::Wrapped => json!({ "MessageBody": self.notification(message, id).to_string() }),
            Delivery::Raw => {
                let attribute = |kind: &str, value: &str| match kind {
                    "Binary" => json!({ "DataType": kind, "BinaryValue": value }),
                    _ => json!({ "DataType": kind, "StringValue": value }),
                };
                let attributes: Map<_, _> =
                    message.attributes.iter().map(|(name, kind, value)| (name.clone(), attribute(kind, value))).collect();
                json!({ "MessageBody": message.message, "MessageAttributes": attributes })
            }
        };
        if let Some(group) = &message.group {
            sent["MessageGroupId"] = json!(group);
        }
        if let Some(deduplication) = &message.deduplication {
            sent["MessageDeduplicationId"] = json!(deduplication);
        }
        if let Some(header) = trace_header {
            sent["MessageSystemAttributes"] = json!({ "AWSTraceHeader": { "DataType": "String", "StringValue": header } });
        }
        if let Err(error) = queue.send(sent).await {
            tracing::error!(%error, topic = self.arn, "a subscription's queue refused a message");
        }
    }

    fn notification(&self, message: &Published, id: &str) -> Value {
        let mut notification = json!({
            "Type": "Notification",
            "MessageId": id,
            "TopicArn": self.arn,
            "Message": message.message,
            "Timestamp": iso_8601(SystemTime::now()),
            "SignatureVersion": "1",
        });
        if let Some(subject) = &message.subject {
            notification["Subject"] = json!(subject);
        }
        if !message.attributes.is_empty() {
            let attribute = |kind: &String, value: &String| json!({ "Type": kind, "Value": value });
            let attributes: Map<_, _> =
                message.attributes.iter().map(|(name, kind, value)| (name.clone(), attribute(kind, value))).collect();
            notification["MessageAttributes"] = attributes.into();
        }
        notification
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic").field("arn", &self.arn).finish_non_exhaustive()
    }
}

pub(crate) fn iso_8601(time: SystemTime) -> String {
    let time = time::OffsetDateTime::from(time);
    let (date, clock) = (time.date(), time.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second, milli) = clock.as_hms_milli();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}
