//! Protects lambda_http's adapter from events that it cannot turn into a request, because it would panic.

use super::HttpService;
use crate::{
    Invocation,
    notice::{self, Data, Warning},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header::HOST};
use lambda_http::{Body, request::LambdaRequest};
use lambda_runtime::LambdaEvent;
use serde::Serialize;
use std::{
    collections::HashMap,
    fmt,
    task::{Context, Poll},
};
use tower::Service;
use url::Url;

/// A URI of fewer bytes is not too long, even if all of its path is percent-encoded: `http` accepts 65,534.
const SHORT: usize = 21_000;

type Inner<S> = lambda_http::Adapter<'static, http::Response<Body>, HttpService<S>>;

/// The service that [`Lifecycle::serve`](crate::Lifecycle::serve) creates from an HTTP service: it turns events into requests,
/// and responses into the gateway's format.
///
/// lambda_http rejects some requests whose meaning is clear, so they are corrected first. Characters that are not allowed in a
/// query are percent-encoded, and of a list in `X-Forwarded-Proto` the first entry is used. All values of a repeated header are kept. A query
/// parameter with an empty list of values is left out. Any other invalid host, path or
/// base64 body gets the status 400.
pub struct HttpAdapter<S> {
    inner: Inner<S>,
}

impl<S> HttpAdapter<S>
where
    Inner<S>: From<HttpService<S>>,
{
    pub(crate) fn new(service: HttpService<S>) -> Self {
        Self { inner: Inner::from(service) }
    }
}

impl<S> fmt::Debug for HttpAdapter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpAdapter").finish_non_exhaustive()
    }
}

impl<S> Clone for HttpAdapter<S>
where
    Inner<S>: Clone,
{
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<S> Service<LambdaEvent<LambdaRequest>> for HttpAdapter<S>
where
    Inner<S>: Service<LambdaEvent<LambdaRequest>>,
{
    type Response = <Inner<S> as Service<LambdaEvent<LambdaRequest>>>::Response;
    type Error = <Inner<S> as Service<LambdaEvent<LambdaRequest>>>::Error;
    type Future = <Inner<S> as Service<LambdaEvent<LambdaRequest>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut event: LambdaEvent<LambdaRequest>) -> Self::Future {
        // A response can only be created inside of the adapter: `HttpService` does it instead of calling the router.
        Invocation::current().notes().request_invalid = !mend(&mut event.payload);
        self.inner.call(event)
    }
}

/// Corrects an event so that it can become a request. Returns false if that is not possible. The event is then blank, and this is
/// logged.
pub(super) fn mend(event: &mut LambdaRequest) -> bool {
    mend_queries(event);
    keep_repeated_headers(event);
    if let Some(mut parts) = Parts::of(event)
        && let Err(invalid) = parts.mend()
    {
        parts.blank();
        notice::log(Warning::RequestInvalid, Data::name(invalid));
        return false;
    }
    true
}

/// lambda_http panics for a query parameter whose list of values is empty. Such a parameter has no value, so it is left out.
fn mend_queries(event: &mut LambdaRequest) {
    match event {
        LambdaRequest::ApiGatewayV1(event) => {
            without_empty_lists(&mut event.query_string_parameters);
            without_empty_lists(&mut event.multi_value_query_string_parameters);
        }
        LambdaRequest::Alb(event) => {
            without_empty_lists(&mut event.query_string_parameters);
            without_empty_lists(&mut event.multi_value_query_string_parameters);
        }
        LambdaRequest::WebSocket(event) => {
            without_empty_lists(&mut event.query_string_parameters);
            without_empty_lists(&mut event.multi_value_query_string_parameters);
        }
        LambdaRequest::VpcLatticeV2(event) => without_empty_lists(&mut event.query_string_parameters),
        // Its parameters are in the query itself.
        _ => {}
    }
}

