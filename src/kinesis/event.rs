//! Lambda's event for a batch of records of a stream.

use crate::{
    Invocation,
    batch::{Annotations, annotate},
    lenient::{Field, Number, Shape},
    stream::{StreamEvent, Window, age},
};
use serde::de::{IgnoredAny, MapAccess};
use std::time::{Duration, SystemTime};

/// An event of a Kinesis event source mapping. See
/// [Using Lambda with Kinesis](https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html).
pub type KinesisEvent = StreamEvent<KinesisRecord>;

/// One record of the event.
///
/// A field that is missing or null is empty. So is one of another type than Kinesis's, but then its record fails, with the name of the field.
#[derive(Clone, Debug, Default)]
pub struct KinesisRecord {
    /// The place of the record in its shard. It names the record in the response.
    pub sequence_number: String,
    /// The key that chose the shard.
    pub partition_key: String,
    /// The data, in base64.
    pub data: String,
    /// When Kinesis got it, in seconds since 1970.
    pub approximate_arrival_timestamp: Option<f64>,
    /// The shard's id and the sequence number, with a colon between them.
    pub event_id: String,
    /// The ARN of the stream.
    pub event_source_arn: String,
    /// A field with an invalid value.
    pub(super) wrong: Option<&'static str>,
    /// The tumbling window of the batch.
    pub(super) window: Option<Window>,
}

impl Shape for KinesisRecord {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut record, mut wrong, mut data) = (Self::default(), None, Field::Absent);
        while let Some(key) = map.next_key::<String>()? {
            let wrong = &mut wrong;
            match &*key {
                "kinesis" => match map.next_value::<Field<Inner>>()? {
                    Field::Is(inner) => {
                        record.sequence_number = inner.sequence_number.or_default("kinesis.sequenceNumber", wrong);
                        record.partition_key = inner.partition_key.or_default("kinesis.partitionKey", wrong);
                        record.approximate_arrival_timestamp = inner.arrived.present().map(|number: Number| number.0);
                        data = inner.data;
                    }
                    Field::Absent | Field::Wrong => *wrong = Some("kinesis"),
                },
                // EventBridge Pipes puts the fields of a record beside its source.
                "sequenceNumber" => record.sequence_number = map.next_value::<Field<_>>()?.or_default("sequenceNumber", wrong),
                "partitionKey" => record.partition_key = map.next_value::<Field<_>>()?.or_default("partitionKey", wrong),
                "data" => data = map.next_value()?,
                "approximateArrivalTimestamp" => {
                    let arrived = map.next_value::<Field<Number>>()?.present();
                    record.approximate_arrival_timestamp = arrived.map(|number| number.0);
                }
                "eventID" => record.event_id = map.next_value::<Field<_>>()?.or_default("eventID", wrong),
                "eventSourceARN" => record.event_source_arn = map.next_value::<Field<_>>()?.or_default("eventSourceARN", wrong),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match data {
            Field::Is(data) => record.data = data,
            Field::Absent | Field::Wrong => wrong = wrong.or(Some("kinesis.data")),
        }
        if record.sequence_number.is_empty() {
            wrong = wrong.or(Some("kinesis.sequenceNumber"));
            if let Some((_, number)) = record.event_id.split_once(':') {
                number.clone_into(&mut record.sequence_number);
            }
        }
        record.wrong = wrong;
        Ok(Some(record))
    }
}

/// The fields of `kinesis`.
#[derive(Default)]
struct Inner {
    sequence_number: Field<String>,
    partition_key: Field<String>,
    data: Field<String>,
    arrived: Field<Number>,
}

impl Shape for Inner {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut inner = Self::default();
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "sequenceNumber" => inner.sequence_number = map.next_value()?,
                "partitionKey" => inner.partition_key = map.next_value()?,
                "data" => inner.data = map.next_value()?,
                "approximateArrivalTimestamp" => inner.arrived = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(inner))
    }
}

impl KinesisRecord {
    /// The stream's name: the last part of its ARN.
    pub fn stream(&self) -> &str {
        self.event_source_arn.rsplit('/').next().unwrap_or_default()
    }

    /// The shard it is from: `shardId-000000000000`.
    pub fn shard_id(&self) -> &str {
        self.event_id.split_once(':').map_or("", |(shard, _)| shard)
    }

    pub(super) fn age(&self, now: SystemTime) -> Option<Duration> {
        age(self.approximate_arrival_timestamp, now)
    }
}

