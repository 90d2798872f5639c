//! Fields of events and of spans, and their values.

use crate::xray::non_finite;
use opentelemetry::Value as OtelValue;
use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};
use tracing::field::{Field, Visit};

#[derive(Clone, Debug, serde::Serialize)]
#[serde(untagged)]
pub(super) enum Value<'v> {
    Text(Cow<'v, str>),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl Value<'_> {
    pub(super) fn text(text: impl Into<Cow<'static, str>>) -> Value<'static> {
        Value::Text(text.into())
    }

    /// JSON cannot express numbers that are not finite.
    fn float(value: f64) -> Value<'static> {
        non_finite(value).map_or(Value::Float(value), Value::text)
    }

    pub(super) fn borrow(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Signed(value) => Value::Signed(*value),
            Self::Unsigned(value) => Value::Unsigned(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Bool(value) => Value::Bool(*value),
        }
    }

    pub(super) fn of_otel(value: &OtelValue) -> Value<'_> {
        match value {
            OtelValue::Bool(value) => Value::Bool(*value),
            OtelValue::I64(value) => Value::Signed(*value),
            OtelValue::F64(value) => Self::float(*value),
            OtelValue::String(text) => Value::Text(Cow::Borrowed(text.as_str())),
            other => Value::Text(Cow::Owned(other.to_string())),
        }
    }
}

/// Fields with the names of their call site.
pub(super) type Named = Vec<(&'static str, Value<'static>)>;

/// The fields of an event or a span.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) named: Named,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // Writing into memory cannot fail.
            let _ = write!(self.message, "{value:?}");
        } else {
            self.named.push((field.name(), Value::text(format!("{value:?}"))));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.named.push((field.name(), Value::text(value.to_owned())));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.named.push((field.name(), Value::Signed(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.named.push((field.name(), Value::Unsigned(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.named.push((field.name(), Value::float(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.named.push((field.name(), Value::Bool(value)));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.named.push((field.name(), Value::text(value.to_string())));
    }
}
