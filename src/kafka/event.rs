//! Lambda's event for a batch of records of topics, and the response that it expects.

use crate::{
    Invocation,
    batch::{Annotations, annotate},
    lenient::{Byte, Field, Integer, Shape},
};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// An event of an event source mapping of Amazon MSK or of self-managed Kafka. See
/// [Using Lambda with Amazon MSK](https://docs.aws.amazon.com/lambda/latest/dg/with-msk.html).
///
/// Unlike the type of `aws_lambda_events` it keeps the order of partitions, and decodes whatever is in a record, so that an odd record affects no
/// other.
#[derive(Clone, Debug, Default)]
pub struct KafkaEvent {
    /// The records, partition by partition, each in its order.
    pub records: Vec<KafkaRecord>,
}

/// One record of the event.
///
/// A field that is missing or null is empty. So is one of another type than Kafka's, but then its record fails, with the name of the field.
#[derive(Clone, Debug, Default)]
pub struct KafkaRecord {
    /// The key of the record's list in the event: `<topic>-<partition>`.
    pub topic_partition: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i64,
    /// The place of the record in its partition.
    pub offset: Option<i64>,
    /// When it was made or appended, in milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// The key, in base64.
    pub key: Option<String>,
    /// The value, in base64.
    pub value: Option<String>,
    /// The headers, in their order. A name may be there several times.
    pub headers: Vec<(String, Vec<u8>)>,
    /// A field with an invalid value.
    pub(super) wrong: Option<&'static str>,
}

impl<'de> Deserialize<'de> for KafkaEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = KafkaEvent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event of Kafka")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KafkaEvent, A::Error> {
        let mut records = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == "records" {
                records = Some(map.next_value::<Partitions>()?.0);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(KafkaEvent { records: records.ok_or_else(|| A::Error::missing_field("records"))? })
    }
}

/// The lists of an event, one after the other.
struct Partitions(Vec<KafkaRecord>);

impl<'de> Deserialize<'de> for Partitions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lists;
        impl<'de> Visitor<'de> for Lists {
            type Value = Partitions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of records for each partition")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Partitions, A::Error> {
                let mut records = Vec::new();
                while let Some((partition, list)) = map.next_entry::<String, Vec<Field<KafkaRecord>>>()? {
                    records.extend(list.into_iter().map(|record| {
                        // A value that is not an object has no offset, and no other field.
                        let odd = || KafkaRecord { wrong: Some("offset"), ..KafkaRecord::default() };
                        KafkaRecord { topic_partition: partition.clone(), ..record.present().unwrap_or_else(odd) }
                    }));
                }
                Ok(Partitions(records))
            }
        }
        deserializer.deserialize_map(Lists)
    }
}

impl Shape for KafkaRecord {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut record, mut wrong) = (Self::default(), None);
        while let Some(key) = map.next_key::<String>()? {
            let wrong = &mut wrong;
            let mut number = |field: Field<Integer>, name| match field {
                Field::Is(Integer(number)) => Some(number),
                Field::Absent => None,
                Field::Wrong => {
                    wrong.get_or_insert(name);
                    None
                }
            };
            match &*key {
                "partition" => record.partition = number(map.next_value()?, "partition").unwrap_or_default(),
                "offset" => record.offset = number(map.next_value()?, "offset"),
                "timestamp" => record.timestamp = number(map.next_value()?, "timestamp"),
                "topic" => record.topic = map.next_value::<Field<_>>()?.or_default("topic", wrong),
                "key" => record.key = text(map.next_value()?, "key", wrong),
                "value" => record.value = text(map.next_value()?, "value", wrong),
                "headers" => {
                    let headers = map.next_value::<Field<Vec<Header>>>()?.or_default("headers", wrong);
                    record.headers = headers.into_iter().flat_map(|header| header.0).collect();
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if record.offset.is_none() {
            wrong = wrong.or(Some("offset"));
        }
        record.wrong = wrong;
        Ok(Some(record))
    }
}

fn text(field: Field<String>, name: &'static str, wrong: &mut Option<&'static str>) -> Option<String> {
    match field {
        Field::Is(text) => Some(text),
        Field::Absent => None,
        Field::Wrong => {
            wrong.get_or_insert(name);
            None
        }
    }
}

/// An object of a record's `headers`: a name and its bytes.
struct Header(Vec<(String, Vec<u8>)>);

impl Shape for Header {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut headers, mut sound) = (Vec::new(), true);
        while let Some((name, value)) = map.next_entry::<String, Field<Vec<Byte>>>()? {
            match value {
                Field::Is(bytes) => headers.push((name, bytes.into_iter().map(|Byte(byte)| byte).collect())),
                Field::Absent => {}
                Field::Wrong => sound = false,
            }
        }
        Ok(sound.then_some(Self(headers)))
    }
}

