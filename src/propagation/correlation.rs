//! The id by which the log lines of one request are found in every function that works on it.

use super::{
    X_CORRELATION_ID,
    event::{member, text, values},
};
use crate::{
    panics,
    scan::{elements, members},
};
use std::{borrow::Cow, fmt, sync::Arc};

/// The most bytes of an id.
const LONGEST: usize = 256;

/// Where the correlation id of an event is found: see [`Builder::correlation_id`](crate::Builder::correlation_id).
///
/// ```
/// use lambda_lifecycle::CorrelationId;
///
/// let from_header = CorrelationId::header("x-request-id");
/// let from_event = CorrelationId::custom(|event| {
///     let order: serde_json::Value = serde_json::from_slice(event).ok()?;
///     Some(order["order_id"].as_str()?.to_owned())
/// });
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum CorrelationId {
    /// The request id of API Gateway or a function URL: `requestContext.requestId`. `api_gateway` in the variable.
    ApiGateway,
    /// The trace header of a load balancer: `x-amzn-trace-id`. `load_balancer` in the variable.
    LoadBalancer,
    /// The id of an event of EventBridge. `event_bridge` in the variable.
    EventBridge,
    /// For each message of SQS the attribute `x-correlation-id`, or else the message's id. `sqs` in the variable.
    Sqs,
    /// A header of HTTP requests or of records of Kafka, or an attribute of messages, in any case, or else `x-correlation-id`. `header:NAME` in the variable.
    Header(Cow<'static, str>),
    /// What a function finds in an event, in the body of a message of SQS, or in the value of a record of Kafka or Kinesis.
    Custom(Custom),
}

/// The function of [`CorrelationId::Custom`].
#[derive(Clone)]
pub struct Custom(Arc<Find>);

type Find = dyn Fn(&[u8]) -> Option<String> + Send + Sync;

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom")
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiGateway => f.write_str("ApiGateway"),
            Self::LoadBalancer => f.write_str("LoadBalancer"),
            Self::EventBridge => f.write_str("EventBridge"),
            Self::Sqs => f.write_str("Sqs"),
            Self::Header(name) => f.debug_tuple("Header").field(name).finish(),
            Self::Custom(_) => f.write_str("Custom"),
        }
    }
}

/// The id of the work that runs in a context of OpenTelemetry, if it differs from the invocation's.
#[derive(Clone, Debug)]
pub(crate) struct Correlated(pub(crate) Arc<str>);

impl CorrelationId {
    /// Values of the variable.
    pub(crate) const EXPECTED: &str = "api_gateway, load_balancer, event_bridge, sqs or header:NAME";

    /// A header of HTTP requests or of records of Kafka, or an attribute of messages.
    pub fn header(name: impl Into<Cow<'static, str>>) -> Self {
        Self::Header(name.into())
    }

    /// A function that finds the id in the event as Lambda sent it, in the body of a message of SQS, or in the value of a record of Kafka or
    /// Kinesis.
    ///
    /// It runs before the handler, so it should be quick. If it panics, there is no id.
    pub fn custom(find: impl Fn(&[u8]) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::Custom(Custom(Arc::new(find)))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "api_gateway" => Self::ApiGateway,
            "load_balancer" => Self::LoadBalancer,
            "event_bridge" => Self::EventBridge,
            "sqs" => Self::Sqs,
            _ => Self::Header(text.strip_prefix("header:").map(str::trim).filter(|name| !name.is_empty())?.to_owned().into()),
        })
    }

    /// The id of an invocation: of its event, or else what a caller has put into the client context.
    pub(crate) fn of_invocation(&self, event: &[u8], client_context: Option<&[u8]>) -> Option<Arc<str>> {
        let event = event.trim_ascii_start();
        let of_event = match self {
            Self::ApiGateway => member(event, b"requestContext").and_then(|context| text(member(context, b"requestId")?)),
            Self::LoadBalancer => header(event, "x-amzn-trace-id"),
            Self::EventBridge => member(event, b"detail-type").and_then(|_| text(member(event, b"id")?)),
            // Each message has its own.
            Self::Sqs => None,
            Self::Header(name) => {
                [name, X_CORRELATION_ID].into_iter().find_map(|name| header(event, name).or_else(|| of_notification(event, name)))
            }
            Self::Custom(Custom(find)) => panics::catch(|| find(event)).ok().flatten().map(Cow::Owned),
        };
        let of_caller = || text(member(member(client_context?.trim_ascii_start(), b"custom")?, X_CORRELATION_ID.as_bytes())?);
        of_event.or_else(of_caller).and_then(|id| valid(&id))
    }

    /// The id of a message. `None` if it is the invocation's.
    #[cfg(any(feature = "sqs", feature = "kinesis", feature = "kafka"))]
    pub(crate) fn of_message<'m>(
        &self,
        attribute: impl Fn(&str) -> Option<&'m str>,
        message_id: &str,
        body: impl FnOnce() -> Cow<'m, [u8]>,
    ) -> Option<Arc<str>> {
        let name = match self {
            Self::Header(name) => name,
            _ => X_CORRELATION_ID,
        };
        let attribute = attribute(name).or_else(|| attribute(X_CORRELATION_ID)).and_then(valid);
        attribute.or_else(|| match self {
            Self::Sqs => valid(message_id),
            // A rule may have sent the event to the queue.
            Self::EventBridge | Self::Custom(_) => self.of_invocation(&body(), None),
            Self::ApiGateway | Self::LoadBalancer | Self::Header(_) => None,
        })
    }
}

