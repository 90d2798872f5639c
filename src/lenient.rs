//! Fields of an envelope that may be missing, null or of another type, without affecting other fields.

#![cfg_attr(
    not(all(feature = "sqs", feature = "kinesis", feature = "dynamodb", feature = "kafka")),
    allow(dead_code, reason = "each source of batches has its own fields")
)]

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

    fn from_bool(_: bool) -> Option<Self> {
        None
    }

    fn from_integer(_: i64) -> Option<Self> {
        None
    }

    fn from_float(_: f64) -> Option<Self> {
        None
    }

    fn from_map<'de, A: MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        ignore(map)?;
        Ok(None)
    }

    fn from_seq<'de, A: SeqAccess<'de>>(mut elements: A) -> Result<Option<Self>, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

impl Shape for String {
    fn from_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

/// Text, or anything else as empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Shape for Text {
    fn from_text(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
}

impl Shape for bool {
    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

/// A number of any kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Number(pub(crate) f64);

impl Shape for Number {
    fn from_integer(value: i64) -> Option<Self> {
        Some(Self(value as f64))
    }

    fn from_float(value: f64) -> Option<Self> {
        Some(Self(value))
    }
}

/// A whole number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Integer(pub(crate) i64);

impl Shape for Integer {
    fn from_integer(value: i64) -> Option<Self> {
        Some(Self(value))
    }
}

/// A byte, as a number with a sign or without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Byte(pub(crate) u8);

impl Shape for Byte {
    fn from_integer(value: i64) -> Option<Self> {
        let signed = || i8::try_from(value).ok().map(i8::cast_unsigned);
        u8::try_from(value).ok().or_else(signed).map(Self)
    }
}

/// A value of another type, or null, makes the list one.
impl<T: Shape> Shape for Vec<T> {
    fn from_seq<'de, A: SeqAccess<'de>>(mut elements: A) -> Result<Option<Self>, A::Error> {
        let (mut values, mut sound) = (Self::new(), true);
        while let Some(value) = elements.next_element::<Field<T>>()? {
            match value {
                Field::Is(value) => values.push(value),
                Field::Absent | Field::Wrong => sound = false,
            }
        }
        Ok(sound.then_some(values))
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

impl<T> Field<T> {
    /// The value, if it is of the right type.
    pub(crate) fn present(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
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

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Field<T>, A::Error> {
        Ok(T::from_seq(elements)?.map_or(Field::Wrong, Field::Is))
    }

    fn visit_unit<E>(self) -> Result<Field<T>, E> {
        Ok(Field::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Field<T>, E> {
        Ok(T::from_bool(value).map_or(Field::Wrong, Field::Is))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Field<T>, E> {
        Ok(T::from_integer(value).map_or(Field::Wrong, Field::Is))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Field<T>, E> {
        Ok(i64::try_from(value).ok().and_then(T::from_integer).map_or(Field::Wrong, Field::Is))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Field<T>, E> {
        Ok(T::from_float(value).map_or(Field::Wrong, Field::Is))
    }
}

pub(crate) fn ignore<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}
