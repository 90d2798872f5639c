//! A deserializer around another one that records the kind and the position of an error without the value.
//!
//! An error of `serde_json` is one text with type, position and value. Here each error is built by the called function of
//! [`serde::de::Error`], so it never contains the value, and a user's text cannot be mistaken for one of serde's.

use super::undecodable::{Segment, Undecodable, custom_text, own_text, split_position};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor};
use std::{
    cell::{Cell, RefCell},
    fmt::{self, Display},
};

/// Shared by the wrappers of one decoding.
#[derive(Default)]
pub(super) struct Track {
    /// An error that passes through the inner deserializer, whose own error type cannot hold it.
    passing: RefCell<Option<Undecodable>>,
    /// The expectation of the visitor that the inner deserializer called last.
    expected: RefCell<Option<String>>,
}

impl Track {
    /// Stores the error, and creates one for the inner deserializer in its place.
    fn pass<E: serde::de::Error>(&self, error: Undecodable) -> E {
        self.passing.replace(Some(error));
        E::custom("passing")
    }

    /// The stored error, or the inner deserializer's own, with the position that only the inner one knows.
    pub(super) fn recover(&self, error: &impl Display) -> Undecodable {
        let text = error.to_string();
        let (text, position) = split_position(&text);
        let expected = self.expected.take();
        let mut error = self.passing.take().unwrap_or_else(|| Undecodable::new(own_text(text, expected.as_deref())));
        error.position_if_unknown(position);
        error
    }
}

/// The last key of a map, if the map decodes to a struct.
struct Key<'de> {
    fields: &'static [&'static str],
    found: Cell<Found<'de>>,
}

#[derive(Clone, Copy)]
enum Found<'de> {
    Nothing,
    Field(&'static str),
    /// Looked up only when it is needed.
    Text(&'de str),
}

impl<'de> Key<'de> {
    fn lookup(&self, key: &str) -> Option<&'static str> {
        self.fields.iter().find(|field| **field == key).copied()
    }

    fn note(&self, key: &str) {
        self.found.set(self.lookup(key).map_or(Found::Nothing, Found::Field));
    }

    fn segment(&self) -> Segment {
        let field = match self.found.get() {
            Found::Nothing => None,
            Found::Field(field) => Some(field),
            Found::Text(key) => self.lookup(key),
        };
        field.map_or(Segment::Key, Segment::Field)
    }
}

/// A deserializer, visitor, seed or access, with its context.
pub(super) struct Tracked<'t, 'de, Inner> {
    inner: Inner,
    track: &'t Track,
    /// The place for the next text, which is a key.
    key: Option<&'t Key<'de>>,
    /// The fields of the next struct.
    fields: Option<&'static [&'static str]>,
}

impl<'t, 'de, Inner> Tracked<'t, 'de, Inner> {
    pub(super) fn new(inner: Inner, track: &'t Track) -> Self {
        Self { inner, track, key: None, fields: None }
    }

    /// The same context around another value.
    fn around<Other>(&self, other: Other) -> Tracked<'t, 'de, Other> {
        Tracked { inner: other, track: self.track, key: self.key, fields: self.fields }
    }
}

