//! Position C: between lambda_http's adapter and the router. It sees method, route and status, and responds to an exceeded
//! deadline with a 504.
//!
//! Outside of the adapter, the response has a private type that hides its status.

use super::{alone::Alone, path};
use crate::{
    Invocation,
    deadline::Alarm,
    invocation::{Outcome, Shared},
    notice::{self, Data, Warning},
};
use lambda_http::{Body, IntoResponse, Request, RequestExt, request::RequestContext};
use opentelemetry::KeyValue;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower::{Layer, Service};

/// Puts [`Invocation`] into the request's extensions, records method, route and status, and responds with 504 at the deadline.
///
/// It works below a [`HandlerLayer`](super::HandlerLayer). Used alone, for example inside `lambda_http::run`, it starts the
/// invocation itself. Then the extension, the token and the 504 work, nothing is traced, and work for after the response starts
/// with the response.
///
/// ```no_run
/// use lambda_lifecycle::{Error, Invocation, service::HttpLayer};
/// use lambda_http::{Request, RequestExt, service_fn, tower::Layer};
///
/// # async fn main_() -> Result<(), Error> {
/// let app = service_fn(async |request: Request| {
///     let invocation = request.extensions().get::<Invocation>();
///     Ok::<_, Error>(format!("{:?} are left", invocation.map(Invocation::remaining)))
/// });
/// lambda_http::run(HttpLayer::new().layer(app)).await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct HttpLayer {
    shared: Arc<Shared>,
}

impl HttpLayer {
    /// A layer with the settings of the [environment](crate::settings). [`Lifecycle::http_layer`](crate::Lifecycle::http_layer)
    /// creates a configured one.
    pub fn new() -> Self {
        Self::of(Shared::of_layer())
    }

    pub(crate) fn of(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Default for HttpLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for HttpLayer {
    type Service = HttpService<S>;

    fn layer(&self, inner: S) -> HttpService<S> {
        HttpService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// The service that [`HttpLayer`] makes. Its response has lambda_http's body type, without which the adapter is not `Send` with
/// axum.
#[derive(Clone, Debug)]
pub struct HttpService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request> for HttpService<S>
where
    S: Service<Request>,
    S::Response: IntoResponse,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = HttpFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (invocation, keeper) = match Invocation::try_current() {
            // A handler's layer around this one enforces the deadline.
            Some(invocation) if invocation.notes().handled => (invocation, None),
            Some(invocation) => (invocation.clone(), Some(Keeper { alone: None, alarm: Alarm::new(invocation.timing()) })),
            None => match request.lambda_context_ref() {
                Some(context) => {
                    let invocation = Invocation::begin(&self.shared, context, None, None, None, false);
                    let alone = Some(Alone::new(&invocation));
                    let alarm = Alarm::new(invocation.timing());
                    (invocation, Some(Keeper { alone, alarm }))
                }
                // A test calls it without Lambda.
                None => (Invocation::current(), None),
            },
        };
        let invalid = std::mem::take(&mut invocation.notes().request_invalid);
        if invalid {
            return HttpFuture { state: State::Invalid { response: Some(bad_request()) }, invocation, keeper };
        }
        arrived(&invocation, &mut request);
        let inner = match &keeper {
            Some(keeper) => keeper.within(|| self.inner.call(request)),
            None => self.inner.call(request),
        };
        HttpFuture { state: State::AtWork { inner }, invocation, keeper }
    }
}

/// Prepares a request for the router, and records it.
pub(super) fn arrived(invocation: &Invocation, request: &mut Request) {
    path::without_stage(request);
    if invocation.is_recorded() {
        describe(invocation, request);
    }
    request.extensions_mut().insert(invocation.clone());
}

/// The attributes of OpenTelemetry's HTTP conventions for a server span, without the query, which may be confidential.
fn describe(invocation: &Invocation, request: &Request) {
    invocation.note(KeyValue::new("http.request.method", request.method().as_str().to_owned()));
    invocation.note(KeyValue::new("url.path", request.uri().path().to_owned()));
    if let Some(host) = request.uri().host() {
        invocation.note(KeyValue::new("url.scheme", request.uri().scheme_str().unwrap_or("https").to_owned()));
        invocation.note(KeyValue::new("server.address", host.to_owned()));
        if let Some(port) = request.uri().port_u16() {
            invocation.note(KeyValue::new("server.port", i64::from(port)));
        }
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(agent) = header(http::header::USER_AGENT) {
        invocation.note(KeyValue::new("user_agent.original", agent.to_owned()));
    }
    if let Some(peer) = source_address(request) {
        // The same address in both places means that no header named the client. Anyone can write such a header.
        invocation.note(KeyValue::new("network.peer.address", peer.to_string()));
        invocation.note(KeyValue::new("client.address", peer.to_string()));
    } else if let Some(client) = forwarded_for(request) {
        invocation.note(KeyValue::new("client.address", client.to_string()));
    }
}

/// The address that API Gateway or the function URL saw. Load balancers do not report one.
fn source_address(request: &Request) -> Option<IpAddr> {
    let address = match request.request_context_ref()? {
        RequestContext::ApiGatewayV1(context) => context.identity.source_ip.as_deref(),
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.as_deref(),
        _ => None,
    };
    ip_address(address?)
}

/// The first address of `X-Forwarded-For`, which is the client's if all proxies can be trusted.
fn forwarded_for(request: &Request) -> Option<IpAddr> {
    let named = request.headers().get("x-forwarded-for")?.to_str().ok()?;
    ip_address(named.split(',').next()?)
}

/// An IP address without its port, which load balancers can be configured to write. Other texts are ignored, because senders can
/// write anything.
fn ip_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    text.parse().ok().or_else(bracketed).or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

pin_project! {
    /// The future of [`HttpService`].
    pub struct HttpFuture<F> {
        #[pin]
        state: State<F>,
        invocation: Invocation,
        keeper: Option<Keeper>,
    }
}

/// Enforces the deadline if no handler's layer does.
struct Keeper {
    alone: Option<Alone>,
    alarm: Alarm,
}

impl Keeper {
    fn within<T>(&self, run: impl FnOnce() -> T) -> T {
        match &self.alone {
            Some(alone) => alone.within(run),
            None => run(),
        }
    }
}

type Collecting = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Invalid { response: Option<http::Response<Body>> },
        AtWork { #[pin] inner: F },
        CollectingBody { body: Collecting },
    }
}

impl<F, R, E> Future for HttpFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse,
{
    type Output = Result<http::Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut keeper) = self.as_mut().project().keeper.take() else { return self.poll_response(cx) };
        let polled = keeper.within(|| self.as_mut().poll_response(cx));
        if polled.is_ready() {
            return polled;
        }
        let invocation = self.invocation.clone();
        if keeper.alarm.poll_hard(cx, || invocation.token().cancel()).is_ready() {
            return Poll::Ready(Ok(gateway_timeout(&invocation)));
        }
        *self.project().keeper = Some(keeper);
        Poll::Pending
    }
}

