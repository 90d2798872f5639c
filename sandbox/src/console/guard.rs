//! Only the page itself is served: not other sites in the same browser, and not names that lead to the loopback interface.
//!
//! A site can point its own name at 127.0.0.1 (DNS rebinding), which `Host` shows. A site can also send requests to this address
//! without reading the responses, which `Origin` and `Sec-Fetch-Site` show.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS},
};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(super) async fn check(State(port): State<u16>, request: Request, next: Next) -> Response {
    let mut response = match refusal(request.headers(), port) {
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Why a request with these headers is refused.
fn refusal(headers: &HeaderMap, port: u16) -> Option<&'static str> {
    let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap_or_default());
        first.map(|first| if values.next().is_some() { "" } else { first })
    };
    if !one(HOST).is_some_and(|host| hosts.iter().any(|known| known.eq_ignore_ascii_case(host))) {
        return Some("this host is not the console's: open the URL that the sandbox printed");
    }
    let is_own = |origin: &str| origin.strip_prefix("http://").is_some_and(|host| hosts.iter().any(|known| known == host));
    if one(ORIGIN).is_some_and(|origin| !is_own(origin)) {
        return Some("requests of another origin are refused");
    }
    // `none`: the user opened the page.
    let site = one(HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Some("requests of another site are refused");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_pages_own_requests_are_served() {
        for pairs in [
            &[("host", "127.0.0.1:7000")][..],
            &[("host", "localhost:7000"), ("sec-fetch-site", "none")],
            &[("host", "127.0.0.1:7000"), ("origin", "http://127.0.0.1:7000"), ("sec-fetch-site", "same-origin")],
        ] {
            assert_eq!(refusal(&headers(pairs), 7000), None, "{pairs:?}");
        }
    }

    #[test]
    fn other_hosts_origins_and_sites_are_refused() {
        for pairs in [
            &[][..],
            &[("host", "127.0.0.1")],
            &[("host", "127.0.0.1:7001")],
            &[("host", "evil.example:7000")],
            &[("host", "127.0.0.1:7000.evil.example")],
            &[("host", "127.0.0.1:7000"), ("host", "evil.example")],
            &[("host", "127.0.0.1:7000"), ("origin", "null")],
            &[("host", "127.0.0.1:7000"), ("origin", "http://evil.example")],
            &[("host", "127.0.0.1:7000"), ("origin", "https://127.0.0.1:7000")],
            &[("host", "127.0.0.1:7000"), ("origin", "http://127.0.0.1:7001")],
            &[("host", "127.0.0.1:7000"), ("sec-fetch-site", "cross-site")],
            &[("host", "127.0.0.1:7000"), ("sec-fetch-site", "same-site")],
        ] {
            assert!(refusal(&headers(pairs), 7000).is_some(), "{pairs:?}");
        }
    }
}
