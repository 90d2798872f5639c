//! Decodes an event whose detail may be missing, null, or text that holds JSON.

use super::EventBridgeEvent;
use crate::lenient::null_as_default;
use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeOwned, Error, IgnoredAny, IntoDeserializer as _, MapAccess, SeqAccess, Unexpected, Visitor,
        value::{self, MapAccessDeserializer, MapDeserializer, SeqAccessDeserializer, UnitDeserializer},
    },
    forward_to_deserialize_any,
};
use std::{fmt, iter, marker::PhantomData};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", bound = "T: DeserializeOwned")]
struct Fields<T> {
    detail: Option<Detail<T>>,
    detail_type: String,
    source: String,
    #[serde(default, deserialize_with = "null_as_default")]
    id: String,
    #[serde(default, deserialize_with = "null_as_default")]
    account: String,
    #[serde(default, deserialize_with = "null_as_default")]
    region: String,
    #[serde(default, deserialize_with = "null_as_default")]
    time: String,
    #[serde(default, deserialize_with = "null_as_default")]
    resources: Vec<String>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for EventBridgeEvent<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { detail, detail_type, source, id, account, region, time, resources } = Fields::deserialize(deserializer)?;
        let detail = detail.map(|detail| detail.0).or_else(missing).ok_or_else(|| D::Error::missing_field("detail"))?;
        Ok(Self { detail, detail_type, source, id, account, region, time, resources })
    }
}

fn null<T: DeserializeOwned>() -> Option<T> {
    T::deserialize(UnitDeserializer::<value::Error>::new()).ok()
}

fn missing<T: DeserializeOwned>() -> Option<T> {
    let empty = || T::deserialize(MapDeserializer::<_, value::Error>::new(iter::empty::<(&str, &str)>())).ok();
    null().or_else(empty)
}

struct Detail<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Detail<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A handler that takes `()` accepts any detail.
        if size_of::<T>() == 0
            && let Some(nothing) = null()
        {
            IgnoredAny::deserialize(deserializer)?;
            return Ok(Self(nothing));
        }
        deserializer.deserialize_any(AnyDetail(PhantomData)).map(Self)
    }
}

/// A value that exists. serde's own deserializers for values accept an `Option` or a struct of one field for a value of another
/// type.
struct Present<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Present<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

struct AnyDetail<T>(PhantomData<T>);

impl<'de, T: DeserializeOwned> Visitor<'de> for AnyDetail<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a detail")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let as_text = T::deserialize(Present::<value::StrDeserializer<'_, E>>(text.into_deserializer()));
        as_text.or_else(|error| match text.as_bytes() {
            [b'{' | b'[', ..] => serde_json::from_str(text)
                .map_err(|_| E::invalid_value(Unexpected::Str(text), &"JSON of the detail's type in the text")),
            _ => Err(error),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(Present(MapAccessDeserializer::new(map)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<T, A::Error> {
        T::deserialize(Present(SeqAccessDeserializer::new(elements)))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<T, E> {
        T::deserialize(Present(value.into_deserializer()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<T, E> {
        T::deserialize(Present(value.into_deserializer()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<T, E> {
        T::deserialize(Present(value.into_deserializer()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<T, E> {
        T::deserialize(Present(value.into_deserializer()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;
    use serde_json::{Value, json};
    use std::collections::HashMap;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order {
        #[serde(default)]
        id: u64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Empty {}

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Size {
        Small,
        Of(u8),
    }

    fn of<T: DeserializeOwned>(detail: Option<Value>) -> Result<T, String> {
        let mut event = json!({ "detail-type": "Order", "source": "shop", "id": null, "time": null, "resources": null });
        if let Some(detail) = detail {
            event["detail"] = detail;
        }
        decode::from_str::<EventBridgeEvent<T>>(&event.to_string()).map(|event| event.detail).map_err(|error| error.to_string())
    }

    #[test]
    fn a_detail_in_text_is_decoded_as_if_it_were_not_quoted() {
        assert_eq!(of(Some(json!({ "id": 7 }))), Ok(Order { id: 7 }));
        assert_eq!(of(Some(json!("{\"id\":7}"))), Ok(Order { id: 7 }));
        assert_eq!(of(Some(json!("{}"))), Ok(Empty {}));
        assert_eq!(of(Some(json!("[1,2]"))), Ok(vec![1, 2]));
        assert_eq!(of(Some(json!("{\"of\":7}"))), Ok(Size::Of(7)));
        assert_eq!(of(Some(json!("small"))), Ok(Size::Small));
        assert_eq!(of(Some(json!({ "of": 7 }))), Ok(Size::Of(7)));
        assert_eq!(of(Some(json!("{}"))), Ok(HashMap::<String, Value>::new()));
    }

    #[test]
    fn who_takes_text_gets_it_as_it_came() {
        assert_eq!(of(Some(json!("{}"))), Ok("{}".to_owned()));
        assert_eq!(of(Some(json!("{}"))), Ok(json!("{}")));
        assert_eq!(of(Some(json!("{}"))), Ok(Some("{}".to_owned())));
    }

    #[test]
    fn structs_of_one_field_and_options_are_decoded() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Wrapped<T>(T);

        assert_eq!(of(Some(json!({ "id": 7 }))), Ok(Wrapped(Some(Order { id: 7 }))));
        assert_eq!(of(Some(json!("{\"id\":7}"))), Ok(Some(Wrapped(Order { id: 7 }))));
        assert_eq!(of(Some(json!("text"))), Ok(Wrapped("text".to_owned())));
        assert_eq!(of(Some(json!([1]))), Ok(Some(vec![1])));
        assert_eq!(of(Some(json!(1))), Ok(Wrapped(1)));
    }

    #[test]
    fn a_detail_of_any_kind_is_decoded() {
        for detail in [json!(true), json!(-1), json!(1), json!(1.5), json!([1]), json!({ "a": { "b": [null] } })] {
            assert_eq!(of(Some(detail.clone())), Ok(detail.clone()), "{detail}");
            assert_eq!(of(Some(detail.clone())), Ok(Some(detail)));
        }
        assert_eq!(of::<u8>(Some(json!(300))).map_err(|error| error.contains("300")), Err(false));
    }

    #[test]
    fn a_detail_that_is_not_there_is_what_the_type_makes_of_nothing() {
        for detail in [None, Some(json!(null))] {
            assert_eq!(of(detail.clone()), Ok(None::<Order>));
            assert_eq!(of(detail.clone()), Ok(()));
            assert_eq!(of(detail.clone()), Ok(Value::Null));
            assert_eq!(of(detail.clone()), Ok(Empty {}));
            assert_eq!(of(detail.clone()), Ok(Order { id: 0 }));
            assert_eq!(of(detail.clone()), Ok(HashMap::<String, Value>::new()));
            assert!(of::<u64>(detail.clone()).is_err_and(|error| error.contains("detail")));
        }
        for detail in [json!({ "id": 7 }), json!("x"), json!(1)] {
            assert_eq!(of(Some(detail)), Ok(()));
        }
    }

    #[test]
    fn an_error_holds_nothing_of_the_detail() {
        for detail in
            [json!("{\"id\":\"MARKED\"}"), json!("MARKED"), json!("{MARKED"), json!({ "id": "MARKED" }), json!(["MARKED"])]
        {
            let error = of::<Order>(Some(detail.clone())).expect_err("not an order");
            assert!(!error.contains("MARKED"), "{detail}: {error}");
        }
    }
}
