//! The route of a request, where the router is axum's: only a layer on each of its routes sees which one matched.

use crate::Invocation;
use opentelemetry::KeyValue;
use std::task::{Context, Poll};
use tower::{Layer, Service};

/// Gives an axum router a layer on each of its routes: only there is the matched path known. Other services stay as they are.
pub(crate) fn with_route<S: 'static>(mut service: S) -> S {
    if let Some(router) = (&mut service as &mut dyn std::any::Any).downcast_mut::<axum::Router>() {
        *router = std::mem::take(router).layer(RouteLayer);
    }
    service
}

#[derive(Clone, Copy)]
struct RouteLayer;

impl<S> Layer<S> for RouteLayer {
    type Service = RouteService<S>;

    fn layer(&self, inner: S) -> RouteService<S> {
        RouteService { inner }
    }
}

#[derive(Clone)]
struct RouteService<S> {
    inner: S,
}

impl<S: Service<axum::extract::Request>> Service<axum::extract::Request> for RouteService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: axum::extract::Request) -> S::Future {
        if let (Some(path), Some(invocation)) =
            (request.extensions().get::<axum::extract::MatchedPath>(), Invocation::try_current())
            && invocation.is_recorded()
        {
            invocation.note(KeyValue::new("http.route", path.as_str().to_owned()));
            invocation.annotate("route", format!("{} {}", request.method(), path.as_str()));
        }
        self.inner.call(request)
    }
}
