//! The path that a router sees: that of the API's route, without the stage and without the base path of a custom domain.

use http::uri::PathAndQuery;
use lambda_http::{Request, RequestExt, request::RequestContext};

/// Removes the part of the path that API Gateway adds before its route: a router knows `/orders`, not `/prod/orders`.
///
/// lambda_http adds the stage, or keeps it. If `AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH`, which is lambda_http's own option, is set,
/// the path stays unchanged.
pub(super) fn without_stage(request: &mut Request) {
    if std::env::var_os("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH").is_some() {
        return;
    }
    let path = request.uri().path();
    let Some(path) = of_route(request, path).or_else(|| behind_stage(request, path)) else { return };
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = PathAndQuery::try_from(target).ok();
    if let Ok(uri) = http::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

/// The end of the path that matches the API's route: `/v1/orders/7` for `GET /v1/orders/{id}`, regardless of the stage's name.
fn of_route<'p>(request: &Request, path: &'p str) -> Option<&'p str> {
    let route = match request.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => context.resource_path.as_deref()?,
        RequestContext::ApiGatewayV2(context) => context.route_key.as_deref()?.split_once(' ')?.1,
        _ => return None,
    };
    let parameters = request.path_parameters_ref();
    end_of(path, route, |name| parameters.and_then(|parameters| parameters.first(name)))
}

/// The path after the stage, for routes without a path: `$default`, and events without a route.
fn behind_stage<'p>(request: &Request, path: &'p str) -> Option<&'p str> {
    let stage = match request.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => context.stage.as_deref()?,
        RequestContext::ApiGatewayV2(context) => context.stage.as_deref()?,
        RequestContext::WebSocket(context) => context.stage.as_deref()?,
        _ => return None,
    };
    if stage == "$default" || stage.is_empty() {
        return None;
    }
    match path.strip_prefix('/')?.strip_prefix(stage)? {
        "" => Some("/"),
        rest => rest.starts_with('/').then_some(rest),
    }
}

/// The end of a path that matches the segments of a route. `None` if it does not match.
fn end_of<'p, 'v>(path: &'p str, route: &str, value: impl Fn(&str) -> Option<&'v str>) -> Option<&'p str> {
    let mut wanted: Vec<&str> = segments(route).map(|(_, segment)| segment).collect();
    let found: Vec<(usize, &str)> = segments(path).collect();
    // `{proxy+}` matches as many segments as its value has.
    let greedy = wanted.last().and_then(|last| last.strip_prefix('{')?.strip_suffix("+}"));
    let rest = match greedy {
        Some(name) => {
            let value = value(name)?.trim_matches('/');
            wanted.pop();
            found.iter().rposition(|(start, _)| is_encoded(path[*start..].trim_end_matches('/'), value))?
        }
        None => found.len(),
    };
    let first = rest.checked_sub(wanted.len())?;
    let is_variable = |segment: &str| segment.starts_with('{');
    let fits =
        wanted.iter().zip(&found[first..rest]).all(|(wanted, (_, found))| is_variable(wanted) || is_encoded(found, wanted));
    fits.then(|| match found.get(first) {
        // With the slash before it.
        Some((start, _)) => &path[start - 1..],
        None => "/",
    })
}

/// The non-empty segments of a path, and their positions.
fn segments(path: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut start = 0;
    path.split('/')
        .map(move |segment| {
            let at = start;
            start += segment.len() + 1;
            (at, segment)
        })
        .filter(|(start, segment)| *start > 0 && !segment.is_empty())
}

/// Whether a text is another one, percent-encoded or unchanged.
fn is_encoded(text: &str, plain: &str) -> bool {
    let mut bytes = text.as_bytes();
    let decoded = std::iter::from_fn(|| {
        let (byte, behind) = bytes.split_first()?;
        bytes = behind;
        let digits = behind.get(..2).filter(|_| *byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(decoded) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else { return Some(*byte) };
        bytes = &behind[2..];
        Some(decoded)
    });
    text == plain || decoded.eq(plain.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end<'p>(path: &'p str, route: &str, proxy: &str) -> Option<&'p str> {
        end_of(path, route, |name| (name == "proxy").then_some(proxy))
    }

    #[test]
    fn a_path_ends_as_its_route_does() {
        for (path, route, expected) in [
            ("/orders", "/orders", Some("/orders")),
            ("/prod/orders", "/orders", Some("/orders")),
            ("/v1/users", "/v1/users", Some("/v1/users")),
            ("/v1/v1/users", "/v1/users", Some("/v1/users")),
            ("/prod/shop/orders/7", "/orders/{id}", Some("/orders/7")),
            ("/prod/orders/7/", "/orders/{id}", Some("/orders/7/")),
            ("/prod/a%20b", "/a b", Some("/a%20b")),
            ("/prod", "/", Some("/")),
            ("/prod/", "/", Some("/")),
            ("/", "/", Some("/")),
            ("/orders", "/users", None),
            ("/orders", "/orders/{id}", None),
            ("/prod/orders/7/items", "/orders/{id}", None),
        ] {
            assert_eq!(end(path, route, ""), expected, "{path} {route}");
        }
    }

    #[test]
    fn a_proxy_is_as_long_as_its_value() {
        for (path, route, proxy, expected) in [
            ("/prod/orders/7", "/{proxy+}", "orders/7", Some("/orders/7")),
            ("/orders/7", "/{proxy+}", "orders/7", Some("/orders/7")),
            ("/orders/orders/7", "/{proxy+}", "orders/7", Some("/orders/7")),
            ("/prod/api/orders/7", "/api/{proxy+}", "orders/7", Some("/api/orders/7")),
            ("/prod/a%2Fb", "/{proxy+}", "a/b", Some("/a%2Fb")),
            ("/prod/a%20b/c", "/{proxy+}", "a b/c", Some("/a%20b/c")),
            ("/prod/a%20b", "/{proxy+}", "a%20b", Some("/a%20b")),
            ("/prod/orders/", "/{proxy+}", "orders/", Some("/orders/")),
            ("/prod/orders", "/{proxy+}", "users", None),
            ("/prod/orders", "/api/{proxy+}", "orders", None),
        ] {
            assert_eq!(end(path, route, proxy), expected, "{path} {route} {proxy}");
        }
        assert_eq!(end_of("/prod/orders", "/{other+}", |_| None), None);
    }
}
