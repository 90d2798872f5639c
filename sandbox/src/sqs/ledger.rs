//! The history of the messages of all queues.

use awsim_sqs::state::InflightMessage;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime};

/// A body is kept up to here.
const BODY_CHARS: usize = 4_096;

/// One thing that happened to a message.
#[derive(Clone, Debug)]
pub(crate) struct MessageEvent {
    pub(crate) at: SystemTime,
    pub(crate) queue: String,
    pub(crate) message: String,
    pub(crate) kind: MessageEventKind,
}

#[derive(Clone, Debug)]
pub(crate) enum MessageEventKind {
    Sent {
        body: String,
        bytes: usize,
        group: Option<String>,
        trace_header: Option<String>,
        visible_at: SystemTime,
    },
    Received {
        count: u32,
        visible_at: SystemTime,
    },
    /// Its visibility timeout was changed: at zero it is returned to the queue.
    Visible {
        at: SystemTime,
    },
    Deleted,
    /// It was received too often.
    Dead {
        to: String,
    },
}

impl MessageEvent {
    pub(super) fn new(queue: &str, message: &str, kind: MessageEventKind) -> Self {
        Self { at: SystemTime::now(), queue: queue.to_owned(), message: message.to_owned(), kind }
    }
}

/// The wall-clock time of a moment.
pub(super) fn wall(at: Instant) -> SystemTime {
    SystemTime::now() + at.saturating_duration_since(Instant::now())
}

pub(super) fn visible_at(held: &InflightMessage) -> SystemTime {
    held.visible_at.map_or_else(SystemTime::now, wall)
}

/// Makes a receipt handle that names its message.
pub(super) fn receipt_handle(number: u64, message: &str) -> String {
    BASE64.encode(format!("{number} {message}"))
}

/// The message of a receipt handle.
fn message_of(receipt_handle: &Value) -> Option<String> {
    let text = String::from_utf8(BASE64.decode(receipt_handle.as_str()?).ok()?).ok()?;
    text.split_once(' ').map(|(_, message)| message.to_owned())
}

/// The effect of a successful operation on the messages of its queue.
pub(super) fn of_operation(operation: &str, input: &Value, output: &Value) -> Vec<MessageEvent> {
    let url = input["QueueUrl"].as_str().unwrap_or_default();
    let queue = url.rsplit('/').next().unwrap_or(url);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let succeeded = list(&output["Successful"]);
    let entries = list(&input["Entries"]);
    let entry = |id: &Value| entries.iter().find(|entry| entry["Id"] == *id);
    match operation {
        "SendMessage" => sent(queue, input, output).into_iter().collect(),
        "SendMessageBatch" => succeeded.iter().filter_map(|done| sent(queue, entry(&done["Id"])?, done)).collect(),
        "DeleteMessage" => handled(queue, input).into_iter().collect(),
        "ChangeMessageVisibility" => handled(queue, input).into_iter().collect(),
        "DeleteMessageBatch" | "ChangeMessageVisibilityBatch" => {
            succeeded.iter().filter_map(|done| handled(queue, entry(&done["Id"])?)).collect()
        }
        _ => Vec::new(),
    }
}

fn sent(queue: &str, message: &Value, output: &Value) -> Option<MessageEvent> {
    let body = message["MessageBody"].as_str().unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let delay = Duration::from_secs(message["DelaySeconds"].as_u64().unwrap_or_default());
    let kind = MessageEventKind::Sent {
        body: body.chars().take(BODY_CHARS).collect(),
        bytes: body.len(),
        group: text(&message["MessageGroupId"]),
        trace_header: text(&message["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"]),
        visible_at: SystemTime::now() + delay,
    };
    Some(MessageEvent::new(queue, output["MessageId"].as_str()?, kind))
}

/// A deletion, or a change of the visibility where the input names one.
fn handled(queue: &str, input: &Value) -> Option<MessageEvent> {
    let message = message_of(&input["ReceiptHandle"])?;
    let kind = match input["VisibilityTimeout"].as_u64() {
        Some(seconds) => MessageEventKind::Visible { at: SystemTime::now() + Duration::from_secs(seconds) },
        None => MessageEventKind::Deleted,
    };
    Some(MessageEvent::new(queue, &message, kind))
}