/// lambda_http lets the one value in `headers` replace all of a repeated header in `multiValueHeaders`.
fn keep_repeated_headers(event: &mut LambdaRequest) {
    let (headers, multiple) = match event {
        LambdaRequest::ApiGatewayV1(event) => (&mut event.headers, &event.multi_value_headers),
        LambdaRequest::Alb(event) => (&mut event.headers, &event.multi_value_headers),
        LambdaRequest::WebSocket(event) => (&mut event.headers, &event.multi_value_headers),
        _ => return,
    };
    if multiple.len() == multiple.keys_len() {
        return;
    }
    // The URI is made of these two, which only `headers` is asked for.
    let of_uri = |name: &HeaderName| *name == HOST || name == "x-forwarded-proto";
    for name in multiple.keys().filter(|name| !of_uri(name)) {
        if multiple.get_all(name).iter().nth(1).is_some() {
            headers.remove(name);
        }
    }
}

/// The type of the map belongs to a crate that is not a dependency, and its iterator is what panics.
fn without_empty_lists<M: Serialize + From<HashMap<String, Vec<String>>>>(parameters: &mut M) {
    let Ok(text) = serde_json::to_string(parameters) else { return };
    // Values with brackets are looked at for nothing.
    if text.contains("[]")
        && let Ok(mut lists) = serde_json::from_str::<HashMap<String, Vec<String>>>(&text)
    {
        lists.retain(|_, values| !values.is_empty());
        *parameters = lists.into();
    }
}

/// The parts of an event that become the request's URI and body.
struct Parts<'r> {
    headers: &'r mut HeaderMap,
    /// Used as the host if the request names none.
    domain: Option<&'r mut Option<String>>,
    path: &'r mut Option<String>,
    query: Option<&'r mut Option<String>>,
    body: &'r mut Option<String>,
    is_base64: &'r mut bool,
}

impl<'r> Parts<'r> {
    fn of(request: &'r mut LambdaRequest) -> Option<Self> {
        Some(match request {
            LambdaRequest::ApiGatewayV1(event) => Self {
                headers: &mut event.headers,
                domain: Some(&mut event.request_context.domain_name),
                path: &mut event.path,
                query: None,
                body: &mut event.body,
                is_base64: &mut event.is_base64_encoded,
            },
            LambdaRequest::ApiGatewayV2(event) => Self {
                headers: &mut event.headers,
                domain: Some(&mut event.request_context.domain_name),
                path: &mut event.raw_path,
                query: Some(&mut event.raw_query_string),
                body: &mut event.body,
                is_base64: &mut event.is_base64_encoded,
            },
            LambdaRequest::Alb(event) => Self {
                headers: &mut event.headers,
                domain: None,
                path: &mut event.path,
                query: None,
                body: &mut event.body,
                is_base64: &mut event.is_base64_encoded,
            },
            LambdaRequest::WebSocket(event) => Self {
                headers: &mut event.headers,
                domain: Some(&mut event.request_context.domain_name),
                path: &mut event.path,
                query: None,
                body: &mut event.body,
                is_base64: &mut event.is_base64_encoded,
            },
            LambdaRequest::VpcLatticeV2(event) => Self {
                headers: &mut event.headers,
                domain: None,
                path: &mut event.path,
                query: None,
                body: &mut event.body,
                is_base64: &mut event.is_base64_encoded,
            },
            // A variant that another crate of the build can enable.
            #[allow(unreachable_patterns)]
            _ => return None,
        })
    }

    /// Names the part that cannot be corrected.
    fn mend(&mut self) -> Result<(), &'static str> {
        self.mend_protocol();
        if let Some(Some(query)) = self.query.as_deref_mut()
            && let Some(encoded) = encode(query)
        {
            *query = encoded;
        }
        if *self.is_base64 && self.body.as_deref().is_some_and(|body| !is_base64(body)) {
            return Err("body");
        }
        let header = self.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = header.or(self.domain.as_deref().and_then(|domain| domain.as_deref()));
        let path = self.path.as_deref().unwrap_or_default();
        let query = self.query.as_deref().and_then(Option::as_deref);
        let length = host.map_or(0, str::len) + path.len() + query.map_or(0, str::len);
        if length < SHORT && host.is_none_or(is_plain_host) && is_plain_path(path) {
            return Ok(());
        }
        if !host.unwrap_or_default().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)) {
            return Err("host");
        }
        converts(host, path, query).then_some(()).ok_or(if length < SHORT { "host or path" } else { "length" })
    }

    /// Each proxy may add its own protocol to the list. The first one is the client's.
    fn mend_protocol(&mut self) {
        let Some(value) = self.headers.get_mut("x-forwarded-proto") else { return };
        let text = value.to_str().unwrap_or_default();
        if matches!(text, "https" | "http") {
            return;
        }
        let first = text.split(',').next().unwrap_or_default().trim().to_ascii_lowercase();
        *value = HeaderValue::from_static(if first == "http" { "http" } else { "https" });
    }

    /// Leaves an event that can always be converted.
    fn blank(self) {
        self.headers.remove(HOST);
        *self.path = Some("/".to_owned());
        if let Some(query) = self.query {
            *query = None;
        }
        *self.body = None;
        *self.is_base64 = false;
        if let Some(domain) = self.domain {
            *domain = None;
        }
    }
}