impl KafkaRecord {
    /// The first header with this name, if its value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }

    pub(super) fn moment(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(self.timestamp?).ok()?))
    }
}

/// One record, decoded, for the handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Record<T> {
    /// The value: decoded from JSON, or unchanged in a [raw batch](super::batch_raw).
    pub value: T,
    /// The key as it came.
    pub key: Option<Vec<u8>>,
    /// The headers, in their order. A name may be there several times.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i64,
    /// The place of the record in its partition.
    pub offset: i64,
    /// When it was made or appended, as the topic is configured.
    pub timestamp: Option<SystemTime>,
    /// The invocation it is handled in.
    pub invocation: Invocation,
    pub(super) annotations: Annotations,
}

annotate!(Record);

impl<T> Record<T> {
    /// A record for a unit test of a handler: without a key, headers and a timestamp.
    pub fn new(topic: impl Into<String>, partition: i64, offset: i64, value: T) -> Self {
        Self {
            value,
            key: None,
            headers: Vec::new(),
            topic: topic.into(),
            partition,
            offset,
            timestamp: None,
            invocation: Invocation::current(),
            annotations: Annotations::default(),
        }
    }

    /// The first header with this name, if its value is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }
}

/// The response to a batch: the records that are sent again. Empty when all succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KafkaBatchResponse {
    /// In the order of the batch.
    #[serde(rename = "batchItemFailures")]
    pub batch_item_failures: Vec<KafkaBatchItemFailure>,
}

/// One record that is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KafkaBatchItemFailure {
    /// Its place.
    #[serde(rename = "itemIdentifier")]
    pub item_identifier: ItemIdentifier,
}

/// The place of a record among the topics of a mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ItemIdentifier {
    /// `<topic>-<partition>`, as the event names it.
    pub partition: String,
    /// The offset.
    pub offset: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn sound() -> Value {
        json!({ "topic": "t", "partition": 0, "offset": 15, "timestamp": 1_545_084_650_987_i64, "timestampType": "CREATE_TIME",
            "key": "YWJj", "value": "e30=", "headers": [{ "h": [104, -61, 105] }, { "h": [1] }] })
    }

    fn records(json: &Value) -> Vec<KafkaRecord> {
        serde_json::from_str::<KafkaEvent>(&json.to_string()).expect("decodes").records
    }

    #[test]
    fn an_event_of_lambda_decodes() {
        let event = json!({ "eventSource": "aws:kafka", "records": { "t-1": [sound()], "t-0": [sound(), sound()] } });
        let records = records(&event);
        let partitions: Vec<_> = records.iter().map(|record| &*record.topic_partition).collect();
        assert_eq!(partitions, ["t-1", "t-0", "t-0"]);
        assert_eq!(records[0].headers, [("h".to_owned(), vec![104, 195, 105]), ("h".to_owned(), vec![1])]);
        assert_eq!((records[0].offset, records[0].key.as_deref(), records[0].wrong), (Some(15), Some("YWJj"), None));
    }

    #[test]
    fn a_record_of_any_kind_spoils_no_other() {
        let odd_values = [json!(true), json!([1]), json!({ "a": 1 }), json!(1.5)];
        for field in ["topic", "partition", "offset", "timestamp", "key", "value", "headers"] {
            for value in &odd_values {
                let mut odd = sound();
                odd[field] = value.clone();
                let [odd, next] = &*records(&json!({ "records": { "t-0": [odd, sound()] } })) else { panic!("two records") };
                assert_eq!((odd.wrong, next.wrong), (Some(field), None), "{value}");
            }
        }
        for value in [json!(null), json!(1), json!("x"), json!([])] {
            let [odd, next] = &*records(&json!({ "records": { "t-0": [value, sound()] } })) else { panic!("two records") };
            assert_eq!((odd.offset, odd.wrong, next.wrong), (None, Some("offset"), None));
        }
        let mut tombstone = sound();
        (tombstone["value"], tombstone["key"], tombstone["headers"]) = (json!(null), json!(null), json!(null));
        let [record] = &*records(&json!({ "records": { "t-0": [tombstone] } })) else { panic!("one record") };
        assert_eq!((&record.value, record.wrong), (&None, None));
    }

    #[test]
    fn the_response_names_partition_and_offset() {
        let item_identifier = ItemIdentifier { partition: "t-0".into(), offset: 7 };
        let response = KafkaBatchResponse { batch_item_failures: vec![KafkaBatchItemFailure { item_identifier }] };
        let json = r#"{"batchItemFailures":[{"itemIdentifier":{"partition":"t-0","offset":7}}]}"#;
        assert_eq!(serde_json::to_string(&response).expect("encodes"), json);
    }
}
