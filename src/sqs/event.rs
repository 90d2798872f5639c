//! What Lambda sends for a batch of messages, and what it takes as an answer.

use crate::{Invocation, sns::Notification, xray::TraceHeader};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An event of an SQS event source mapping. See
/// [Using Lambda with Amazon SQS](https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SqsEvent {
    /// The messages, at most 10,000.
    #[serde(rename = "Records")]
    pub records: Vec<SqsRecord>,
}

/// One message as it stands in the event.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SqsRecord {
    /// Names the message in the answer.
    pub message_id: String,
    /// The body, as it was sent.
    pub body: String,
    /// System attributes: `ApproximateReceiveCount`, `SentTimestamp`, `MessageGroupId`, `AWSTraceHeader`.
    pub attributes: HashMap<String, String>,
    /// The sender's own attributes.
    pub message_attributes: HashMap<String, MessageAttribute>,
    /// `aws:sqs`.
    pub event_source: String,
    /// The ARN of the queue.
    #[serde(rename = "eventSourceARN")]
    pub event_source_arn: String,
}

/// An attribute that the sender gave a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MessageAttribute {
    /// The value of a `String` or `Number`.
    pub string_value: Option<String>,
    /// The value of a `Binary`, in base64.
    pub binary_value: Option<String>,
    /// `String`, `Number` or `Binary`, with a label of the sender's behind a dot.
    pub data_type: String,
}

impl SqsRecord {
    /// The trace of the call that sent this message.
    pub fn trace_header(&self) -> Option<TraceHeader> {
        self.attributes.get("AWSTraceHeader").map(|header| TraceHeader::parse(header))
    }

    /// A message attribute of the sender's that is text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.message_attributes.get(name)?.string_value.as_deref()
    }

    /// The queue's name: the last part of its ARN.
    pub fn queue(&self) -> &str {
        self.event_source_arn.rsplit(':').next().unwrap_or_default()
    }

    /// The group in whose order the message stands. `None` for a standard queue.
    pub fn message_group_id(&self) -> Option<&str> {
        // A standard queue knows group ids too, for fairness, and promises no order in them.
        self.event_source_arn.ends_with(".fifo").then(|| self.attributes.get("MessageGroupId").map(String::as_str))?
    }

    pub(super) fn receive_count(&self) -> u32 {
        self.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1)
    }

    pub(super) fn age(&self, now: SystemTime) -> Option<Duration> {
        let sent: u64 = self.attributes.get("SentTimestamp")?.parse().ok()?;
        now.duration_since(UNIX_EPOCH.checked_add(Duration::from_millis(sent))?).ok()
    }
}

/// One message, decoded, for the handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message<T> {
    /// The body: decoded from JSON, or as it came in a [raw batch](super::batch_raw).
    pub body: T,
    /// SQS's id of the message.
    pub id: String,
    /// How often it was received, this time included: 1 for the first.
    pub receive_count: u32,
    /// Time since it was sent, where SQS said when.
    pub age: Option<Duration>,
    /// The group in whose order it stands, in a FIFO queue.
    pub message_group_id: Option<String>,
    /// The sender's own attributes.
    pub attributes: HashMap<String, MessageAttribute>,
    /// The notification that held the body, in a batch [from SNS](super::Batch::from_sns).
    pub notification: Option<Box<Notification<()>>>,
    /// The invocation it is handled in.
    pub invocation: Invocation,
}

impl<T> Message<T> {
    /// A message as a unit test of a handler needs it: received for the first time, without attributes.
    pub fn new(id: impl Into<String>, body: T) -> Self {
        Self {
            body,
            id: id.into(),
            receive_count: 1,
            age: None,
            message_group_id: None,
            attributes: HashMap::new(),
            notification: None,
            invocation: Invocation::current(),
        }
    }
}

/// The answer to a batch: the messages that come back. Empty when all succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchResponse {
    /// In the order of the batch.
    #[serde(rename = "batchItemFailures")]
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// One message that comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BatchItemFailure {
    /// Its id. An empty or unknown one makes Lambda return the whole batch.
    #[serde(rename = "itemIdentifier")]
    pub item_identifier: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_lambda_decodes() {
        let event: SqsEvent = serde_json::from_str(
            r#"{"Records":[{"messageId":"m1","receiptHandle":"r","body":"{}","attributes":{"ApproximateReceiveCount":"3",
            "SentTimestamp":"1545082649183","SenderId":"A","ApproximateFirstReceiveTimestamp":"1545082649185",
            "AWSTraceHeader":"Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"},"messageAttributes":{},
            "md5OfBody":"e4","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-2:123456789012:my-queue","awsRegion":"us-east-2"}]}"#,
        )
        .expect("decodes");
        let record = &event.records[0];
        assert_eq!((record.message_id.as_str(), record.queue(), record.receive_count()), ("m1", "my-queue", 3));
        assert_eq!(record.age(UNIX_EPOCH + Duration::from_millis(1_545_082_650_183)), Some(Duration::from_secs(1)));
        assert!(record.trace_header().and_then(|header| header.parent()).is_some());
    }

    #[test]
    fn the_answer_has_lambdas_form() {
        let answer = BatchResponse { batch_item_failures: vec![BatchItemFailure { item_identifier: "m1".into() }] };
        assert_eq!(serde_json::to_string(&answer).expect("encodes"), r#"{"batchItemFailures":[{"itemIdentifier":"m1"}]}"#);
        assert_eq!(serde_json::to_string(&BatchResponse::default()).expect("encodes"), r#"{"batchItemFailures":[]}"#);
    }
}
