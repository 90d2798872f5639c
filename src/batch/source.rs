//! The interface between the engine and a kind of event source.

use super::{annotations::Annotations, failure::FailedRecord};
use crate::{Invocation, Trigger, hop::Producer};
use lambda_runtime::Error;
use opentelemetry::KeyValue;
use serde::Serialize;
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// A kind of event source, with its options and the type of its records' values. The modules of the sources implement it, and nothing else can.
pub trait Source: Sealed + Clone + Send + Sync + 'static {
    /// The event that Lambda sends.
    type Event: Send + 'static;
    /// The argument of a handler: one record, decoded.
    type Item;
    /// The response that Lambda expects.
    type Response: Send;
    /// The reason why a batch as a whole fails.
    type Error: Send;
    /// One record of the event, not decoded.
    type Record: Clone + Send + Sync + 'static;
    /// The part of an event around its records.
    #[doc(hidden)]
    type Frame: Send + Sync;

    #[doc(hidden)]
    const TRIGGER: Trigger;
    /// OpenTelemetry's `messaging.system`.
    #[doc(hidden)]
    const SYSTEM: &'static str;

    /// The records of an event, in their order, each of them once.
    #[doc(hidden)]
    fn records(&self, event: Self::Event) -> Result<Opened<Self>, Self::Error>;

    /// The queue or stream that a record is from.
    #[doc(hidden)]
    fn destination(record: &Self::Record) -> &str;

    /// Appends the name of a record in the response; nothing if it has none.
    #[doc(hidden)]
    fn write_id(record: &Self::Record, ids: &mut String);

    /// False if a field has another type than its service sends, so that its value is lost.
    #[doc(hidden)]
    fn is_intact(record: &Self::Record) -> bool;

    /// How often it was received, including this time.
    #[doc(hidden)]
    fn receive_count(_: &Self::Record) -> u32 {
        1
    }

    /// Records of the same lane are handled one after the other; a record without a lane has one of its own.
    #[doc(hidden)]
    fn lane<'r>(&self, record: &'r Self::Record) -> Option<(&'r str, &'r [u8])>;

    /// Records of the same checkpoint are sent again together, from the first that is not done.
    #[doc(hidden)]
    fn checkpoint<'r>(&self, _: &'r Self::Record) -> Option<&'r str> {
        None
    }

    /// The time since it was sent.
    #[doc(hidden)]
    fn age(record: &Self::Record, now: SystemTime) -> Option<Duration>;

    /// The call that sent it.
    #[doc(hidden)]
    fn producer(&self, _: &Invocation, _: &Self::Record) -> Option<Producer> {
        None
    }

    /// The correlation id of a record. `None` if it is the invocation's.
    #[doc(hidden)]
    fn correlation(&self, _: &Invocation, _: &Self::Record) -> Option<Arc<str>> {
        None
    }

    /// Attributes of a record's span.
    #[doc(hidden)]
    fn describe(&self, record: &Self::Record, receive_count: u32, attributes: &mut Vec<KeyValue>);

    /// Decodes a record for its handler.
    #[doc(hidden)]
    fn item(&self, record: Self::Record, known: Known<'_>) -> Result<Self::Item, String>;

    /// The calls that delay the next delivery of a record that failed, and of those that are sent again with it, in their order.
    #[doc(hidden)]
    fn delays(&self, _: &Self::Frame, _: &FailedRecord<'_>) -> Vec<Delaying> {
        Vec::new()
    }

    /// The response for the results of the records.
    #[doc(hidden)]
    fn response(&self, frame: &Self::Frame, records: &[Progress<'_>]) -> Result<Self::Response, Self::Error>;
}

/// The parts of an event: what surrounds its records, and the records.
pub(crate) type Opened<K> = (<K as Source>::Frame, Vec<<K as Source>::Record>);

/// A call that delays the next delivery of a record.
pub(crate) type Delaying = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// Keeps [`Source`] to this crate.
pub trait Sealed {}

/// The facts of a record that the engine has read when it calls the handler.
#[derive(Debug)]
pub struct Known<'a> {
    pub(crate) invocation: &'a Invocation,
    pub(crate) annotations: Annotations,
    /// How often it was received, including this time.
    #[cfg_attr(not(feature = "sqs"), allow(dead_code, reason = "only queues count"))]
    pub(crate) receive_count: u32,
    /// The time since it was sent.
    #[cfg_attr(
        not(any(feature = "sqs", feature = "kinesis", feature = "dynamodb")),
        allow(dead_code, reason = "Kafka gives the time itself")
    )]
    pub(crate) age: Option<Duration>,
}

/// The result of a record.
#[derive(Debug)]
pub struct Progress<'a> {
    pub(crate) id: &'a str,
    /// The source need not send it again.
    pub(crate) done: bool,
}

/// The response to a batch: the records that are sent again. Empty when all succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BatchResponse {
    /// In the order of the batch.
    #[serde(rename = "batchItemFailures")]
    pub batch_item_failures: Vec<BatchItemFailure>,
}

/// One record that is sent again.
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
    fn the_response_has_lambdas_form() {
        let response = BatchResponse { batch_item_failures: vec![BatchItemFailure { item_identifier: "m1".into() }] };
        assert_eq!(serde_json::to_string(&response).expect("encodes"), r#"{"batchItemFailures":[{"itemIdentifier":"m1"}]}"#);
        assert_eq!(serde_json::to_string(&BatchResponse::default()).expect("encodes"), r#"{"batchItemFailures":[]}"#);
    }
}