/// A name that needs no further check, like most hosts.
fn is_plain_host(host: &str) -> bool {
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    // Host names with other alphabets, and addresses, have different rules.
    let ends_with_letter = host.bytes().last().is_some_and(|byte| byte.is_ascii_alphabetic());
    plain && ends_with_letter && !host.starts_with('.') && !host.contains("xn--")
}

fn is_plain_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte))
}

/// Whether lambda_http can build a URI of them. It panics if not, so this does the same beforehand. Plain values need no check.
fn converts(host: Option<&str>, path: &str, query: Option<&str>) -> bool {
    let Ok(url) = Url::parse(&format!("https://{}{path}", host.unwrap_or("localhost"))) else { return false };
    let uri = if host.is_some() { url.as_str() } else { url.path() };
    let uri = match query {
        Some(query) if !query.is_empty() => format!("{uri}?{query}"),
        _ => uri.to_owned(),
    };
    Uri::try_from(uri).is_ok()
}

/// The query with invalid characters percent-encoded; `None` if there are none.
fn encode(query: &str) -> Option<String> {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]|^`\\".contains(byte);
    if query.bytes().all(|byte| is_allowed(&byte)) {
        return None;
    }
    Some(query.bytes().fold(String::with_capacity(query.len() + 16), |mut encoded, byte| {
        if is_allowed(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    }))
}

/// Whether a body is valid base64, without decoding all of it.
fn is_base64(body: &str) -> bool {
    let bytes = body.as_bytes();
    let (whole, last) = bytes.split_at(bytes.len() - bytes.len().min(4));
    let in_alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    bytes.len().is_multiple_of(4) && whole.iter().all(in_alphabet) && STANDARD.decode(last).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lambda_http::Request;
    use serde_json::{Value, json};

    fn event(change: impl FnOnce(&mut Value)) -> LambdaRequest {
        let mut event = json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/orders", "rawQueryString": "", "headers": { "host": "example.com" },
            "requestContext": { "http": { "method": "POST", "path": "/orders" }, "stage": "$default", "domainName": "example.com" },
            "body": "x", "isBase64Encoded": false,
        });
        change(&mut event);
        serde_json::from_value(event).expect("an event")
    }

    /// The resulting request, or the invalid part. Neither panics.
    fn request(change: impl FnOnce(&mut Value)) -> Result<Request, &'static str> {
        let mut event = event(change);
        let mended = Parts::of(&mut event).expect("a known event").mend();
        if mended.is_err() {
            Parts::of(&mut event).expect("a known event").blank();
        }
        let request = Request::from(event);
        mended.map(|()| request)
    }

    fn uri(change: impl FnOnce(&mut Value)) -> Result<String, &'static str> {
        request(change).map(|request| request.uri().to_string())
    }

    #[test]
    fn what_is_plain_is_left_as_it_is() {
        let query = "a=1&b=%20+x&c[]=|^`\\&d=/?:@!$'()*,;~";
        assert_eq!(uri(|event| event["rawQueryString"] = json!(query)), Ok(format!("https://example.com/orders?{query}")));
        assert_eq!(encode(query), None);
    }

    #[test]
    fn a_query_is_percent_encoded() {
        for (query, encoded) in [
            ("scope=openid profile", "scope=openid%20profile"),
            ("q={\"a\":1}", "q=%7B%22a%22:1%7D"),
            ("a=<b>", "a=%3Cb%3E"),
            ("name=Jos\u{e9}", "name=Jos%C3%A9"),
            ("a b\u{0}", "a%20b%00"),
            ("a#b", "a%23b"),
        ] {
            assert_eq!(uri(|event| event["rawQueryString"] = json!(query)), Ok(format!("https://example.com/orders?{encoded}")));
        }
        // For every byte.
        for byte in 0..=255_u8 {
            assert!(uri(|event| event["rawQueryString"] = json!(char::from(byte).to_string())).is_ok(), "{byte}");
        }
    }

    #[test]
    fn of_a_list_of_protocols_the_first_counts() {
        for (forwarded, scheme) in [
            ("https, http", "https"),
            ("http,https", "http"),
            ("HTTP", "http"),
            ("wss", "https"),
            ("", "https"),
            (" ", "https"),
            ("a b://c", "https"),
        ] {
            let uri = uri(|event| event["headers"]["x-forwarded-proto"] = json!(forwarded));
            assert_eq!(uri, Ok(format!("{scheme}://example.com/orders")), "{forwarded}");
        }
    }

    #[test]
    fn hosts_are_taken_or_refused_and_never_a_reason_to_panic() {
        for host in ["example.com:8443", "localhost", "127.0.0.1:3000", "[::1]:80", "a_b.example.com", "xn--bcher-kva.example"] {
            assert!(request(|event| event["headers"]["host"] = json!(host)).is_ok(), "{host}");
        }
        for host in
            ["1234.execute-api.{dns_suffix}", "a b/c?d", "a:99999", "256.256.256.256", "xn--a", "a%00b", "a|b", "<>", "[::", ":"]
        {
            let refused = request(|event| event["headers"]["host"] = json!(host));
            assert!(refused.is_err_and(|part| part.contains("host")), "{host}");
        }
        for byte in 32..=126_u8 {
            let odd = char::from(byte);
            for host in [format!("{odd}"), format!("a{odd}b"), format!("a{odd}"), format!("{odd}a:{odd}")] {
                let _ = request(|event| event["headers"]["host"] = json!(host));
            }
        }
    }

    #[test]
    fn paths_are_taken_or_refused_and_never_a_reason_to_panic() {
        for path in ["/orders/ä", "/a b", "/{id}", "/a\"b", "/%zz", "//", "/a?b", "/a#b", "", "orders", "/a|b^c`d"] {
            let taken = request(|event| event["rawPath"] = json!(path));
            assert!(taken.is_ok(), "{path}");
        }
        for byte in 0..=255_u8 {
            let _ = request(|event| event["rawPath"] = json!(format!("/{}", char::from(byte))));
        }
    }

    #[test]
    fn a_uri_may_be_long_but_not_too_long() {
        for (path, query, taken) in [(1, 65_000, true), (65_000, 1, true), (1, 66_000, false), (66_000, 1, false)] {
            let request = request(|event| {
                event["rawPath"] = json!(format!("/{}", "a".repeat(path)));
                event["rawQueryString"] = json!("b".repeat(query));
            });
            assert_eq!(request.err(), (!taken).then_some("length"), "{path} {query}");
        }
        // Each letter takes six bytes in the URI.
        assert!(request(|event| event["rawPath"] = json!(format!("/{}", "\u{e9}".repeat(11_000)))).is_err());
    }

    #[test]
    fn a_body_in_base64_is_checked() {
        for (body, expected) in [("", Some("")), ("eA==", Some("x")), ("eHg=", Some("xx")), ("eHh4", Some("xxx"))] {
            let body = request(|event| (event["body"], event["isBase64Encoded"]) = (json!(body), json!(true)));
            let body = body.ok().map(|request| String::from_utf8_lossy(request.body()).into_owned());
            assert_eq!(body.as_deref(), expected);
        }
        for body in ["!!!", "eA", "eA=", "eB==", "e A=", "eHh4eA", "=eHh", "eA==eA==", "eHh4\n", "eH\u{e9}4", "\u{e9}\u{e9}"] {
            let refused = request(|event| (event["body"], event["isBase64Encoded"]) = (json!(body), json!(true)));
            assert_eq!(refused.err(), Some("body"), "{body}");
        }
    }
}
