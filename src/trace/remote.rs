//! The caller of an invocation, as W3C's fields name it.

use super::Trigger;
use crate::{
    propagation::{Fields, Propagators, Remote, of_client_context, of_detail, of_http, of_notification},
    settings::Settings,
};
use http::HeaderMap;

/// The caller's context from the client context or the event, in the formats that are in use. Each message of a batch has its own
/// caller. An event that has to be recognized for it leaves its `trigger`.
pub(crate) fn remote(
    settings: &Settings,
    headers: &HeaderMap,
    event: &[u8],
    trigger: &mut Option<Trigger>,
) -> Option<Box<Remote>> {
    let propagators = settings.propagators();
    if propagators.has_w3c() { read(propagators, headers, event, trigger) } else { None }
}

#[cold]
#[inline(never)]
fn read(propagators: Propagators, headers: &HeaderMap, event: &[u8], trigger: &mut Option<Trigger>) -> Option<Box<Remote>> {
    let context = headers.get("lambda-runtime-client-context");
    let of_context =
        context.and_then(|context| of_client_context(context.as_bytes())).and_then(|fields| fields.read(propagators));
    of_context.or_else(|| of_event(event, *trigger.insert(Trigger::recognize(event)))?.read(propagators))
}

fn of_event(event: &[u8], trigger: Trigger) -> Option<Fields<'_>> {
    match trigger {
        Trigger::ApiGatewayV1
        | Trigger::ApiGatewayV2
        | Trigger::FunctionUrl
        | Trigger::LoadBalancer
        | Trigger::VpcLattice
        | Trigger::WebSocket
        | Trigger::Authorizer => of_http(event),
        Trigger::Sns => of_notification(event),
        Trigger::EventBridge => of_detail(event),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const PARENT: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
    const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parent(propagators: &str, context: &str, event: &Value) -> Option<String> {
        let settings = Settings { propagators: Propagators::parse(propagators, |_| ()), ..Settings::default() };
        let mut headers = HeaderMap::new();
        headers.insert("lambda-runtime-client-context", context.parse().expect("a header"));
        let (event, mut trigger) = (event.to_string(), None);
        let remote = remote(&settings, &headers, event.as_bytes(), &mut trigger);
        assert!(trigger.is_none_or(|trigger| trigger == Trigger::recognize(event.as_bytes())));
        let remote = remote?;
        Some(remote.parent.map(|parent| parent.span_id().to_string()).unwrap_or_default())
    }

    /// One event of each source that names a caller.
    fn sources() -> Vec<(&'static str, Value)> {
        let headers = json!({ "traceparent": PARENT, "baggage": "a=1" });
        let all = json!({ "traceparent": [PARENT], "baggage": ["a=1"] });
        let attributes =
            json!({ "traceparent": { "Type": "String", "Value": PARENT }, "baggage": { "Type": "String", "Value": "a=1" } });
        let url = json!({ "domainName": "x.lambda-url.eu-west-1.on.aws", "http": {} });
        vec![
            (
                "REST API",
                json!({ "resource": "/", "path": "/", "httpMethod": "GET", "headers": headers, "multiValueHeaders": all, "requestContext": {} }),
            ),
            (
                "HTTP API",
                json!({ "version": "2.0", "routeKey": "$default", "rawPath": "/", "headers": headers, "requestContext": { "http": {} } }),
            ),
            (
                "function URL",
                json!({ "version": "2.0", "routeKey": "$default", "rawPath": "/", "headers": headers, "requestContext": url }),
            ),
            ("ALB", json!({ "requestContext": { "elb": {} }, "httpMethod": "GET", "path": "/", "headers": headers })),
            (
                "ALB, multi-value",
                json!({ "requestContext": { "elb": {} }, "httpMethod": "GET", "path": "/", "multiValueHeaders": all }),
            ),
            ("Lattice 1", json!({ "raw_path": "/", "method": "GET", "headers": headers })),
            (
                "Lattice 2",
                json!({ "version": "2.0", "path": "/", "method": "GET", "headers": all, "requestContext": { "serviceNetworkArn": "arn" } }),
            ),
            ("WebSocket", json!({ "headers": headers, "requestContext": { "connectionId": "c" } })),
            ("authorizer", json!({ "type": "REQUEST", "methodArn": "arn", "headers": headers, "requestContext": {} })),
            (
                "SNS",
                json!({ "Records": [{ "EventSource": "aws:sns", "Sns": { "Message": "m", "MessageAttributes": attributes } }] }),
            ),
            ("EventBridge", json!({ "detail-type": "t", "source": "s", "detail": { "traceparent": PARENT, "baggage": "a=1" } })),
        ]
    }

    #[test]
    fn each_source_is_read_by_the_propagators_in_use() {
        for (source, event) in sources() {
            for (propagators, expected) in [
                ("xray", None),
                ("none", None),
                ("tracecontext", Some("53995c3f42cd8ad8")),
                ("xray,tracecontext", Some("53995c3f42cd8ad8")),
                ("xray,tracecontext,baggage", Some("53995c3f42cd8ad8")),
                ("baggage", Some("")),
            ] {
                assert_eq!(parent(propagators, "{}", &event).as_deref(), expected, "{source}, {propagators}");
            }
        }
    }

    #[test]
    fn the_client_context_comes_first() {
        for key in ["custom", "w3c"] {
            let context = json!({ key: { "traceparent": PARENT } }).to_string();
            let event = json!({ "routeKey": "$default", "headers": { "traceparent": OTHER } });
            assert_eq!(parent("tracecontext", &context, &event).as_deref(), Some("53995c3f42cd8ad8"));
            assert_eq!(parent("tracecontext", &context, &json!({})).as_deref(), Some("53995c3f42cd8ad8"));
            assert_eq!(parent("xray", &context, &json!({})), None);
        }
        let event = json!({ "routeKey": "$default", "headers": { "traceparent": OTHER } });
        assert_eq!(parent("tracecontext", "{\"custom\":{\"traceparent\":\"zz\"}}", &event).as_deref(), Some("00f067aa0ba902b7"));
    }

    #[test]
    fn a_payload_that_looks_like_a_request_is_not_one() {
        for event in [
            json!({ "headers": { "traceparent": PARENT } }),
            json!({ "detail": { "traceparent": PARENT } }),
            json!({ "Records": [{ "messageId": "m", "eventSource": "aws:sqs", "messageAttributes": {} }] }),
            json!({ "traceparent": PARENT }),
        ] {
            assert_eq!(parent("tracecontext", "{}", &event), None, "{event}");
        }
    }
}
