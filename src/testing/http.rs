//! HTTP services in an invocation under test.

use super::TestInvocation;
use crate::service::{HttpAdapter, HttpLayer, HttpStreamAdapter};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{COOKIE, HOST, SET_COOKIE},
};
use lambda_http::{IntoResponse, request::LambdaRequest};
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, fmt::Debug, sync::Arc};
use tower::{Layer, Service};

impl TestInvocation {
    /// Has a whole HTTP service respond to a request: the service that [`Lifecycle::serve`](crate::Lifecycle::serve) takes, with 400, 504 and
    /// the route of an axum router.
    ///
    /// The request is an `http::Request`, which reaches the service as it does behind a function URL, or the event of another gateway as JSON.
    ///
    /// ```
    /// use http::Request;
    /// # #[cfg(feature = "axum")] {
    /// use axum::{Router, extract::Path, routing::get};
    /// use lambda_lifecycle::Invocation;
    ///
    /// fn app() -> Router {
    ///     Router::new().route("/prices/{sku}", get(async |invocation: Invocation, Path(sku): Path<String>| {
    ///         invocation.annotate("sku", sku);
    ///         "450"
    ///     }))
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let test = Invocation::test().begin();
    /// let response = test.serve(app(), Request::get("/prices/tea").body("").unwrap()).await.unwrap();
    /// assert_eq!(response.status(), 200);
    /// assert_eq!(response.body(), "450");
    /// assert_eq!(test.annotation("sku"), Some("tea".into()));
    /// # }); }
    /// ```
    ///
    /// # Errors
    /// What Lambda would get as the error of the invocation. Most errors of HTTP services are responses instead.
    pub async fn serve<S, R>(&self, service: S, request: impl Into<HttpEvent>) -> Result<Response<Bytes>, Diagnostic>
    where
        S: Service<lambda_http::Request> + Clone + Send + 'static,
        S::Response: IntoResponse + Send + 'static,
        S::Error: Into<Diagnostic> + Debug + Send + 'static,
        S::Future: Send + 'static,
        HttpAdapter<S>: Service<LambdaEvent<LambdaRequest>, Response = R, Error = S::Error, Future: Send + 'static>,
        R: Serialize + Send + 'static,
    {
        #[cfg(feature = "axum")]
        let service = crate::service::with_route(service);
        let service = HttpLayer::of(Arc::clone(self.invocation.shared())).layer(service);
        read(self.call(HttpAdapter::new(service), request.into().0).await?)
    }

    /// Has a whole HTTP service respond to a request: the service that [`Lifecycle::serve_streaming`](crate::Lifecycle::serve_streaming) takes.
    ///
    /// The body is read to its end. Bytes of it that are not UTF-8 are replaced.
    ///
    /// ```
    /// use http::Request;
    /// # #[cfg(feature = "axum")] {
    /// use axum::{Router, routing::get};
    /// use lambda_lifecycle::Invocation;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
    /// let app = Router::new().route("/rows", get(async || "1;2;3"));
    /// let request = Request::get("/rows").body("").unwrap();
    /// let response = Invocation::test().begin().serve_streaming(app, request).await.unwrap();
    /// assert_eq!((response.status().as_u16(), &response.body()[..]), (200, &b"1;2;3"[..]));
    /// # }); }
    /// ```
    ///
    /// # Errors
    /// The error of the invocation that Lambda would get, also when the body fails.
    pub async fn serve_streaming<S, B>(&self, service: S, request: impl Into<HttpEvent>) -> Result<Response<Bytes>, Diagnostic>
    where
        S: Service<lambda_http::Request, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<Diagnostic> + Debug + Send + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data: Into<Bytes>, Error: Into<lambda_runtime::Error>> + Unpin + Send + 'static,
    {
        #[cfg(feature = "axum")]
        let service = crate::service::with_route(service);
        read(self.call(HttpStreamAdapter::new(service), request.into().0).await?)
    }
}

fn read(response: Value) -> Result<Response<Bytes>, Diagnostic> {
    let malformed = || Diagnostic {
        error_type: "Lifecycle.TestResponse".to_owned(),
        error_message: "the response is not one that a gateway takes".to_owned(),
    };
    serde_json::from_value(response).ok().and_then(LambdaResponse::into_response).ok_or_else(malformed)
}

/// The event of an HTTP request, for [`TestInvocation::serve`].
#[derive(Clone, Debug)]
pub struct HttpEvent(Value);

/// An event of a gateway, as JSON.
impl From<Value> for HttpEvent {
    fn from(event: Value) -> Self {
        Self(event)
    }
}

/// The event of a function URL, which an HTTP API of API Gateway sends in the same form.
impl<B: Into<Bytes>> From<Request<B>> for HttpEvent {
    fn from(request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let host = parts.headers.get(HOST).map(text).or_else(|| parts.uri.authority().map(ToString::to_string));
        let host = host.unwrap_or_else(|| "test.lambda-url.eu-west-1.on.aws".to_owned());
        let mut headers = BTreeMap::from([(HOST.to_string(), host.clone())]);
        for name in parts.headers.keys().filter(|name| ![HOST, COOKIE].contains(name)) {
            let values: Vec<String> = parts.headers.get_all(name).iter().map(text).collect();
            headers.insert(name.to_string(), values.join(","));
        }
        let cookies: Vec<String> = parts.headers.get_all(COOKIE).iter().map(text).collect();
        let body: Bytes = body.into();
        let (body, is_base64) = match std::str::from_utf8(&body) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (STANDARD.encode(&body), true),
        };
        Self(json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": parts.uri.path(),
            "rawQueryString": parts.uri.query().unwrap_or_default(),
            "cookies": (!cookies.is_empty()).then_some(cookies),
            "headers": headers,
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "test",
                "domainName": host,
                "domainPrefix": "test",
                "http": {
                    "method": parts.method.as_str(),
                    "path": parts.uri.path(),
                    "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1",
                    "userAgent": headers.get("user-agent").map_or("test", String::as_str),
                },
                "requestId": "test",
                "routeKey": "$default",
                "stage": "$default",
                "time": "01/Jan/1970:00:00:00 +0000",
                "timeEpoch": 0,
            },
            "body": body,
            "isBase64Encoded": is_base64,
        }))
    }
}

/// A response in the form that gateways take.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LambdaResponse {
    status_code: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    multi_value_headers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    cookies: Vec<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

impl LambdaResponse {
    fn into_response(self) -> Option<Response<Bytes>> {
        let body = self.body.unwrap_or_default();
        let body = if self.is_base64_encoded { STANDARD.decode(body).ok()?.into() } else { Bytes::from(body) };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status_code).ok()?;
        let single = self.headers.iter().filter(|(name, _)| !self.multi_value_headers.contains_key(*name));
        // The head of a streamed response has repeated fields as a list.
        let values = |value: &'_ Value| match value {
            Value::Array(values) => values.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect(),
            value => value.as_str().map(str::to_owned).into_iter().collect::<Vec<_>>(),
        };
        let single: Vec<(&str, String)> =
            single.flat_map(|(name, value)| values(value).into_iter().map(|value| (name.as_str(), value))).collect();
        let single = single.iter().map(|(name, value)| (*name, value.as_str()));
        let multiple =
            self.multi_value_headers.iter().flat_map(|(name, values)| values.iter().map(|value| (name.as_str(), value.as_str())));
        let cookies = self.cookies.iter().map(|cookie| (SET_COOKIE.as_str(), cookie.as_str()));
        for (name, value) in single.chain(multiple).chain(cookies) {
            response.headers_mut().append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        Some(response)
    }
}
