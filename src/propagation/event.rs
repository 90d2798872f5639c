//! Finds W3C's fields in an event without decoding it.

use super::{BAGGAGE, Fields, TRACEPARENT, TRACESTATE};
use crate::scan::{elements, members};
use serde::Deserialize;
use std::borrow::Cow;

/// The headers of an HTTP request: of API Gateway in both formats, of a function URL, of a load balancer with or without multi-value headers,
/// and of VPC Lattice in both versions.
pub(crate) fn of_http(event: &[u8]) -> Option<Fields<'_>> {
    let mut found = Fields::default();
    for (name, value) in members(event.trim_ascii_start()) {
        match name {
            b"headers" => found = of_headers(value),
            // The same headers with all values.
            b"multiValueHeaders" => {
                let all = of_headers(value);
                if !all.is_empty() {
                    return Some(all);
                }
            }
            // The rest may be long. The multi-value headers are next to the other headers.
            b"body" | b"requestContext" if !found.is_empty() => break,
            _ => {}
        }
    }
    (!found.is_empty()).then_some(found)
}

fn of_headers(headers: &[u8]) -> Fields<'_> {
    let mut parents = 0;
    let mut fields = Fields::default();
    for (name, value) in members(headers) {
        if name.eq_ignore_ascii_case(TRACEPARENT.as_bytes()) {
            let mut values = values(value);
            (fields.traceparent, parents) = (values.next(), parents + 1 + values.count());
        } else if name.eq_ignore_ascii_case(TRACESTATE.as_bytes()) {
            fields.tracestate = joined(value);
        } else if name.eq_ignore_ascii_case(BAGGAGE.as_bytes()) {
            fields.baggage = joined(value);
        }
    }
    // With two callers, the real one is unknown.
    if parents > 1 {
        fields.traceparent = None;
    }
    fields
}

/// A header's value, or its values if it is an array of them.
pub(super) fn values(value: &[u8]) -> impl Iterator<Item = Cow<'_, str>> {
    let one = (value.first() == Some(&b'"')).then_some(value);
    one.into_iter().chain(elements(value)).filter_map(text)
}

/// A list that may be split over several headers of one name.
fn joined(value: &[u8]) -> Option<Cow<'_, str>> {
    values(value).reduce(|list, more| format!("{list},{more}").into())
}

/// The string at the start of `json`.
pub(super) fn text(json: &[u8]) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'j>(#[serde(borrow)] Cow<'j, str>);

    Some(Text::deserialize(&mut serde_json::Deserializer::from_slice(json)).ok()?.0)
}

/// The message attributes of the notification with which SNS invokes a function.
pub(crate) fn of_notification(event: &[u8]) -> Option<Fields<'_>> {
    let records = member(event.trim_ascii_start(), b"Records")?;
    let mut records = elements(records);
    let attributes = member(member(records.next()?, b"Sns")?, b"MessageAttributes")?;
    if records.next().is_some() {
        return None;
    }
    let attribute = |name: &str| text(member(member(attributes, name.as_bytes())?, b"Value")?);
    let (traceparent, tracestate) = (attribute(TRACEPARENT), attribute(TRACESTATE));
    let fields = Fields { traceparent, tracestate, baggage: attribute(BAGGAGE), correlation: None };
    (!fields.is_empty()).then_some(fields)
}

/// The detail of an EventBridge event, by CloudEvents' extension for [distributed
/// tracing](https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/distributed-tracing.md).
pub(crate) fn of_detail(event: &[u8]) -> Option<Fields<'_>> {
    fields_of(member(event.trim_ascii_start(), b"detail")?)
}

/// The fields that are strings of an object.
pub(super) fn fields_of(object: &[u8]) -> Option<Fields<'_>> {
    let mut fields = Fields::default();
    for (name, value) in members(object) {
        match name {
            b"traceparent" => fields.traceparent = text(value),
            b"tracestate" => fields.tracestate = text(value),
            b"baggage" => fields.baggage = text(value),
            _ => {}
        }
    }
    (!fields.is_empty()).then_some(fields)
}

