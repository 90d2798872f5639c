//! Removes secrets from spans before they are exported, once for all destinations: those in the URLs of errors, and those that
//! the user's redactor names.

use crate::{urls, xray::Redactor};
use opentelemetry::{
    Array, KeyValue, Value,
    trace::{Event, Status},
};
use opentelemetry_sdk::trace::SpanData;
use std::borrow::Cow;

/// The number of spans after which the task yields, so that a big invocation does not block the executor.
pub(super) const YIELDS: usize = 256;

/// Shortens URLs in the span's errors, and redacts all of the span.
pub(super) fn scrub(span: &mut SpanData, redactor: Option<&Redactor>) {
    if let Status::Error { description } = &mut span.status {
        cut(description);
    }
    cut_attributes(&mut span.attributes, is_of_exception);
    for event in &mut span.events.events {
        if is_error(event) {
            cut(&mut event.name);
            cut_attributes(&mut event.attributes, |_| true);
        }
    }
    if let Some(redactor) = redactor {
        redactor.span(span);
    }
}

pub(super) fn scrub_all<'s>(spans: impl IntoIterator<Item = &'s mut SpanData>, redactor: Option<&Redactor>) {
    for span in spans {
        scrub(span, redactor);
    }
}

fn is_of_exception(attribute: &KeyValue) -> bool {
    attribute.key.as_str().starts_with("exception.")
}

/// An exception by OpenTelemetry's conventions, or an event of `tracing::error!`.
fn is_error(event: &Event) -> bool {
    let is_level = |attribute: &KeyValue| attribute.key.as_str() == "level" && attribute.value.as_str() == "ERROR";
    event.name == "exception" || event.attributes.iter().any(|attribute| is_of_exception(attribute) || is_level(attribute))
}

fn cut(text: &mut Cow<'static, str>) {
    if let Cow::Owned(shorter) = urls::without_secrets(text) {
        *text = Cow::Owned(shorter);
    }
}

fn cut_attributes(attributes: &mut [KeyValue], wanted: impl Fn(&KeyValue) -> bool) {
    for attribute in attributes.iter_mut().filter(|attribute| wanted(attribute)) {
        match &mut attribute.value {
            Value::String(text) => {
                if let Cow::Owned(shorter) = urls::without_secrets(text.as_str()) {
                    *text = shorter.into();
                }
            }
            Value::Array(Array::String(texts)) => {
                for text in texts {
                    if let Cow::Owned(shorter) = urls::without_secrets(text.as_str()) {
                        *text = shorter.into();
                    }
                }
            }
            _ => {}
        }
    }
}
