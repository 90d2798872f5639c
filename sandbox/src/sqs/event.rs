//! The event that Lambda makes of received messages: "Using Lambda with Amazon SQS", AWS Lambda Developer Guide.

use super::REGION;
use serde_json::{Map, Value, json};

/// A message as the mapping received it.
#[derive(Clone, Debug)]
pub(super) struct Received(pub(super) Value);

impl Received {
    pub(super) fn id(&self) -> &str {
        self.0["MessageId"].as_str().unwrap_or_default()
    }

    pub(super) fn receipt_handle(&self) -> &str {
        self.0["ReceiptHandle"].as_str().unwrap_or_default()
    }

    pub(super) fn body(&self) -> &str {
        self.0["Body"].as_str().unwrap_or_default()
    }

    pub(super) fn group(&self) -> Option<&str> {
        self.0["Attributes"]["MessageGroupId"].as_str()
    }

    pub(super) fn trace_header(&self) -> Option<&str> {
        self.0["Attributes"]["AWSTraceHeader"].as_str()
    }

    fn record(&self, queue_arn: &str) -> Value {
        let message = &self.0;
        let attributes = message["MessageAttributes"].as_object().into_iter().flatten();
        let attributes: Map<_, _> = attributes.map(|(name, attribute)| (name.clone(), message_attribute(attribute))).collect();
        json!({
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message["Attributes"],
            "messageAttributes": attributes,
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": queue_arn,
            "awsRegion": REGION,
        })
    }
}

/// `{"Records": [..]}`.
pub(super) fn event(messages: &[Received], queue_arn: &str) -> Value {
    let records: Vec<Value> = messages.iter().map(|message| message.record(queue_arn)).collect();
    json!({"Records": records})
}

fn message_attribute(attribute: &Value) -> Value {
    let mut shown = Map::new();
    for (from, to) in [("StringValue", "stringValue"), ("BinaryValue", "binaryValue")] {
        if let Some(value) = attribute.get(from) {
            shown.insert(to.into(), value.clone());
        }
    }
    shown.insert("stringListValues".into(), json!([]));
    shown.insert("binaryListValues".into(), json!([]));
    shown.insert("dataType".into(), attribute["DataType"].clone());
    shown.into()
}