pub(super) fn member<'j>(object: &'j [u8], wanted: &[u8]) -> Option<&'j [u8]> {
    members(object).find(|(name, _)| *name == wanted).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    type Found = (Option<String>, Option<String>, Option<String>);

    fn owned(fields: Option<Fields<'_>>) -> Option<Found> {
        let text = |field: Option<Cow<'_, str>>| field.map(Cow::into_owned);
        fields.map(|fields| (text(fields.traceparent), text(fields.tracestate), text(fields.baggage)))
    }

    fn found(parent: &str, state: &str, baggage: &str) -> Found {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (text(parent), text(state), text(baggage))
    }

    fn http(event: &Value) -> Option<Found> {
        owned(of_http(event.to_string().as_bytes()))
    }

    #[test]
    fn every_form_of_headers_is_read() {
        let one = json!({ "Host": "h", "traceparent": "p", "tracestate": "s=1", "baggage": "b=\"1\"" });
        let all = json!({ "host": ["h"], "traceparent": ["p"], "tracestate": ["s=1", "t=2"], "baggage": ["b=1"] });
        for (event, expected) in [
            (
                json!({ "version": "2.0", "routeKey": "$default", "headers": one, "requestContext": {}, "body": "x" }),
                found("p", "s=1", "b=\"1\""),
            ),
            (json!({ "raw_path": "/", "method": "GET", "headers": one, "body": "x" }), found("p", "s=1", "b=\"1\"")),
            (json!({ "version": "2.0", "path": "/", "headers": all, "requestContext": {} }), found("p", "s=1,t=2", "b=1")),
            (json!({ "httpMethod": "GET", "headers": one, "multiValueHeaders": all }), found("p", "s=1,t=2", "b=1")),
            (json!({ "httpMethod": "GET", "headers": null, "multiValueHeaders": all }), found("p", "s=1,t=2", "b=1")),
            (json!({ "httpMethod": "GET", "headers": one, "multiValueHeaders": null }), found("p", "s=1", "b=\"1\"")),
            (json!({ "requestContext": { "elb": {} }, "multiValueHeaders": all, "body": "" }), found("p", "s=1,t=2", "b=1")),
            (json!({ "headers": { "TraceParent": "p", "TRACESTATE": "s=1" } }), found("p", "s=1", "")),
        ] {
            assert_eq!(http(&event), Some(expected), "{event}");
        }
    }

    #[test]
    fn headers_are_looked_for_where_they_are() {
        for event in [
            json!({ "headers": { "host": "h" }, "body": "{\"traceparent\":\"p\"}" }),
            json!({ "body": { "headers": { "traceparent": "p" } } }),
            json!({ "queryStringParameters": { "traceparent": "p" }, "headers": {} }),
            json!({ "headers": { "traceparent": ["p", "q"] } }),
            json!({ "headers": { "traceparent": "p", "TraceParent": "q" } }),
            json!({ "headers": { "traceparent": 7, "tracestate": {}, "baggage": [] } }),
            json!({ "headers": [{ "traceparent": "p" }] }),
            json!([]),
            json!("headers"),
        ] {
            assert_eq!(http(&event), None, "{event}");
        }
        for text in ["", "{", "{\"headers\"", "{\"headers\":{\"traceparent\":\"p", "{\"headers\":{\"traceparent\":\"\\ud800\"}}"]
        {
            assert_eq!(owned(of_http(text.as_bytes())), None, "{text}");
        }
        assert_eq!(owned(of_http(b"{\"headers\":{\"traceparent\":\"\xff\"}}")), None);
    }

    #[test]
    fn attributes_of_one_notification_are_read() {
        let sns =
            json!({ "Message": "m", "MessageAttributes": { "traceparent": { "Type": "String", "Value": "p" }, "n": null } });
        let record = json!({ "EventSource": "aws:sns", "Sns": sns });
        let read = |event: Value| owned(of_notification(event.to_string().as_bytes()));
        assert_eq!(read(json!({ "Records": [record] })), Some(found("p", "", "")));
        for event in [
            json!({ "Records": [record, record] }),
            json!({ "Records": [] }),
            json!({ "Records": [{ "Sns": { "MessageAttributes": {} } }] }),
            json!({ "Records": [{ "Sns": { "Message": "\"MessageAttributes\":{\"traceparent\":1}" } }] }),
            json!({}),
        ] {
            assert_eq!(read(event.clone()), None, "{event}");
        }
    }

    #[test]
    fn the_extension_of_cloud_events_is_read() {
        let read = |detail: Value| owned(of_detail(json!({ "detail-type": "x", "detail": detail }).to_string().as_bytes()));
        assert_eq!(read(json!({ "id": "1", "traceparent": "p", "tracestate": "s=1" })), Some(found("p", "s=1", "")));
        for detail in [json!({ "data": { "traceparent": "p" } }), json!(null), json!("{\"traceparent\":\"p\"}"), json!([])] {
            assert_eq!(read(detail.clone()), None, "{detail}");
        }
    }
}
