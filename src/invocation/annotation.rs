//! Annotations and other searchable keys that code adds to an invocation.

use super::{Invocation, Notes};
use crate::notice::{self, Data, Warning};
use opentelemetry::{KeyValue, Value};
use std::{borrow::Cow, sync::Once};

/// The prefix that marks an attribute as an annotation.
const ANNOTATION: &str = "annotation.";

/// The most keys that [`Invocation::annotate`] keeps.
const ANNOTATIONS: usize = 128;

/// The value of an annotation or of a log key: a string, a number or a boolean, as in X-Ray.
///
/// [`Invocation::annotate`] and [`Invocation::log_key`] accept every type that converts into it: `&str`, `String`, integers,
/// floats and `bool`. Your own types can too:
///
/// ```
/// use lambda_lifecycle::{AnnotationValue, Invocation};
///
/// struct Sku(String);
///
/// impl From<Sku> for AnnotationValue {
///     fn from(sku: Sku) -> Self {
///         sku.0.into()
///     }
/// }
///
/// let invocation = Invocation::current();
/// invocation.annotate("sku", Sku("tea".to_owned()));
/// invocation.annotate("quantity", 2);
/// invocation.annotate("gift", false);
/// ```
///
/// An integer that does not fit into an `i64` becomes a float.
#[derive(Clone, Debug, PartialEq)]
pub struct AnnotationValue(pub(crate) Value);

impl From<&str> for AnnotationValue {
    fn from(value: &str) -> Self {
        Self(Value::String(value.to_owned().into()))
    }
}

impl From<String> for AnnotationValue {
    fn from(value: String) -> Self {
        Self(Value::String(value.into()))
    }
}

impl From<&String> for AnnotationValue {
    fn from(value: &String) -> Self {
        value.as_str().into()
    }
}

impl From<Cow<'_, str>> for AnnotationValue {
    fn from(value: Cow<'_, str>) -> Self {
        value.into_owned().into()
    }
}

impl From<bool> for AnnotationValue {
    fn from(value: bool) -> Self {
        Self(Value::Bool(value))
    }
}

impl From<f64> for AnnotationValue {
    fn from(value: f64) -> Self {
        Self(Value::F64(value))
    }
}

impl From<f32> for AnnotationValue {
    fn from(value: f32) -> Self {
        Self(Value::F64(value.into()))
    }
}

#[cfg(feature = "metrics-emf")]
impl AnnotationValue {
    /// The value as JSON. A number that is not finite becomes a string, because JSON cannot express it.
    pub(crate) fn into_json(self) -> serde_json::Value {
        match self.0 {
            Value::Bool(value) => value.into(),
            Value::I64(value) => value.into(),
            Value::F64(value) if value.is_finite() => value.into(),
            other => other.to_string().into(),
        }
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for AnnotationValue {
            fn from(value: $integer) -> Self {
                #[allow(clippy::cast_lossless, reason = "the types that `i64` holds never get here")]
                Self(i64::try_from(value).map_or(Value::F64(value as f64), Value::I64))
            }
        }
    )*};
}

from_integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

impl Notes {
    /// False if the limit of keys is reached.
    fn annotate(&mut self, key: &str, value: Value) -> bool {
        let same = |known: &&mut KeyValue| known.key.as_str().strip_prefix(ANNOTATION) == Some(key);
        if let Some(known) = self.annotations.iter_mut().find(same) {
            known.value = value;
        } else if self.annotations.len() < ANNOTATIONS {
            self.annotations.push(KeyValue::new(format!("{ANNOTATION}{key}"), value));
        } else {
            return false;
        }
        true
    }
}

