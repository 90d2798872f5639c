//! Lambda's event for a batch of messages, and the response that it expects.

use crate::{
    AnnotationValue, Invocation,
    batch::Annotations,
    lenient::{Field, Shape},
    sns::Notification,
    xray::TraceHeader,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use std::{
    collections::HashMap,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An event of an SQS event source mapping, or the plain array of its records that EventBridge Pipes sends. See [Using Lambda
/// with Amazon SQS](https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event).
///
/// Unlike the type of `aws_lambda_events`, it decodes records with unexpected fields, so that one of them does not fail the
/// batch.
#[derive(Clone, Debug, Default)]
pub struct SqsEvent {
    /// The messages, at most 10,000.
    pub records: Vec<SqsRecord>,
}

/// One message of the event.
///
/// A field that is missing or null is empty. So is one of another type than SQS's, but then its message fails, with the name of
/// the field.
#[derive(Clone, Debug, Default)]
pub struct SqsRecord {
    /// Names the message in the response.
    pub message_id: String,
    /// Names this receive of the message, for `ChangeMessageVisibility`.
    pub receipt_handle: String,
    /// The body, unchanged.
    pub body: String,
    /// System attributes: `ApproximateReceiveCount`, `SentTimestamp`, `MessageGroupId`, `AWSTraceHeader`.
    pub attributes: HashMap<String, String>,
    /// The sender's own attributes.
    pub message_attributes: HashMap<String, MessageAttribute>,
    /// `aws:sqs`.
    pub event_source: String,
    /// The ARN of the queue.
    pub event_source_arn: String,
    /// A field with an invalid value.
    pub(super) wrong: Option<&'static str>,
    /// What was published and the notification around it, or what is wrong with the body, in a batch from SNS.
    pub(super) published: Option<Published>,
}

/// The published message and the notification around it, or why the body is invalid.
pub(super) type Published = Result<(String, Box<Notification<()>>), String>;

/// A message attribute from the sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageAttribute {
    /// The value of a `String` or `Number`.
    pub string_value: Option<String>,
    /// The value of a `Binary`, in base64.
    pub binary_value: Option<String>,
    /// `String`, `Number` or `Binary`, with an optional label of the sender after a dot.
    pub data_type: String,
}

impl<'de> Deserialize<'de> for SqsEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = SqsEvent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event of SQS")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SqsEvent, A::Error> {
        let mut records = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "Records" {
                records = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let records: Vec<Field<SqsRecord>> = records.ok_or_else(|| A::Error::missing_field("Records"))?;
        Ok(SqsEvent { records: records.into_iter().map(SqsRecord::from).collect() })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<SqsEvent, A::Error> {
        let records = Vec::<Field<SqsRecord>>::deserialize(SeqAccessDeserializer::new(elements))?;
        Ok(SqsEvent { records: records.into_iter().map(SqsRecord::from).collect() })
    }
}

/// A record that is not an object has no id and no other fields.
impl From<Field<Self>> for SqsRecord {
    fn from(field: Field<Self>) -> Self {
        field.or_default("", &mut None)
    }
}

impl Shape for SqsRecord {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut record, mut wrong, mut body) = (Self::default(), None, Field::Absent);
        while let Some(key) = map.next_key::<String>()? {
            let wrong = &mut wrong;
            match &*key {
                "messageId" => record.message_id = map.next_value::<Field<_>>()?.or_default("messageId", wrong),
                "receiptHandle" => record.receipt_handle = map.next_value::<Field<_>>()?.or_default("receiptHandle", wrong),
                "body" => body = map.next_value()?,
                "attributes" => record.attributes = map.next_value::<Field<_>>()?.or_default("attributes", wrong),
                "messageAttributes" => {
                    record.message_attributes = map.next_value::<Field<_>>()?.or_default("messageAttributes", wrong);
                }
                "eventSource" => record.event_source = map.next_value::<Field<_>>()?.or_default("eventSource", wrong),
                "eventSourceARN" => record.event_source_arn = map.next_value::<Field<_>>()?.or_default("eventSourceARN", wrong),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match body {
            Field::Is(body) => record.body = body,
            Field::Absent | Field::Wrong => wrong = Some("body"),
        }
        record.wrong = wrong;
        Ok(Some(record))
    }
}

impl Shape for MessageAttribute {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut attribute, mut wrong) = (Self::default(), None);
        while let Some(key) = map.next_key::<String>()? {
            let wrong = &mut wrong;
            let text = |field: Field<String>| (field != Field::Absent).then_some(field);
            match &*key {
                "stringValue" => {
                    attribute.string_value = text(map.next_value()?).map(|field| field.or_default("stringValue", wrong));
                }
                "binaryValue" => {
                    attribute.binary_value = text(map.next_value()?).map(|field| field.or_default("binaryValue", wrong));
                }
                "dataType" => attribute.data_type = map.next_value::<Field<_>>()?.or_default("dataType", wrong),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(wrong.is_none().then_some(attribute))
    }
}

impl SqsRecord {
    /// The trace of the call that sent this message.
    pub fn trace_header(&self) -> Option<TraceHeader> {
        self.attributes.get("AWSTraceHeader").map(|header| TraceHeader::parse(header))
    }

    /// The value of one of the sender's message attributes, if it is text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.message_attributes.get(name)?.string_value.as_deref()
    }

    /// The queue's name: the last part of its ARN.
    pub fn queue(&self) -> &str {
        self.event_source_arn.rsplit(':').next().unwrap_or_default()
    }

    /// The message's group, which sets its order. `None` for a standard queue.
    pub fn message_group_id(&self) -> Option<&str> {
        // Standard queues have group ids too, for fairness, but no order within them.
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
    /// The body, decoded from JSON, or unchanged in a [raw batch](super::batch_raw).
    pub body: T,
    /// The message's id in SQS.
    pub id: String,
    /// Names this receive of the message, for `ChangeMessageVisibility`.
    pub receipt_handle: String,
    /// How often it was received, including this time: 1 for the first.
    pub receive_count: u32,
    /// Time since it was sent, if SQS reported it.
    pub age: Option<Duration>,
    /// The message's group in a FIFO queue, which sets its order.
    pub message_group_id: Option<String>,
    /// The sender's own attributes.
    pub attributes: HashMap<String, MessageAttribute>,
    /// The notification that held the body, in a batch [from SNS](crate::batch::Batch::from_sns).
    pub notification: Option<Box<Notification<()>>>,
    /// The invocation it is handled in.
    pub invocation: Invocation,
    pub(super) annotations: Annotations,
}

impl<T> Message<T> {
    /// Adds an annotation to the span of this message, which X-Ray indexes. [`Invocation::annotate`] adds one to the invocation's.
    ///
    /// A message beyond the batch's [`span_budget`](crate::batch::Batch::span_budget) has no span to annotate.
    pub fn annotate(&self, key: &str, value: impl Into<AnnotationValue>) {
        self.annotations.annotate(key, value.into());
    }

    /// A message for a unit test of a handler: received for the first time, without attributes.
    pub fn new(id: impl Into<String>, body: T) -> Self {
        Self {
            body,
            id: id.into(),
            receipt_handle: String::new(),
            receive_count: 1,
            age: None,
            message_group_id: None,
            attributes: HashMap::new(),
            notification: None,
            invocation: Invocation::current(),
            annotations: Annotations::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    fn records(json: &serde_json::Value) -> Vec<SqsRecord> {
        serde_json::from_str::<SqsEvent>(&json.to_string()).expect("decodes").records
    }

    #[test]
    fn a_record_of_any_kind_spoils_no_other() {
        let sound = json!({ "messageId": "sound", "body": "{}" });
        for (field, values) in [
            ("body", vec![json!(null), json!(1), json!({}), json!([])]),
            ("attributes", vec![json!(1), json!("x"), json!([1]), json!({ "SentTimestamp": 1 })]),
            (
                "messageAttributes",
                vec![
                    json!(true),
                    json!([]),
                    json!({ "a": 1 }),
                    json!({ "a": { "dataType": 1 } }),
                    json!({ "a": { "stringValue": {} } }),
                ],
            ),
            ("eventSource", vec![json!(1.5)]),
            ("eventSourceARN", vec![json!(["x"])]),
        ] {
            for value in values {
                let mut odd = json!({ "messageId": "odd", "body": "{}" });
                odd[field] = value;
                for event in [json!({ "Records": [odd, sound] }), json!([odd, sound])] {
                    let [odd, sound] = &*records(&event) else { panic!("two records") };
                    assert_eq!((&*odd.message_id, odd.wrong), ("odd", Some(field)), "{event}");
                    assert_eq!((&*sound.message_id, sound.wrong), ("sound", None), "{event}");
                }
            }
        }
    }

    #[test]
    fn null_is_as_good_as_nothing() {
        let event = json!({ "Records": [{ "messageId": "m", "body": "b", "attributes": null, "messageAttributes": null,
            "eventSource": null, "eventSourceARN": null }, { "messageId": "n", "body": "b", "attributes": { "MessageGroupId": null },
            "messageAttributes": { "a": null, "b": { "stringValue": "x", "binaryValue": null, "dataType": null } } }] });
        let records = records(&event);
        assert!(records.iter().all(|record| record.wrong.is_none()), "{records:?}");
        assert_eq!(records[1].attribute("b"), Some("x"));
        assert_eq!((records[1].message_attributes.len(), records[1].attributes.len()), (1, 0));
    }

    #[test]
    fn what_is_no_record_has_no_id() {
        for odd in [
            json!(null),
            json!(1),
            json!("x"),
            json!([]),
            json!({}),
            json!({ "messageId": null, "body": "" }),
            json!({ "messageId": 1 }),
        ] {
            assert_eq!(records(&json!([odd]))[0].message_id, "", "{odd}");
        }
        for event in ["{}", "null", "1", r#"{"Records":1}"#, r#"{"Records":{}}"#] {
            assert!(serde_json::from_str::<SqsEvent>(event).is_err(), "{event}");
        }
    }
}
