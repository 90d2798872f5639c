//! Fields of an envelope that may be missing, null or of another type, without affecting other fields.

#![cfg_attr(not(feature = "sqs"), allow(dead_code, reason = "only events of SQS look at fields of any type"))]

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{collections::HashMap, fmt, marker::PhantomData};

/// Null counts as missing and gives the default.
pub(crate) fn null_as_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A value of any type, read without an error. Only text that is not JSON is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Field<T> {
    /// Missing, or null.
    #[default]
    Absent,
    /// Of another type.
    Wrong,
    Is(T),
}

/// A type that a [`Field`] can hold. Both methods consume the value they are given.
pub(crate) trait Shape: Sized {
    fn from_text(_: &str) -> Option<Self> {
        None
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        ignore(map)?;
        Ok(None)
    }
}

impl Shape for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// A value of another type makes the whole map wrong; null leaves its key out.
impl<T: Shape> Shape for HashMap<String, T> {
    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        let (mut members, mut wrong) = (Self::new(), false);
        while let Some((key, value)) = map.next_entry()? {
            match value {
                Field::Absent => {}
                Field::Wrong => wrong = true,
                Field::Is(value) => drop(members.insert(key, value)),
            }
        }
        Ok((!wrong).then_some(members))
    }
}

impl<T: Default> Field<T> {
    /// The value, or the default. A value of another type is reported with the name of its field.
    pub(crate) fn or_default(self, field: &'static str, wrong: &mut Option<&'static str>) -> T {
        match self {
            Self::Is(value) => value,
            Self::Absent => T::default(),
            Self::Wrong => {
                wrong.get_or_insert(field);
                T::default()
            }
        }
    }
}

impl<'de, T: Shape> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Anything(PhantomData))
    }
}

struct Anything<T>(PhantomData<T>);

impl<'de, T: Shape> Visitor<'de> for Anything<T> {
    type Value = Field<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field<T>, E> {
        Ok(T::from_text(text).map_or(Field::Wrong, Field::Is))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field<T>, A::Error> {
        Ok(T::from_map(map)?.map_or(Field::Wrong, Field::Is))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Field<T>, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Wrong)
    }

    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field<T>, E> {
        Ok(Field::Wrong)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field<T>, E> {
        Ok(Field::Wrong)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Field<T>, E> {
        Ok(Field::Wrong)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field<T>, E> {
        Ok(Field::Wrong)
    }
}

pub(crate) fn ignore<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}