/// An id as it may be a header's value, cut to its longest. `None` if nothing of it is left.
fn valid(id: &str) -> Option<Arc<str>> {
    let id = id.trim();
    let is_text = !id.is_empty() && !id.contains(char::is_control);
    is_text.then(|| id[..id.floor_char_boundary(LONGEST)].into())
}

/// A header of an HTTP request. Of several values the first counts.
fn header<'e>(event: &'e [u8], name: &str) -> Option<Cow<'e, str>> {
    let headers = members(event).filter(|(key, _)| matches!(*key, b"headers" | b"multiValueHeaders"));
    headers
        .flat_map(|(_, headers)| members(headers))
        .find_map(|(key, value)| if key.eq_ignore_ascii_case(name.as_bytes()) { values(value).next() } else { None })
}

/// An attribute of the one notification of an event of SNS.
fn of_notification<'e>(event: &'e [u8], name: &str) -> Option<Cow<'e, str>> {
    let mut records = elements(member(event, b"Records")?);
    let attributes = member(member(records.next()?, b"Sns")?, b"MessageAttributes")?;
    let is_only = records.next().is_none();
    let (_, value) = members(attributes).find(|(key, _)| is_only && key.eq_ignore_ascii_case(name.as_bytes()))?;
    text(member(value, b"Value")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(preset: &CorrelationId, event: &Value) -> Option<String> {
        preset.of_invocation(event.to_string().as_bytes(), None).map(|id| id.to_string())
    }

    #[test]
    fn presets_find_the_id_in_the_event_of_their_source() {
        let rest = json!({ "body": "{\"requestContext\":1}", "headers": { "X-Request-ID": "h-1", "X-Amzn-Trace-Id": "Root=1" },
            "requestContext": { "requestId": "r-1" } });
        let multi = json!({ "headers": null, "multiValueHeaders": { "x-request-id": ["h-2", "h-3"] } });
        let sns = json!({ "Records": [{ "Sns": { "MessageAttributes": { "X-Correlation-Id": { "Type": "String", "Value": "n-1" } } } }] });
        let bus = json!({ "id": "e-1", "detail-type": "placed", "detail": { "id": "x" } });
        let header = CorrelationId::header("x-request-id");
        for (preset, event, expected) in [
            (&CorrelationId::ApiGateway, &rest, Some("r-1")),
            (&CorrelationId::LoadBalancer, &rest, Some("Root=1")),
            (&header, &rest, Some("h-1")),
            (&header, &multi, Some("h-2")),
            (&header, &sns, Some("n-1")),
            (&CorrelationId::EventBridge, &bus, Some("e-1")),
            (&CorrelationId::EventBridge, &json!({ "id": "e-1" }), None),
            (&CorrelationId::ApiGateway, &bus, None),
            (&header, &json!({ "headers": { "x-request-id": 7 } }), None),
            (&header, &json!({ "headers": { "x-request-id": " " } }), None),
            (&header, &json!({ "headers": { "x-request-id": "a\nb" } }), None),
            (&header, &json!({ "headers": { "x-request-id": "é".repeat(200) } }), Some("é".repeat(128).as_str())),
            (&CorrelationId::custom(|event| Some(event.len().to_string())), &json!([]), Some("2")),
            (&CorrelationId::custom(|_| panic!("odd")), &json!([]), None),
        ] {
            assert_eq!(of(preset, event).as_deref(), expected, "{preset:?} {event}");
        }
    }

    #[test]
    fn a_caller_of_lambda_names_it_in_the_client_context() {
        let find = |context: &str| CorrelationId::Sqs.of_invocation(b"{}", Some(context.as_bytes())).map(|id| id.to_string());
        assert_eq!(find(r#"{"custom":{"x-correlation-id":"c-1"}}"#).as_deref(), Some("c-1"));
        assert_eq!(find("warm"), None);
    }

    #[cfg(feature = "sqs")]
    #[test]
    fn a_message_has_its_own() {
        let event = r#"{"id":"e-1","detail-type":"placed"}"#;
        let find = |preset: &CorrelationId, sent: bool, body: &str| {
            let attribute = |name: &str| if sent { (name == X_CORRELATION_ID).then_some("sent") } else { None };
            preset.of_message(attribute, "m-1", || body.as_bytes().into()).map(|id| id.to_string())
        };
        assert_eq!(find(&CorrelationId::Sqs, false, "").as_deref(), Some("m-1"));
        assert_eq!(find(&CorrelationId::Sqs, true, "").as_deref(), Some("sent"));
        assert_eq!(find(&CorrelationId::EventBridge, false, event).as_deref(), Some("e-1"));
        assert_eq!(find(&CorrelationId::ApiGateway, true, "").as_deref(), Some("sent"));
        assert_eq!(find(&CorrelationId::header("x-request-id"), false, ""), None);
    }

    #[test]
    fn the_variable_names_a_preset() {
        let shown = |text| CorrelationId::parse(text).map(|preset| format!("{preset:?}"));
        assert_eq!(shown("sqs").as_deref(), Some("Sqs"));
        assert_eq!(shown("header: X-Id").as_deref(), Some("Header(\"X-Id\")"));
        assert_eq!((shown("header:"), shown("cookie")), (None, None));
    }
}