/// One record, decoded, for the handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record<T> {
    /// The data: decoded from JSON, or unchanged in a [raw batch](super::batch_raw).
    pub data: T,
    /// The key that chose the shard.
    pub partition_key: String,
    /// The place of the record in its shard.
    pub sequence_number: String,
    /// The shard it is from.
    pub shard_id: String,
    /// Time since Kinesis got it, if the event reports it.
    pub age: Option<Duration>,
    /// The tumbling window, in a mapping that has one.
    pub window: Option<Window>,
    /// The invocation it is handled in.
    pub invocation: Invocation,
    pub(super) annotations: Annotations,
}

annotate!(Record);

impl<T> Record<T> {
    /// A record for a unit test of a handler: without an age and a window.
    pub fn new(partition_key: impl Into<String>, sequence_number: impl Into<String>, data: T) -> Self {
        Self {
            data,
            partition_key: partition_key.into(),
            sequence_number: sequence_number.into(),
            shard_id: "shardId-000000000000".to_owned(),
            age: None,
            window: None,
            invocation: Invocation::current(),
            annotations: Annotations::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn records(json: &Value) -> Vec<KinesisRecord> {
        serde_json::from_str::<KinesisEvent>(&json.to_string()).expect("decodes").records
    }

    fn sound() -> Value {
        json!({
            "kinesis": { "kinesisSchemaVersion": "1.0", "partitionKey": "p", "sequenceNumber": "7", "data": "e30=",
                "approximateArrivalTimestamp": 1_545_084_650.987 },
            "eventSource": "aws:kinesis", "eventID": "shardId-000000000006:7",
            "eventSourceARN": "arn:aws:kinesis:us-east-2:123456789012:stream/lambda-stream",
        })
    }

    #[test]
    fn an_event_of_lambda_decodes() {
        let [record] = &*records(&json!({ "Records": [sound()] })) else { panic!("one record") };
        assert_eq!(
            (record.stream(), record.shard_id(), &*record.sequence_number),
            ("lambda-stream", "shardId-000000000006", "7")
        );
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs_f64(1_545_084_651.987);
        assert_eq!(record.age(later).map(|age| age.as_millis()), Some(1_000));
        assert_eq!((&*record.data, record.wrong), ("e30=", None));
    }

    #[test]
    fn a_record_of_any_kind_spoils_no_other() {
        let odd_values = [json!(null), json!(1), json!(true), json!([1]), json!({ "a": 1 })];
        for field in ["sequenceNumber", "partitionKey", "data"] {
            for value in &odd_values {
                let mut odd = sound();
                odd["kinesis"][field] = value.clone();
                let [odd, next] = &*records(&json!({ "Records": [odd, sound()] })) else { panic!("two records") };
                assert_eq!(next.wrong, None);
                // The sequence number is in the id of the event too.
                assert_eq!(odd.sequence_number, "7", "{field} {value}");
                assert_eq!(odd.wrong.is_none(), value.is_null() && field == "partitionKey", "{field} {value}");
            }
        }
        for value in [json!(null), json!(1), json!("x"), json!([])] {
            let [odd, next] = &*records(&json!({ "Records": [value, sound()] })) else { panic!("two records") };
            assert_eq!((&*odd.sequence_number, next.wrong), ("", None));
        }
    }

    #[test]
    fn a_pipe_sends_an_array_of_flat_records() {
        let flat = json!([{ "partitionKey": "p", "sequenceNumber": "7", "data": "e30=", "approximateArrivalTimestamp": 1_545_084_650.987,
            "eventSource": "aws:kinesis", "eventID": "shardId-000000000006:7", "eventSourceARN": "arn:aws:kinesis:r:1:stream/s" }]);
        let [record] = &*records(&flat) else { panic!("one record") };
        assert_eq!((&*record.partition_key, &*record.data, record.wrong), ("p", "e30=", None));
    }

    #[test]
    fn a_window_is_read() {
        let event = json!({ "Records": [], "window": { "start": "2020-12-09T07:04:00Z", "end": "2020-12-09T07:06:00Z" }, "state": { "1": 282 },
            "shardId": "shardId-000000000006", "isFinalInvokeForWindow": true, "isWindowTerminatedEarly": false });
        let event: KinesisEvent = serde_json::from_str(&event.to_string()).expect("decodes");
        let window = event.window.expect("a window");
        assert_eq!((window.start(), window.shard_id()), ("2020-12-09T07:04:00Z", "shardId-000000000006"));
        assert!(window.is_final() && !window.is_terminated_early());
        assert_eq!(window.state(), json!({ "1": 282 }));
    }
}