impl<F, R, E> HttpFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: IntoResponse,
{
    fn poll_response(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<<Self as Future>::Output> {
        let mut this = self.project();
        loop {
            let polled = match this.state.as_mut().project() {
                StateProjection::Invalid { response } => response.take().map_or(Poll::Pending, Poll::Ready),
                StateProjection::AtWork { inner } => match inner.poll(cx) {
                    Poll::Ready(response) => {
                        this.state.set(State::CollectingBody { body: response?.into_response() });
                        continue;
                    }
                    Poll::Pending => Poll::Pending,
                },
                StateProjection::CollectingBody { body } => body.as_mut().poll(cx),
            };
            return match polled {
                Poll::Ready(response) => {
                    conclude(this.invocation, response.status());
                    Poll::Ready(Ok(response))
                }
                // Position B's timer has woken the task; it drops all this when the response is ready.
                Poll::Pending if this.invocation.is_overdue() => Poll::Ready(Ok(gateway_timeout(this.invocation))),
                Poll::Pending => Poll::Pending,
            };
        }
    }
}

/// A server error after an exceeded deadline is a consequence of it, regardless of the router's error type.
pub(super) fn conclude(invocation: &Invocation, status: http::StatusCode) {
    let mut notes = invocation.notes();
    notes.http_status = Some(status.as_u16());
    if status.is_server_error()
        && let Some(exceeded) = notes.exceeded.take()
    {
        notes.outcome.get_or_insert(Outcome::exceeded(&exceeded));
    }
}

/// Responds with the status 504, as an axum handler's error.
///
/// ```
/// use lambda_lifecycle::{DeadlineExceeded, Invocation};
///
/// # async fn look_up() -> String { String::new() }
/// async fn search() -> Result<String, DeadlineExceeded> {
///     Invocation::current().within(look_up()).await
/// }
/// # let _: axum::routing::MethodRouter = axum::routing::get(search);
/// ```
#[cfg(feature = "axum")]
impl axum::response::IntoResponse for crate::DeadlineExceeded {
    fn into_response(self) -> axum::response::Response {
        (http::StatusCode::GATEWAY_TIMEOUT, [(http::header::CONTENT_TYPE, "application/json")], TIMEOUT_BODY).into_response()
    }
}

const TIMEOUT_BODY: &str = r#"{"message":"Gateway Timeout"}"#;

/// The response to an HTTP caller at the deadline.
pub(super) fn gateway_timeout(invocation: &Invocation) -> http::Response<Body> {
    let exceeded = invocation.exceeded();
    let elapsed_ms = u64::try_from(exceeded.after().as_millis()).ok();
    notice::log(Warning::RequestTimedOut, Data { elapsed_ms, ..Data::default() });
    {
        let mut notes = invocation.notes();
        notes.http_status = Some(504);
        notes.outcome.get_or_insert(Outcome::exceeded(&exceeded));
    }
    respond(http::StatusCode::GATEWAY_TIMEOUT, TIMEOUT_BODY)
}

/// The response to an event that is not a valid request.
pub(super) fn bad_request() -> http::Response<Body> {
    respond(http::StatusCode::BAD_REQUEST, r#"{"message":"Bad Request"}"#)
}

/// One of the library's own responses.
fn respond(status: http::StatusCode, body: &str) -> http::Response<Body> {
    let mut response = http::Response::new(Body::Text(body.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_address_is_an_ip_address_or_nothing() {
        for (written, address) in [
            ("198.51.100.7", Some("198.51.100.7")),
            (" 198.51.100.7 ", Some("198.51.100.7")),
            ("198.51.100.7:51234", Some("198.51.100.7")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("SECRET", None),
            ("unknown", None),
            ("_hidden", None),
            ("198.51.100.7 SECRET", None),
            ("[SECRET]:1", None),
            ("198.51.100", None),
            ("", None),
        ] {
            assert_eq!(ip_address(written).map(|address| address.to_string()).as_deref(), address, "{written}");
        }
    }
}
