//! HTTP services whose responses are streamed: from events to the prelude and the body, which Lambda passes on as it arrives.

use super::{
    adapter::mend,
    http::{arrived, bad_request, conclude, gateway_timeout},
};
use crate::Invocation;
use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderName, HeaderValue, header::SET_COOKIE};
use http_body::Body;
use lambda_http::{Request, RequestExt, request::LambdaRequest};
use lambda_runtime::{Context as LambdaContext, Error, LambdaEvent, MetadataPrelude, StreamResponse};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower::Service;

/// The service that [`Lifecycle::serve_streaming`](crate::Lifecycle::serve_streaming) creates from an HTTP service.
///
/// It treats invalid requests like [`HttpAdapter`](super::HttpAdapter), and responds with 504 if the head of the response is not
/// ready at the deadline.
#[derive(Clone)]
pub struct HttpStreamAdapter<S> {
    inner: S,
}

impl<S> HttpStreamAdapter<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> fmt::Debug for HttpStreamAdapter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStreamAdapter").finish_non_exhaustive()
    }
}

impl<S, B> Service<LambdaEvent<LambdaRequest>> for HttpStreamAdapter<S>
where
    S: Service<Request, Response = http::Response<B>>,
    B: Body<Data: Into<Bytes>, Error: Into<Error>> + Unpin,
{
    type Response = StreamResponse<ResponseStream<B>>;
    type Error = S::Error;
    type Future = HttpStreamFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, event: LambdaEvent<LambdaRequest>) -> Self::Future {
        let LambdaEvent { payload: mut event, context } = event;
        let invocation = Invocation::current();
        let inner = mend(&mut event).then(|| {
            let mut request = request(event, context);
            arrived(&invocation, &mut request);
            self.inner.call(request)
        });
        HttpStreamFuture { inner, invocation }
    }
}

/// The request as `lambda_http` creates it, but with the invocation's trace header in place of the caller's.
fn request(event: LambdaRequest, context: LambdaContext) -> Request {
    let mut request = Request::from(event);
    if let Some(header) = context.xray_trace_id.as_deref().and_then(|header| HeaderValue::from_str(header).ok()) {
        request.headers_mut().insert(HeaderName::from_static("x-amzn-trace-id"), header);
    }
    request.with_lambda_context(context)
}

pin_project! {
    /// The future of [`HttpStreamAdapter`].
    pub struct HttpStreamFuture<F> {
        // `None` if the event is not a valid request.
        #[pin]
        inner: Option<F>,
        invocation: Invocation,
    }
}

impl<F, B, E> Future for HttpStreamFuture<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
{
    type Output = Result<StreamResponse<ResponseStream<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let own = |response: http::Response<lambda_http::Body>| response.map(|body| Part::Own(Bytes::copy_from_slice(&body)));
        let response = match this.inner.as_pin_mut() {
            None => own(bad_request()),
            Some(inner) => match inner.poll(cx) {
                Poll::Ready(response) => response?.map(Part::Inner),
                // The timer of the layer around this one has woken the task; it drops all this when the response is ready.
                Poll::Pending if this.invocation.is_overdue() => own(gateway_timeout(this.invocation)),
                Poll::Pending => return Poll::Pending,
            },
        };
        conclude(this.invocation, response.status());
        Poll::Ready(Ok(streamed(response)))
    }
}

fn streamed<B>(response: http::Response<Part<B>>) -> StreamResponse<ResponseStream<B>> {
    let (parts, body) = response.into_parts();
    let mut headers = parts.headers;
    let cookies = headers.get_all(SET_COOKIE).iter();
    // Lambda has a separate field for cookies, so that a gateway can set several.
    let cookies = cookies.map(|cookie| String::from_utf8_lossy(cookie.as_bytes()).into_owned()).collect();
    headers.remove(SET_COOKIE);
    let metadata_prelude = MetadataPrelude { headers, status_code: parts.status, cookies };
    StreamResponse { metadata_prelude, stream: ResponseStream(body) }
}

/// The body of a response as a stream of its data. Trailers are dropped, because Lambda does not support them.
pub struct ResponseStream<B>(Part<B>);

enum Part<B> {
    /// One of the library's own responses.
    Own(Bytes),
    Inner(B),
}

impl<B> fmt::Debug for ResponseStream<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStream").finish_non_exhaustive()
    }
}

impl<B> Stream for ResponseStream<B>
where
    B: Body<Data: Into<Bytes>, Error: Into<Error>> + Unpin,
{
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.0 {
            Part::Own(body) => Poll::Ready((!body.is_empty()).then(|| Ok(std::mem::take(body)))),
            Part::Inner(body) => Poll::Ready(match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => frame.into_data().ok().map(|data| Ok(data.into())),
                Some(Err(error)) => Some(Err(error.into())),
                None => None,
            }),
        }
    }
}