impl Invocation {
    /// Adds an annotation to the invocation's document: X-Ray indexes it, so traces can be searched by it.
    ///
    /// Keys are `A-Z a-z 0-9 _`; other characters become `_`. The last value of a key counts.
    ///
    /// X-Ray indexes 50 annotations of a trace; further ones become metadata. An invocation keeps 128 keys, as many as
    /// OpenTelemetry's SDKs keep attributes. Further keys are ignored, which is logged once.
    ///
    /// ```
    /// let invocation = lambda_lifecycle::Invocation::current();
    /// invocation.annotate("plan", "gold");
    /// invocation.annotate("items", 3);
    /// ```
    pub fn annotate(&self, key: &str, value: impl Into<AnnotationValue>) {
        // This runs user code, so the lock must not be held.
        let AnnotationValue(value) = value.into();
        if !self.notes().annotate(key, value) {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(|| notice::log(Warning::TooManyAnnotations, Data::name(key)));
        }
    }

    /// Adds a key to each later log line of this invocation.
    ///
    /// The last value of a key counts. A field of a span or of the line itself with the same name takes precedence. An invocation
    /// keeps 128 keys of up to 128 bytes. Further ones are ignored, which is logged once.
    /// [`Builder::log_key`](crate::Builder::log_key) sets keys of all lines of the process.
    ///
    /// The key is part of the library's log, which your own subscriber does not write.
    /// [`Builder::redact`](crate::Builder::redact) applies to it as to a field of a log line.
    ///
    /// ```
    /// let invocation = lambda_lifecycle::Invocation::current();
    /// invocation.log_key("order_id", 42);
    /// invocation.log_key("plan", "gold");
    /// tracing::info!("charged");   // … charged order_id=42 plan=gold
    /// ```
    pub fn log_key(&self, key: &str, value: impl Into<AnnotationValue>) {
        // This runs user code, so the lock must not be held.
        let AnnotationValue(value) = value.into();
        if !self.log().set_key(key, value) {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(|| notice::log(Warning::TooManyLogKeys, Data::name(key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_bounded_and_the_last_value_of_a_key_counts() {
        let invocation = Invocation::detached();
        for round in 0..2 {
            for number in 0..10_000_i64 {
                invocation.annotate(&format!("key_{number}"), number + round);
            }
        }
        let annotations = &invocation.notes().annotations;
        assert_eq!(annotations.len(), ANNOTATIONS);
        for (number, annotation) in (0_i64..).zip(annotations) {
            assert_eq!(annotation, &KeyValue::new(format!("annotation.key_{number}"), number + 1));
        }
    }

    #[test]
    fn log_keys_are_bounded_and_the_last_value_of_a_key_counts() {
        let invocation = Invocation::detached();
        assert!(invocation.log().keys().is_none(), "an invocation without keys keeps something");
        for round in 0..2 {
            for number in 0..1_000_i64 {
                invocation.log_key(&format!("key_{number}"), number + round);
            }
        }
        invocation.log_key(&"ä".repeat(1_000), 1);
        let keys = invocation.log().keys().expect("keys");
        assert_eq!(keys.len(), crate::invocation::log::KEYS);
        for (number, pair) in (0_i64..).zip(keys.iter()) {
            assert_eq!(pair, &KeyValue::new(format!("key_{number}"), number + 1));
        }
    }

    #[test]
    fn a_value_may_annotate_when_it_is_made() {
        struct Nested(Invocation);
        impl From<Nested> for AnnotationValue {
            fn from(Nested(invocation): Nested) -> Self {
                invocation.annotate("inner", 1);
                2.into()
            }
        }
        let invocation = Invocation::detached();
        invocation.annotate("outer", Nested(invocation.clone()));
        assert_eq!(invocation.notes().annotations.len(), 2);
    }

    #[test]
    fn strings_numbers_and_booleans_are_values() {
        let string = || Value::String("tea".into());
        for (value, expected) in [
            (AnnotationValue::from("tea"), string()),
            ("tea".to_owned().into(), string()),
            (Cow::Borrowed("tea").into(), string()),
            (true.into(), Value::Bool(true)),
            (0.5.into(), Value::F64(0.5)),
            (7_u8.into(), Value::I64(7)),
            (i64::MIN.into(), Value::I64(i64::MIN)),
            (u64::MAX.into(), Value::F64(18_446_744_073_709_551_615.0)),
        ] {
            assert_eq!(value.0, expected);
        }
    }
}
