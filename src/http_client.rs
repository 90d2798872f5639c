//! Outgoing HTTP calls: a `tower` layer for a client, and the headers for clients without layers.
//!
//! Around hyper's client, or any `Service<http::Request<_>>`:
//!
//! ```
//! use lambda_lifecycle::http_client::TraceLayer;
//! use tower::{Layer, Service};
//! # type Body = http_body_util::Empty<bytes::Bytes>;
//!
//! let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new()).build_http::<Body>();
//! let mut client = TraceLayer::new().layer(client);
//! # let _ = || client.call(http::Request::new(Body::new()));
//! ```
//!
//! reqwest's client has its own request type, which a function converts: `docs/http-clients.md` shows it.
//!
//! With any other client: `request.headers_mut().extend(http_client::headers())`.
//!
//! [`connect`] opens a connection in the Init phase, so that the first invocation can use it.

use crate::{
    Invocation, budget,
    causes::Causes,
    notice::{self, Data, Warning},
    propagation::X_CORRELATION_ID,
    trace::{self, ClientSpan},
    urls,
    xray::TRACE_HEADER,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri};
use opentelemetry::{
    KeyValue,
    trace::{Span as _, SpanBuilder, SpanKind, Status},
};
use pin_project_lite::pin_project;
use std::{
    convert::Infallible,
    error::Error,
    fmt::Display,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower::{Layer, Service};

/// The headers that name the active span as the caller: `x-amzn-trace-id`, and `traceparent`, `tracestate` and `baggage` if the
/// [propagators](crate::Builder::propagators) include them.
///
/// Empty outside of an invocation, and if Lambda sent no trace.
pub fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(invocation) = Invocation::try_current() {
        write(&invocation, None, &mut headers);
    }
    headers
}

/// Writes the headers of a call, whose span is `call` if it has one.
fn write(invocation: &Invocation, call: Option<&ClientSpan>, headers: &mut HeaderMap) {
    let call = call.map(ClientSpan::context);
    if invocation.shared().settings.propagators().xray {
        let header = trace::outgoing_header(invocation, call);
        if header.root().is_some() {
            insert(headers, TRACE_HEADER, &header.to_string());
        }
    }
    for (name, value) in trace::outgoing_fields(invocation, call).iter() {
        // The correlation id may be the caller's own.
        if name != X_CORRELATION_ID || !headers.contains_key(name) {
            insert(headers, name, value);
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// Opens a client's connection to the host of `url` in the Init phase, so that the first invocation can use it.
///
/// It sends a `HEAD` to the URL, and every response counts as connected, including `404`. The client is hyper's, reqwest's behind a
/// function that converts requests (see the [module](self)), or any other `Service<http::Request<_>>` that keeps its connections.
///
/// ```no_run
/// use http_body_util::Empty;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use lambda_lifecycle::{Error, Lifecycle, http_client};
///
/// # async fn main_() -> Result<(), Error> {
/// let life = Lifecycle::from_env();
/// let client = Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
/// life.init("prices", http_client::connect(&client, "http://prices.internal/")).await?;
/// # Ok(()) }
/// ```
///
/// Returns whether a connection is open. A failure is logged as a warning and is not an error, so that it does not fail the Init
/// phase; the first invocation then connects. It waits at most 5 seconds, and less if the Init phase has less time left.
///
/// # Errors
/// None.
pub async fn connect<S, B, R>(mut client: S, url: impl AsRef<str>) -> Result<bool, Infallible>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Error + 'static,
    B: Default,
{
    let request = url.as_ref().parse::<Uri>().map(|uri| {
        let mut request = Request::new(B::default());
        (*request.method_mut(), *request.uri_mut()) = (Method::HEAD, uri);
        request
    });
    let failure = match request {
        Err(error) => format!("the URL is not valid: {error}"),
        Ok(request) => {
            let call = async {
                poll_fn(|cx| client.poll_ready(cx)).await?;
                client.call(request).await
            };
            match budget::within(call).await {
                Ok(Ok(_)) => return Ok(true),
                Ok(Err(error)) => Causes(&error).to_string(),
                Err(limit) => format!("no response arrived within {} ms", limit.as_millis()),
            }
        }
    };
    let (url, failure) = (urls::without_secrets(url.as_ref()), urls::without_secrets(&failure));
    notice::log(Warning::ConnectionNotOpened, Data { name: Some(&url), ..Data::error(&failure) });
    Ok(false)
}

/// Records a CLIENT span for each request of an HTTP client, from its start to the head of the response, and sends its headers.
/// See the [module](self).
///
/// The span has the method, the address without query and credentials, and the status.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceLayer(());

impl TraceLayer {
    /// A layer for any client.
    pub fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> TraceService<S> {
        TraceService { inner }
    }
}

/// The service of [`TraceLayer`].
#[derive(Clone, Debug)]
pub struct TraceService<S> {
    inner: S,
}

impl<S, B, R> Service<Request<B>> for TraceService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Error: Display,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut open = None;
        if let Some(invocation) = Invocation::try_current() {
            open = trace::is_recorded(&invocation).then(|| begin(&request));
            write(&invocation, open.as_ref(), request.headers_mut());
        }
        TraceFuture { inner: self.inner.call(request), open }
    }
}

/// The attributes of OpenTelemetry's conventions for an HTTP client, without the query, which may be confidential.
fn begin<B>(request: &Request<B>) -> ClientSpan {
    let (method, uri) = (request.method().as_str().to_owned(), request.uri());
    let mut attributes = Vec::with_capacity(5);
    attributes.push(KeyValue::new("http.request.method", method.clone()));
    if let Some(host) = uri.host() {
        let scheme = uri.scheme_str().unwrap_or("https");
        let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
        attributes.push(KeyValue::new("url.full", format!("{scheme}://{host}{port}{}", uri.path())));
        attributes.push(KeyValue::new("server.address", host.to_owned()));
        if let Some(port) = uri.port_u16() {
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        }
    }
    ClientSpan::begin(SpanBuilder::from_name(method).with_kind(SpanKind::Client).with_attributes(attributes))
}

pin_project! {
    /// The future of [`TraceService`].
    pub struct TraceFuture<F> {
        #[pin]
        inner: F,
        open: Option<ClientSpan>,
    }
}

impl<F, R, E> Future for TraceFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    E: Display,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx));
        if let Some(mut span) = this.open.take() {
            match &response {
                Ok(response) => {
                    let status = response.status().as_u16();
                    span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
                    if status >= 400 {
                        span.set_attribute(KeyValue::new("error.type", status.to_string()));
                        span.set_status(Status::error(""));
                    }
                }
                Err(error) => {
                    let kind = std::any::type_name::<E>();
                    span.add_event("exception", crate::trace::exception(kind, error.to_string()));
                    span.set_status(Status::error(kind));
                }
            }
            span.end();
        }
        Poll::Ready(response)
    }
}
