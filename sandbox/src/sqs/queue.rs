//! One queue.

use super::{ledger::MessageEvent, service::Service};
use crate::history::History;
use awsim_core::AwsError;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How a queue behaves.
#[derive(Clone, Debug)]
pub struct QueueOptions {
    /// First in, first out within a message group. The queue's name must end in `.fifo`. Default: no.
    pub fifo: bool,
    /// How long a received message stays hidden, in whole seconds (rounded up), up to 12 hours. Default: 30 s.
    pub visibility_timeout: Duration,
    /// Where messages go that were received too often. Default: nowhere.
    pub dead_letter: Option<DeadLetter>,
    /// FIFO only: messages with the same body within five minutes are one message. Default: no.
    pub content_based_deduplication: bool,
}

/// A queue's redrive policy.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The dead-letter queue's ARN.
    pub arn: String,
    /// How often a message is received before it goes there, 1 to 1,000.
    pub max_receive_count: u32,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { fifo: false, visibility_timeout: Duration::from_secs(30), dead_letter: None, content_based_deduplication: false }
    }
}

/// A queue. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// As in `http://127.0.0.1:41234/000000000000/orders`.
    pub url: String,
    /// As in `arn:aws:sqs:us-east-1:000000000000:orders`.
    pub arn: String,
    pub(super) name: String,
    pub(super) fifo: bool,
    pub(super) visibility_timeout: Duration,
    pub(super) service: Arc<Service>,
}

/// How many messages a queue has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// May be received now.
    pub visible: usize,
    /// Sent with a delay that has not passed.
    pub delayed: usize,
    /// Received and neither deleted nor visible again.
    pub in_flight: usize,
}

/// A message as it lies in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// The message id.
    pub id: String,
    /// The body.
    pub body: String,
    /// How often it was received and returned to the queue.
    pub receive_count: u32,
    /// The `AWSTraceHeader` system attribute.
    pub trace_header: Option<String>,
}

/// The SQS API refused a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SQS refused: {code}: {message}")]
pub struct QueueError {
    /// The service's error code.
    pub code: String,
    /// The service's explanation.
    pub message: String,
}

impl From<AwsError> for QueueError {
    fn from(error: AwsError) -> Self {
        Self { code: error.code, message: error.message }
    }
}

impl Queue {
    pub(super) async fn create(service: &Arc<Service>, name: &str, options: QueueOptions) -> Result<Self, QueueError> {
        let visibility = options.visibility_timeout;
        let seconds = visibility.as_secs() + u64::from(visibility.subsec_nanos() > 0);
        let mut attributes = json!({"VisibilityTimeout": seconds.to_string()});
        if options.fifo {
            attributes["FifoQueue"] = json!("true");
            attributes["ContentBasedDeduplication"] = json!(options.content_based_deduplication.to_string());
        }
        if let Some(dead_letter) = options.dead_letter {
            let policy = json!({
                "deadLetterTargetArn": dead_letter.arn,
                "maxReceiveCount": dead_letter.max_receive_count,
            });
            attributes["RedrivePolicy"] = json!(policy.to_string());
        }
        let created = service.call("CreateQueue", json!({"QueueName": name, "Attributes": attributes})).await?;
        let arn = service.with_queue(name, |queue| queue.arn.clone());
        Ok(Self {
            url: created["QueueUrl"].as_str().unwrap_or_default().to_owned(),
            arn: arn.unwrap_or_default(),
            visibility_timeout: Duration::from_secs(seconds),
            name: name.to_owned(),
            fifo: options.fifo,
            service: Arc::clone(service),
        })
    }

    /// Sends a message with `SendMessage`'s own fields, as in `{"MessageBody": "…", "MessageGroupId": "…"}`; returns its id.
    ///
    /// For examples: tests of a sender had better use `aws-sdk-sqs`.
    pub async fn send(&self, mut message: Value) -> Result<String, QueueError> {
        message["QueueUrl"] = json!(self.url);
        let sent = self.service.call("SendMessage", message).await?;
        Ok(sent["MessageId"].as_str().unwrap_or_default().to_owned())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The history of the messages of all queues of this endpoint.
    pub(crate) fn ledger(&self) -> &Arc<History<MessageEvent>> {
        &self.service.ledger
    }

    /// Its name, visibility timeout and dead-letter policy.
    pub(crate) fn describe(&self) -> Value {
        let described = self.service.with_queue(&self.name, |queue| {
            let dead = queue.redrive_policy.as_ref();
            json!({
                "name": self.name,
                "arn": self.arn,
                "url": self.url,
                "fifo": self.fifo,
                "visibility": queue.visibility_timeout_secs(),
                "dead_letter": dead.map(|policy| policy.dead_letter_target_arn.rsplit(':').next()),
                "max_receives": dead.map(|policy| policy.max_receive_count),
            })
        });
        described.unwrap_or_default()
    }

    /// How many messages there are now.
    pub fn counts(&self) -> Counts {
        let _still = self.service.still();
        let counts = self.service.with_queue(&self.name, |queue| Counts {
            visible: queue.approximate_number_of_messages(),
            delayed: queue.approximate_number_of_messages_delayed(),
            in_flight: queue.inflight.len(),
        });
        counts.unwrap_or_default()
    }

    /// The messages that are not in flight, without receiving them.
    pub fn peek(&self) -> Vec<StoredMessage> {
        let stored = |message: &awsim_sqs::state::Message| StoredMessage {
            id: message.message_id.clone(),
            body: message.body.read_string().unwrap_or_default(),
            receive_count: message.receive_count,
            trace_header: message.attributes.get("AWSTraceHeader").cloned(),
        };
        let _still = self.service.still();
        let messages = self.service.with_queue(&self.name, |queue| queue.messages.iter().map(stored).collect());
        messages.unwrap_or_default()
    }

    /// Waits until the counts are as `wanted` says. It is asked at once and after every call that changes a queue; the mere
    /// passing of a delay or of a visibility timeout is no such call.
    pub async fn wait_for(&self, mut wanted: impl FnMut(Counts) -> bool) {
        let mut changed = self.service.subscribe();
        loop {
            changed.mark_unchanged();
            if wanted(self.counts()) {
                return;
            }
            // The sender lives in `self.service`.
            let _ = changed.changed().await;
        }
    }
}
