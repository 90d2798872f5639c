//! Lambda's event for a batch of changes of a table.

use crate::{
    Invocation,
    batch::{Annotations, annotate},
    decode,
    lenient::{Field, Number, Shape, Text},
    stream::{StreamEvent, Window, age},
};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess};
use serde_dynamo::{AttributeValue, Deserializer};
use serde_json::value::RawValue;
use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// An event of a DynamoDB event source mapping. See
/// [Using Lambda with DynamoDB](https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html).
pub type DynamoDbEvent = StreamEvent<DynamoDbRecord>;

/// The attributes of an item, in the JSON of DynamoDB: `{"id":{"S":"7"}}`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Image(String);

impl Image {
    /// Decodes the attributes, as `serde_dynamo` does for items that you read from a table.
    ///
    /// # Errors
    /// [`UndecodableImage`] names the attribute, and never quotes its value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, UndecodableImage> {
        let undecodable =
            |error: decode::Undecodable| UndecodableImage(format!("not a valid {}: {error}", decode::type_name::<T>()));
        let attributes = serde_json::from_str(&self.0).map_err(|_| {
            UndecodableImage("the image is not in the JSON of DynamoDB, such as {\"id\":{\"S\":\"7\"}}".to_owned())
        })?;
        decode::from_deserializer(Deserializer::from_attribute_value(AttributeValue::M(attributes))).map_err(undecodable)
    }

    /// The JSON as it stands in the event.
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// Attributes are the contents of a table.
impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Image").finish_non_exhaustive()
    }
}

/// The attributes of an item do not fit the type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UndecodableImage(String);

/// One record of the event.
///
/// A field that is missing or null is empty. So is one of another type than DynamoDB's, but then its record fails, with the name of the field.
#[derive(Clone, Debug, Default)]
pub struct DynamoDbRecord {
    /// The position of the record in its shard. It names the record in the response.
    pub sequence_number: String,
    /// `INSERT`, `MODIFY` or `REMOVE`.
    pub event_name: String,
    /// The primary key of the item.
    pub keys: Option<Image>,
    /// The item after the change.
    pub new_image: Option<Image>,
    /// The item before the change.
    pub old_image: Option<Image>,
    /// When it was changed, in seconds since 1970.
    pub approximate_creation_date_time: Option<f64>,
    /// `dynamodb.amazonaws.com` if DynamoDB removed the item because its time to live was over. Otherwise empty.
    pub principal_id: String,
    /// The ARN of the stream.
    pub event_source_arn: String,
    /// A field with an invalid value.
    pub(super) wrong: Option<&'static str>,
    /// The tumbling window of the batch.
    pub(super) window: Option<Window>,
}

/// The text of an image. Null is none.
fn image<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Image>, A::Error> {
    let text: Box<RawValue> = map.next_value()?;
    Ok(Some(text.get()).filter(|text| *text != "null").map(|text| Image(text.to_owned())))
}

impl Shape for DynamoDbRecord {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut record, mut wrong) = (Self::default(), None);
        while let Some(key) = map.next_key::<String>()? {
            let wrong = &mut wrong;
            match &*key {
                "dynamodb" => match map.next_value::<Field<Inner>>()? {
                    Field::Is(inner) => {
                        record.sequence_number = inner.sequence_number.or_default("dynamodb.SequenceNumber", wrong);
                        record.approximate_creation_date_time = inner.created.present().map(|number: Number| number.0);
                        (record.keys, record.new_image, record.old_image) = (inner.keys, inner.new_image, inner.old_image);
                    }
                    Field::Absent | Field::Wrong => *wrong = Some("dynamodb"),
                },
                "eventName" => record.event_name = map.next_value::<Field<_>>()?.or_default("eventName", wrong),
                "userIdentity" => {
                    record.principal_id =
                        map.next_value::<Field<Identity>>()?.present().map(|identity| identity.0).unwrap_or_default();
                }
                "eventSourceARN" => record.event_source_arn = map.next_value::<Field<_>>()?.or_default("eventSourceARN", wrong),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if record.sequence_number.is_empty() {
            wrong = wrong.or(Some("dynamodb.SequenceNumber"));
        }
        record.wrong = wrong;
        Ok(Some(record))
    }
}