impl serde::de::Error for Undecodable {
    fn custom<T: Display>(text: T) -> Self {
        Self::new(custom_text(&text.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(with_expected("invalid type", found, expected))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(with_expected("invalid value", found, expected))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("invalid length, expected {expected}"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(one_of("unknown variant", "variants", expected))
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(one_of("unknown field", "fields", expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("missing field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("duplicate field `{field}`"))
    }
}

/// `expected` is the type's own text. It is left out if it repeats the value.
fn with_expected(kind: &str, found: Unexpected<'_>, expected: &dyn Expected) -> String {
    /// Shorter ones are parts of common words.
    const LONG: usize = 4;
    let expected = expected.to_string();
    let found = match found {
        Unexpected::Str(text) | Unexpected::Other(text) => text.to_owned(),
        Unexpected::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Unexpected::Unsigned(number) => number.to_string(),
        Unexpected::Signed(number) => number.to_string(),
        Unexpected::Float(number) => number.to_string(),
        _ => String::new(),
    };
    if found.len() >= LONG && expected.contains(&found) { kind.to_owned() } else { format!("{kind}, expected {expected}") }
}

fn one_of(kind: &str, things: &str, expected: &[&str]) -> String {
    match expected {
        [] => format!("{kind}, there are no {things}"),
        [one] => format!("{kind}, expected `{one}`"),
        [one, other] => format!("{kind}, expected `{one}` or `{other}`"),
        many => {
            let many: Vec<String> = many.iter().map(|one| format!("`{one}`")).collect();
            format!("{kind}, expected one of {}", many.join(", "))
        }
    }
}

macro_rules! deserialize {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, Undecodable> {
            let (track, visitor) = (self.track, self.around(visitor));
            self.inner.$method($($argument,)* visitor).map_err(|error| track.recover(&error))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Tracked<'_, 'de, D> {
    type Error = Undecodable;

    deserialize! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char() deserialize_str() deserialize_string()
        deserialize_bytes() deserialize_byte_buf() deserialize_option() deserialize_unit()
        deserialize_unit_struct(name: &'static str) deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(len: usize) deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map() deserialize_enum(name: &'static str, variants: &'static [&'static str])
        deserialize_identifier() deserialize_ignored_any()
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        let track = self.track;
        let visitor = Tracked { inner: visitor, track, key: None, fields: Some(fields) };
        self.inner.deserialize_struct(name, fields, visitor).map_err(|error| track.recover(&error))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident($type:ty))*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<Self::Value, E> {
            self.inner.$method(value).map_err(|error| self.track.pass(error))
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Tracked<'_, 'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Expecting<'v, V>(&'v V);
        impl<'de, V: Visitor<'de>> Display for Expecting<'_, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.expecting(f)
            }
        }
        let expected = Expecting(&self.inner).to_string();
        f.write_str(&expected)?;
        self.track.expected.replace(Some(expected));
        Ok(())
    }

    visit! {
        visit_bool(bool) visit_i8(i8) visit_i16(i16) visit_i32(i32) visit_i64(i64) visit_i128(i128)
        visit_u8(u8) visit_u16(u16) visit_u32(u32) visit_u64(u64) visit_u128(u128) visit_f32(f32) visit_f64(f64)
        visit_char(char) visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<V::Value, E> {
        if let Some(key) = self.key {
            key.note(text);
        }
        self.inner.visit_str(text).map_err(|error| self.track.pass(error))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<V::Value, E> {
        if let Some(key) = self.key {
            key.found.set(Found::Text(text));
        }
        self.inner.visit_borrowed_str(text).map_err(|error| self.track.pass(error))
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<V::Value, E> {
        if let Some(key) = self.key {
            key.note(&text);
        }
        self.inner.visit_string(text).map_err(|error| self.track.pass(error))
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none().map_err(|error| self.track.pass(error))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit().map_err(|error| self.track.pass(error))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let track = self.track;
        let deserializer = self.around(deserializer);
        self.inner.visit_some(deserializer).map_err(|error| track.pass(error))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let track = self.track;
        let deserializer = self.around(deserializer);
        self.inner.visit_newtype_struct(deserializer).map_err(|error| track.pass(error))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        let track = self.track;
        self.inner.visit_seq(Elements { inner: elements, track, at: 0 }).map_err(|error| track.pass(error))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let (track, fields) = (self.track, self.fields);
        let key = Key { fields: fields.unwrap_or_default(), found: Cell::new(Found::Nothing) };
        let entries = Entries { inner: entries, track, key, is_struct: fields.is_some() };
        self.inner.visit_map(entries).map_err(|error| track.pass(error))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let track = self.track;
        self.inner.visit_enum(Tracked::new(variant, track)).map_err(|error| track.pass(error))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Tracked<'_, 'de, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let track = self.track;
        let deserializer = self.around(deserializer);
        self.inner.deserialize(deserializer).map_err(|error| track.pass(error))
    }
}

struct Elements<'t, A> {
    inner: A,
    track: &'t Track,
    at: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = Undecodable;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Undecodable> {
        let next = self.inner.next_element_seed(Tracked::new(seed, self.track));
        let next = next.map_err(|error| self.track.recover(&error).within(Segment::Index(self.at)));
        self.at += 1;
        next
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

struct Entries<'t, 'de, A> {
    inner: A,
    track: &'t Track,
    key: Key<'de>,
    is_struct: bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, 'de, A> {
    type Error = Undecodable;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Undecodable> {
        self.key.found.set(Found::Nothing);
        let key = self.is_struct.then_some(&self.key);
        let seed = Tracked { inner: seed, track: self.track, key, fields: None };
        self.inner.next_key_seed(seed).map_err(|error| self.track.recover(&error))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Undecodable> {
        let value = self.inner.next_value_seed(Tracked::new(seed, self.track));
        value.map_err(|error| self.track.recover(&error).within(self.key.segment()))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'t, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Tracked<'t, 'de, A> {
    type Error = Undecodable;
    type Variant = Tracked<'t, 'de, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), Undecodable> {
        let track = self.track;
        let (value, variant) = self.inner.variant_seed(Tracked::new(seed, track)).map_err(|error| track.recover(&error))?;
        Ok((value, Tracked::new(variant, track)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Tracked<'_, 'de, A> {
    type Error = Undecodable;

    fn unit_variant(self) -> Result<(), Undecodable> {
        self.inner.unit_variant().map_err(|error| self.track.recover(&error))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Undecodable> {
        let track = self.track;
        self.inner.newtype_variant_seed(Tracked::new(seed, track)).map_err(|error| track.recover(&error))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Undecodable> {
        let track = self.track;
        self.inner.tuple_variant(len, Tracked::new(visitor, track)).map_err(|error| track.recover(&error))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Undecodable> {
        let track = self.track;
        let visitor = Tracked { inner: visitor, track, key: None, fields: Some(fields) };
        self.inner.struct_variant(fields, visitor).map_err(|error| track.recover(&error))
    }
}
