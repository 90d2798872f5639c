//! `ReceiveMessage`.
//!
//! `awsim-sqs` has one, but it counts a redelivery twice, hands out a FIFO group's next message while the one before is in flight, and
//! looks at the queue every 50 ms. This one works on the same queues.

use super::{
    ledger::{self, MessageEvent, MessageEventKind},
    service::Service,
};
use awsim_core::AwsError;
use awsim_sqs::state::{InflightMessage, Message, MessageAttribute, Queue};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value, json};
use std::{
    collections::HashSet,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Makes receipt handles differ.
static RECEIPTS: AtomicU64 = AtomicU64::new(0);

/// The parameters of one request.
struct Request<'a> {
    queue: &'a str,
    most: usize,
    wait: Option<Duration>,
    visibility: Option<Duration>,
    attributes: Vec<&'a str>,
    message_attributes: Vec<&'a str>,
}

/// The result of one look at a queue.
struct Look {
    messages: Vec<Value>,
    received: Vec<MessageEvent>,
    dead: Vec<Message>,
    dead_letter_queue: Option<String>,
    /// When a message becomes visible by the mere passing of time.
    next: Option<Instant>,
    /// The queue's own wait, where the request has none.
    wait: Duration,
}

/// Receives up to ten messages, waiting for the first as long as the request or the queue says.
pub(super) async fn receive(service: &Service, input: &Value) -> Result<Value, AwsError> {
    let request = Request::read(input)?;
    let begun = Instant::now();
    let mut changed = service.subscribe();
    loop {
        changed.mark_unchanged();
        let look = take(service, &request)?;
        let until = begun + request.wait.unwrap_or(look.wait);
        if !look.messages.is_empty() || Instant::now() >= until {
            if !look.messages.is_empty() {
                service.tell();
            }
            return Ok(json!({"Messages": look.messages}));
        }
        let wake = look.next.map_or(until, |next| next.min(until));
        // Either way the queue is looked at again.
        let _ = tokio::time::timeout_at(wake.into(), changed.changed()).await;
    }
}

/// Looks once, and moves what was received too often.
fn take(service: &Service, request: &Request<'_>) -> Result<Look, AwsError> {
    let _moving = service.still();
    let mut look = service.with_queue(request.queue, |queue| look(queue, request)).ok_or_else(|| no_queue(request.queue))?;
    for event in std::mem::take(&mut look.received) {
        service.ledger.write(event);
    }
    let dead = std::mem::take(&mut look.dead);
    if !dead.is_empty()
        && let Some(arn) = &look.dead_letter_queue
    {
        for message in &dead {
            let to = arn.rsplit(':').next().unwrap_or(arn).to_owned();
            service.ledger.write(MessageEvent::new(request.queue, &message.message_id, MessageEventKind::Dead { to }));
        }
        if !service.append(arn, dead) {
            tracing::warn!(%arn, "the dead-letter queue does not exist; its messages are lost");
        }
        service.tell();
    }
    Ok(look)
}

fn look(queue: &mut Queue, request: &Request<'_>) -> Look {
    queue.tick();
    if queue.is_fifo {
        // Messages whose visibility timeout has passed are put back in no particular order.
        queue.messages.make_contiguous().sort_by(|a, b| a.sequence_number.cmp(&b.sequence_number));
    }
    let now = Instant::now();
    let locked: HashSet<String> = queue.inflight.values().filter_map(|held| held.message.group_id.clone()).collect();
    let redrive = queue.redrive_policy.clone();
    let visibility = request.visibility.unwrap_or_else(|| Duration::from_secs(queue.visibility_timeout_secs()));
    let mut next = queue.inflight.values().filter_map(|held| held.visible_at).min();
    let mut dead = Vec::new();
    let mut messages = Vec::new();
    let mut received = Vec::new();
    let mut kept = std::collections::VecDeque::with_capacity(queue.messages.len());
    for mut message in std::mem::take(&mut queue.messages) {
        let delayed = message.delay_until.filter(|&until| until > now);
        next = next.into_iter().chain(delayed).min();
        let group = message.group_id.as_deref().filter(|_| queue.is_fifo);
        let held_back = group.is_some_and(|group| locked.contains(group));
        if held_back || delayed.is_some() || messages.len() >= request.most {
            kept.push_back(message);
        } else if redrive.as_ref().is_some_and(|redrive| message.receive_count >= redrive.max_receive_count) {
            message.attributes.insert("DeadLetterQueueSourceArn".into(), queue.arn.clone());
            dead.push(message);
        } else {
            let (shown, held) = hand_out(message, request, now + visibility);
            messages.push(shown);
            let kind =
                MessageEventKind::Received { count: held.message.receive_count + 1, visible_at: ledger::visible_at(&held) };
            received.push(MessageEvent::new(request.queue, &held.message.message_id, kind));
            queue.inflight.insert(held.receipt_handle.clone(), held);
        }
    }
    queue.messages = kept;
    let wait = queue.attributes.get("ReceiveMessageWaitTimeSeconds").and_then(|wait| wait.parse().ok());
    Look {
        messages,
        received,
        dead,
        dead_letter_queue: redrive.map(|redrive| redrive.dead_letter_target_arn),
        next,
        wait: Duration::from_secs(wait.unwrap_or(0)),
    }
}