/// The fields of `dynamodb`.
#[derive(Default)]
struct Inner {
    sequence_number: Field<String>,
    created: Field<Number>,
    keys: Option<Image>,
    new_image: Option<Image>,
    old_image: Option<Image>,
}

impl Shape for Inner {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut inner = Self::default();
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "SequenceNumber" => inner.sequence_number = map.next_value()?,
                "ApproximateCreationDateTime" => inner.created = map.next_value()?,
                "Keys" => inner.keys = image(&mut map)?,
                "NewImage" => inner.new_image = image(&mut map)?,
                "OldImage" => inner.old_image = image(&mut map)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(inner))
    }
}

/// The `principalId` of an identity.
struct Identity(String);

impl Shape for Identity {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let mut principal = String::new();
        while let Some(key) = map.next_key::<String>()? {
            let Text(text) = map.next_value::<Field<Text>>()?.or_default("", &mut None);
            if key.eq_ignore_ascii_case("principalId") {
                principal = text;
            }
        }
        Ok(Some(Self(principal)))
    }
}

impl DynamoDbRecord {
    /// The table's name: the second part of the stream's ARN.
    pub fn table(&self) -> &str {
        self.event_source_arn.split('/').nth(1).unwrap_or_default()
    }

    pub(super) fn age(&self, now: SystemTime) -> Option<Duration> {
        age(self.approximate_creation_date_time, now)
    }
}

/// The kind of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The item is new.
    Insert,
    /// Its attributes have changed.
    Modify,
    /// The item was deleted or has expired.
    Remove,
    /// A kind that this version does not know.
    #[default]
    Other,
}

impl ChangeKind {
    pub(super) fn named(name: &str) -> Self {
        match name {
            "INSERT" => Self::Insert,
            "MODIFY" => Self::Modify,
            "REMOVE" => Self::Remove,
            _ => Self::Other,
        }
    }
}

/// One change of an item, decoded, for the handler.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Change<T> {
    /// The kind of change.
    pub kind: ChangeKind,
    /// The primary key of the item.
    pub keys: Image,
    /// The item after the change, if the stream's view includes it.
    pub new_image: Option<T>,
    /// The item before the change, if the stream's view includes it.
    pub old_image: Option<T>,
    /// The place of the change in its shard.
    pub sequence_number: String,
    /// The table.
    pub table: String,
    /// True if DynamoDB removed the item because its time to live was over.
    pub expired: bool,
    /// The time since the change, if the event reports it.
    pub age: Option<Duration>,
    /// The tumbling window, in a mapping that has one.
    pub window: Option<Window>,
    /// The invocation it is handled in.
    pub invocation: Invocation,
    pub(super) annotations: Annotations,
}

annotate!(Change);

impl<T> Change<T> {
    /// A change for a unit test of a handler: without an age and a window. `keys` is in the JSON of DynamoDB.
    pub fn new(
        kind: ChangeKind,
        sequence_number: impl Into<String>,
        keys: impl Into<String>,
        old_image: Option<T>,
        new_image: Option<T>,
    ) -> Self {
        Self {
            kind,
            keys: Image(keys.into()),
            new_image,
            old_image,
            sequence_number: sequence_number.into(),
            table: String::new(),
            expired: false,
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
    use serde::Deserialize;
    use serde_json::{Value, json};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        id: String,
        total: u64,
        tags: Vec<String>,
        #[serde(with = "serde_bytes_of")]
        blob: Vec<u8>,
        gift: Option<bool>,
    }

    /// Bytes as `serde_bytes` takes them.
    mod serde_bytes_of {
        use serde::{Deserializer, de::Visitor};
        use std::fmt;

        pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
            struct Bytes;
            impl Visitor<'_> for Bytes {
                type Value = Vec<u8>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("bytes")
                }

                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                    Ok(bytes.to_vec())
                }

                fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                    Ok(bytes)
                }
            }
            deserializer.deserialize_byte_buf(Bytes)
        }
    }

    fn sound() -> Value {
        json!({
            "eventID": "1", "eventName": "INSERT", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:dynamodb:us-east-1:123456789012:table/orders/stream/2024-06-10T19:26:16.525",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_545_084_650, "SequenceNumber": "100", "SizeBytes": 26, "StreamViewType": "NEW_AND_OLD_IMAGES",
                "Keys": { "id": { "S": "7" } },
                "NewImage": { "id": { "S": "7" }, "total": { "N": "12" }, "tags": { "SS": ["a", "b"] }, "blob": { "B": "AQI=" }, "gift": { "NULL": true } },
            },
        })
    }

    fn records(json: &Value) -> Vec<DynamoDbRecord> {
        decode::from_str::<DynamoDbEvent>(&json.to_string()).expect("decodes").records
    }

    #[test]
    fn an_event_of_lambda_decodes_with_typed_images() {
        let [record] = &*records(&json!({ "Records": [sound()] })) else { panic!("one record") };
        assert_eq!((record.table(), &*record.sequence_number, record.wrong), ("orders", "100", None));
        let order: Order = record.new_image.as_ref().expect("an image").decode().expect("an order");
        let tags = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(order, Order { id: "7".into(), total: 12, tags, blob: vec![1, 2], gift: None });
        let keys: Value = record.keys.as_ref().expect("keys").decode().expect("any keys");
        assert_eq!(keys, json!({ "id": "7" }));
        assert_eq!(record.old_image, None);
    }

    #[test]
    fn an_error_names_the_attribute_and_quotes_no_value() {
        let image = Image(json!({ "id": { "S": "SECRET" }, "total": { "S": "SECRET" } }).to_string());
        let error = image.decode::<Order>().expect_err("no number").to_string();
        assert!(error.contains("`total`") && !error.contains("SECRET"), "{error}");
        for odd in [r#"{"id":"SECRET"}"#, "[]", r#"{"id":{"S":1}}"#, r#"{"id":{"X":"SECRET"}}"#] {
            let error = Image(odd.to_owned()).decode::<Order>().expect_err(odd).to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn a_record_of_any_kind_spoils_no_other() {
        let odd_values = [json!(null), json!(1), json!(true), json!([1]), json!({ "a": 1 }), json!("x")];
        for field in ["SequenceNumber", "Keys", "NewImage", "OldImage", "ApproximateCreationDateTime"] {
            for value in &odd_values {
                let mut odd = sound();
                odd["dynamodb"][field] = value.clone();
                let [odd, next] = &*records(&json!({ "Records": [odd, sound()] })) else { panic!("two records") };
                assert_eq!((next.wrong, &*next.sequence_number), (None, "100"));
                let unnamed = field == "SequenceNumber" && *value != "x";
                assert_eq!(odd.sequence_number.is_empty(), unnamed, "{field} {value}");
            }
        }
        for value in odd_values {
            let [odd, next] = &*records(&json!({ "Records": [{ "dynamodb": value }, sound()] })) else { panic!("two records") };
            assert!(odd.wrong.is_some() && next.wrong.is_none());
            let [odd, next] = &*records(&json!({ "Records": [value, sound()] })) else { panic!("two records") };
            assert_eq!((&*odd.sequence_number, next.wrong), ("", None));
        }
    }

    #[test]
    fn an_expired_item_is_recognized() {
        let mut expired = sound();
        expired["eventName"] = json!("REMOVE");
        expired["userIdentity"] = json!({ "type": "Service", "principalId": "dynamodb.amazonaws.com" });
        let [record] = &*records(&json!([expired])) else { panic!("one record") };
        assert_eq!(
            (&*record.principal_id, ChangeKind::named(&record.event_name)),
            ("dynamodb.amazonaws.com", ChangeKind::Remove)
        );
    }
}
