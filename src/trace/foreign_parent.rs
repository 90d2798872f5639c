//! The parent of an invocation where it is not X-Ray's header that names it.

use crate::{TraceParent, xray::TraceHeader};
use http::HeaderMap;
use serde::Deserialize;

/// How far into an HTTP event its headers are looked for.
const LOOK: usize = 16 * 1024;

/// The W3C parent of an event, where the settings ask for it and the event has one: in the client context, or among the headers of
/// an HTTP request.
pub(crate) fn foreign_parent(parent: TraceParent, headers: &HeaderMap, event: &[u8]) -> Option<TraceHeader> {
    if parent != TraceParent::W3c {
        return None;
    }
    of_client_context(headers).or_else(|| of_http_event(event))
}

fn of_client_context(headers: &HeaderMap) -> Option<TraceHeader> {
    #[derive(Deserialize)]
    struct ClientContext {
        w3c: W3c,
    }
    #[derive(Deserialize)]
    struct W3c {
        traceparent: String,
    }
    let context = headers.get("lambda-runtime-client-context")?;
    let context: ClientContext = serde_json::from_slice(context.as_bytes()).ok()?;
    TraceHeader::from_traceparent(&context.w3c.traceparent)
}

/// `"traceparent":"00-…"` near the front of the event, in any case: the headers of an HTTP request come before its body.
fn of_http_event(event: &[u8]) -> Option<TraceHeader> {
    const KEY: &[u8] = b"\"traceparent\"";
    let head = &event[..event.len().min(LOOK)];
    let at = head.windows(KEY.len()).position(|window| window.eq_ignore_ascii_case(KEY))?;
    let value = head[at + KEY.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = value.iter().position(|byte| *byte == b'"')?;
    TraceHeader::from_traceparent(std::str::from_utf8(&value[..end]).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";

    #[test]
    fn the_client_context_names_the_parent() {
        let mut headers = HeaderMap::new();
        let context = format!(r#"{{"w3c":{{"traceparent":"{PARENT}","tracestate":""}}}}"#);
        headers.insert("lambda-runtime-client-context", context.parse().expect("a header"));
        let header = of_client_context(&headers).expect("a parent");
        assert_eq!(header.to_string(), "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
        headers.insert("lambda-runtime-client-context", "{\"client\":{}}".parse().expect("a header"));
        assert_eq!(of_client_context(&headers), None);
    }

    #[test]
    fn the_headers_of_a_request_name_the_parent() {
        let event = format!(r#"{{"version":"2.0","headers":{{"Traceparent" : "{PARENT}"}}}}"#);
        assert!(of_http_event(event.as_bytes()).is_some_and(|header| header.parent().is_some()));
        for event in ["", "{\"traceparent\"", "{\"traceparent\":", "{\"traceparent\":\"", "{\"traceparent\":\"zz\"}"] {
            assert_eq!(of_http_event(event.as_bytes()), None, "{event}");
        }
    }
}