/// Shows a message as received once more, and holds it.
///
/// The count that is held stays what it was: `Queue::tick` adds one when the message becomes visible again.
fn hand_out(mut message: Message, request: &Request<'_>, visible_at: Instant) -> (Value, InflightMessage) {
    let count = message.receive_count + 1;
    message.attributes.insert("ApproximateReceiveCount".into(), count.to_string());
    if message.receive_count == 0 {
        let now = milliseconds(SystemTime::now());
        let age = message.sent_at.map_or(0, |sent| sent.elapsed().as_millis());
        message.attributes.insert("ApproximateFirstReceiveTimestamp".into(), now.to_string());
        message.attributes.insert("SentTimestamp".into(), now.saturating_sub(age).to_string());
    }
    let receipt = RECEIPTS.fetch_add(1, Ordering::Relaxed);
    let receipt_handle = ledger::receipt_handle(receipt, &message.message_id);
    let mut shown = json!({
        "MessageId": message.message_id,
        "ReceiptHandle": receipt_handle,
        // It was sent as a string.
        "Body": message.body.read_string().unwrap_or_default(),
        "MD5OfBody": message.md5_of_body,
    });
    let attributes = message.attributes.iter().filter(|(name, _)| asked_for(&request.attributes, name));
    let attributes: Map<_, _> = attributes.map(|(name, value)| (name.clone(), json!(value))).collect();
    if !attributes.is_empty() {
        shown["Attributes"] = attributes.into();
    }
    let attributes = message.message_attributes.iter().filter(|(name, _)| asked_for(&request.message_attributes, name));
    let attributes: Map<_, _> = attributes.map(|(name, value)| (name.clone(), attribute(value))).collect();
    if !attributes.is_empty() {
        shown["MessageAttributes"] = attributes.into();
    }
    let held = InflightMessage { message, visible_at_secs: 0, receipt_handle, visible_at: Some(visible_at) };
    (shown, held)
}

fn attribute(attribute: &MessageAttribute) -> Value {
    let mut shown = json!({"DataType": attribute.data_type});
    if let Some(text) = &attribute.string_value {
        shown["StringValue"] = json!(text);
    }
    if let Some(bytes) = &attribute.binary_value {
        shown["BinaryValue"] = json!(BASE64.encode(bytes));
    }
    shown
}

/// `All`, `.*`, a name, or the beginning of one with `.*`.
fn asked_for(names: &[&str], name: &str) -> bool {
    names
        .iter()
        .any(|&asked| asked == "All" || asked == name || asked.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix)))
}

impl<'a> Request<'a> {
    fn read(input: &'a Value) -> Result<Self, AwsError> {
        let url = input["QueueUrl"].as_str().ok_or_else(|| AwsError::bad_request("MissingParameter", "QueueUrl is required"))?;
        let most = number(input, "MaxNumberOfMessages", 1, 10)?.unwrap_or(1);
        let names = |key: &str| {
            let names = input[key].as_array();
            names.map(|names| names.iter().filter_map(Value::as_str).collect::<Vec<_>>())
        };
        Ok(Self {
            queue: url.rsplit('/').next().unwrap_or(url),
            most: usize::try_from(most).unwrap_or(1),
            wait: number(input, "WaitTimeSeconds", 0, 20)?.map(Duration::from_secs),
            visibility: number(input, "VisibilityTimeout", 0, 43_200)?.map(Duration::from_secs),
            attributes: names("MessageSystemAttributeNames").or_else(|| names("AttributeNames")).unwrap_or_default(),
            message_attributes: names("MessageAttributeNames").unwrap_or_default(),
        })
    }
}

fn number(input: &Value, key: &str, least: u64, most: u64) -> Result<Option<u64>, AwsError> {
    match input.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(AwsError::bad_request(
                "InvalidParameterValue",
                format!("Value {value} for parameter {key} is invalid. Reason: Must be >= {least} and <= {most}."),
            )),
        },
    }
}

fn no_queue(name: &str) -> AwsError {
    AwsError::bad_request("AWS.SimpleQueueService.NonExistentQueue", format!("The specified queue does not exist: {name}"))
}

fn milliseconds(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
