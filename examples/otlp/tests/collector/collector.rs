//! A collector: OTLP over HTTP and over gRPC, with the official protobuf types.

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message as _;
use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{net::TcpListener, sync::Notify};

/// The collector's response to a request, which it decodes in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Grpc,
}

#[derive(Debug, Default)]
struct Received {
    spans: Vec<Span>,
    resources: Vec<Resource>,
    headers: Vec<HeaderMap>,
    /// Requests that are still refused.
    refusals: usize,
    refused: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Collector {
    received: Arc<Mutex<Received>>,
    arrived: Arc<Notify>,
    address: String,
}

impl Collector {
    pub(crate) async fn start(protocol: Protocol) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = format!("http://{}", listener.local_addr()?);
        let collector = Self { address, ..Self::default() };
        let serving = collector.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, stream) = (serving.clone(), TokioIo::new(stream));
                tokio::spawn(async move {
                    let service = service_fn(move |request| serving.clone().take(request));
                    // A client that goes away is none of the collector's business.
                    match protocol {
                        Protocol::Http => drop(http1::Builder::new().serve_connection(stream, service).await),
                        Protocol::Grpc => drop(http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await),
                    }
                });
            }
        });
        Ok(collector)
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Refuses so many requests, in a way that clients do not repeat.
    pub(crate) fn refuse(&self, requests: usize) {
        self.lock().refusals = requests;
    }

    pub(crate) fn refused(&self) -> usize {
        self.lock().refused
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.lock().spans.clone()
    }

    /// The attributes of the first resource.
    pub(crate) fn resource(&self) -> Vec<KeyValue> {
        self.lock().resources.first().map(|resource| resource.attributes.clone()).unwrap_or_default()
    }

    /// The headers of the first request.
    pub(crate) fn headers(&self) -> HeaderMap {
        self.lock().headers.first().cloned().unwrap_or_default()
    }

    /// Waits until so many spans have arrived.
    pub(crate) async fn wait_for(&self, spans: usize) {
        loop {
            let arrived = self.arrived.notified();
            if self.lock().spans.len() >= spans {
                return;
            }
            arrived.await;
        }
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let headers = request.headers().clone();
        let is_grpc = headers.get("content-type").is_some_and(|kind| kind == "application/grpc");
        let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        // A message of gRPC has a flag and its length in front.
        let message = if is_grpc { body.slice(5.min(body.len())..) } else { body };
        let decoded = ExportTraceServiceRequest::decode(message);
        let mut received = self.lock();
        if received.refusals > 0 || decoded.is_err() {
            received.refusals = received.refusals.saturating_sub(1);
            received.refused += 1;
            return Ok(respond(is_grpc, false));
        }
        received.headers.push(headers);
        for spans in decoded.unwrap_or_default().resource_spans {
            received.resources.extend(spans.resource);
            received.spans.extend(spans.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        drop(received);
        self.arrived.notify_waiters();
        Ok(respond(is_grpc, true))
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Body = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

fn respond(is_grpc: bool, takes: bool) -> Response<Body> {
    let mut response = Response::builder();
    let mut frames = Vec::new();
    if is_grpc {
        response = response.header("content-type", "application/grpc");
        // An empty message, and then how the call has ended: OK, or INVALID_ARGUMENT.
        frames.push(Ok(Frame::data(Bytes::from_static(&[0; 5]))));
        let status = if takes { "0" } else { "3" };
        frames.push(Ok(Frame::trailers(HeaderMap::from_iter([(
            "grpc-status".parse().expect("a name"),
            status.parse().expect("a value"),
        )]))));
    } else if !takes {
        response = response.status(StatusCode::BAD_REQUEST);
    }
    response.body(StreamBody::new(futures_util::stream::iter(frames))).expect("a response")
}

/// The text of an attribute.
pub(crate) fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}
