//! The spans that exporters get: with the fields of OpenTelemetry's conventions, without those that exist only for X-Ray.

use super::wanted::unmark;
use opentelemetry::{Key, KeyValue, Value, trace::SpanKind};
use opentelemetry_sdk::trace::SpanData;
use std::{borrow::Cow, collections::HashSet};

const ANNOTATION: &str = "annotation.";

/// The library's annotations that repeat another attribute, the resource or a link.
const REPEATED: [&str; 4] = ["cold_start", "version", "route", "producer_trace_id"];

/// Annotations with a name in OpenTelemetry's conventions.
const NAMED: [(&str, &str); 1] = [("message_id", "messaging.message.id")];

/// Changes a span into the form that an exporter gets.
pub(super) fn prepare(span: &mut SpanData) {
    unmark(span);
    name(span);
    let has_annotations = span.attributes.iter().any(|attribute| attribute.key.as_str().starts_with(ANNOTATION));
    if has_annotations {
        span.attributes.retain_mut(without_prefix);
    }
    keep_last(&mut span.attributes);
}

/// A server span is named by [method and route](https://opentelemetry.io/docs/specs/semconv/http/http-spans/#name), while X-Ray
/// needs the function's name.
fn name(span: &mut SpanData) {
    if span.span_kind != SpanKind::Server {
        return;
    }
    let text = |key: &str| {
        let attribute = span.attributes.iter().rev().find(|attribute| attribute.key.as_str() == key);
        attribute.and_then(|attribute| if let Value::String(text) = &attribute.value { Some(text.as_str()) } else { None })
    };
    let Some(method) = text("http.request.method") else { return };
    let method = if method == "_OTHER" { "HTTP" } else { method };
    span.name = match text("http.route") {
        Some(route) => Cow::Owned(format!("{method} {route}")),
        None => Cow::Owned(method.to_owned()),
    };
}

/// False for an annotation that repeats another attribute. The prefix of other annotations is removed.
fn without_prefix(attribute: &mut KeyValue) -> bool {
    let Some(key) = attribute.key.as_str().strip_prefix(ANNOTATION) else { return true };
    if REPEATED.contains(&key) {
        return false;
    }
    let named = NAMED.iter().find(|(annotation, _)| *annotation == key);
    attribute.key = named.map_or_else(|| Key::from(key.to_owned()), |(_, name)| Key::from_static_str(name));
    true
}

/// The last value of a key counts, and keys are unique.
fn keep_last(attributes: &mut Vec<KeyValue>) {
    /// Up to this number, comparing all pairs is faster than a set.
    const FEW: usize = 16;
    let is_repeated = |(at, one): (usize, &KeyValue)| attributes[at + 1..].iter().any(|other| other.key == one.key);
    if attributes.len() <= FEW && !attributes.iter().enumerate().any(is_repeated) {
        return;
    }
    let mut seen = HashSet::with_capacity(attributes.len());
    let repeated: Vec<bool> = attributes.iter().rev().map(|attribute| !seen.insert(attribute.key.clone())).collect();
    if repeated.contains(&true) {
        let mut repeated = repeated.into_iter().rev();
        attributes.retain(|_| !repeated.next().unwrap_or(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::fixtures::span;

    fn server(attributes: Vec<KeyValue>) -> SpanData {
        let mut span = SpanData { span_kind: SpanKind::Server, name: "orders".into(), attributes, ..span() };
        prepare(&mut span);
        span
    }

    #[test]
    fn a_server_span_is_named_by_method_and_route() {
        let method = |method: &'static str| KeyValue::new("http.request.method", method);
        let route = KeyValue::new("http.route", "/books/{id}");
        for (attributes, name) in [
            (vec![method("GET"), route.clone()], "GET /books/{id}"),
            (vec![method("GET")], "GET"),
            (vec![method("_OTHER"), route.clone()], "HTTP /books/{id}"),
            (vec![route.clone()], "orders"),
            (vec![], "orders"),
        ] {
            assert_eq!(server(attributes).name, name);
        }
        let mut client =
            SpanData { span_kind: SpanKind::Client, name: "S3".into(), attributes: vec![method("GET"), route], ..span() };
        prepare(&mut client);
        assert_eq!(client.name, "S3");
    }

    #[test]
    fn annotations_have_their_own_names_and_the_last_value_of_a_key_counts() {
        let given = vec![
            KeyValue::new("annotation.plan", "silver"),
            KeyValue::new("annotation.cold_start", true),
            KeyValue::new("annotation.version", "7"),
            KeyValue::new("annotation.message_id", "m-1"),
            KeyValue::new("faas.coldstart", true),
            KeyValue::new("annotation.plan", "gold"),
        ];
        let expected =
            [KeyValue::new("messaging.message.id", "m-1"), KeyValue::new("faas.coldstart", true), KeyValue::new("plan", "gold")];
        assert_eq!(server(given).attributes, expected);
    }
}
