//! The matched route of a request, for axum's router. Only a layer on each of its routes can see it.

use crate::{
    Invocation,
    notice::{self, Data, Warning},
};
use opentelemetry::KeyValue;
use std::{
    any::{Any, type_name},
    sync::atomic::{AtomicBool, Ordering},
    task::{Context, Poll},
};
use tower::{Layer, Service};

const ROUTE: &str = "http.route";

/// True once a [`RouteLayer`] has been created.
static MADE: AtomicBool = AtomicBool::new(false);

/// Records the matched route of an axum router in the invocation's document, for a router that is not passed to
/// [`Lifecycle::serve`](crate::Lifecycle::serve) directly.
///
/// `serve` records the routes of a plain `axum::Router`. A router inside of other services, or nested into another framework,
/// needs this layer on its routes, because `axum` gives the matched path only to routes. It only compiles with the version of
/// axum that this library depends on.
///
/// ```no_run
/// use axum::{Router, routing::get};
/// use lambda_lifecycle::{Error, Lifecycle, service::RouteLayer};
/// use tower::ServiceExt;
///
/// # async fn run(life: Lifecycle) -> Result<(), Error> {
/// let router = Router::new().route("/prices/{sku}", get(async || "4.50")).layer(RouteLayer::new());
/// // A middleware around the whole router sees requests before they are routed.
/// life.serve(router.map_request(|request: lambda_http::Request| request)).await
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RouteLayer {
    _private: (),
}

impl RouteLayer {
    /// The layer, for `axum::Router::layer`.
    pub fn new() -> Self {
        MADE.store(true, Ordering::Relaxed);
        Self { _private: () }
    }
}

impl Default for RouteLayer {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds the layer to each route of an axum router. Other services are unchanged.
///
/// A trait with one implementation for `Router` and one for every other service is not possible. `Router` is a service too, so
/// the two overlap (E0119), and with a marker type that distinguishes them the compiler cannot choose (E0283). So the type is
/// compared once, when it is known. A router that this misses is reported.
pub(crate) fn with_route<S: 'static>(mut service: S) -> S {
    if let Some(router) = (&mut service as &mut dyn Any).downcast_mut::<axum::Router>() {
        *router = std::mem::take(router).layer(RouteLayer { _private: () });
    } else if hides_routes(type_name::<S>()) && !MADE.load(Ordering::Relaxed) {
        notice::log(Warning::RoutesHidden, Data::name(type_name::<S>()));
    }
    service
}

/// True for an axum router inside of another service, and for the router of another version of axum.
fn hides_routes(type_name: &str) -> bool {
    type_name.contains("axum::routing::Router")
}

impl<S> Layer<S> for RouteLayer {
    type Service = RouteService<S>;

    fn layer(&self, inner: S) -> RouteService<S> {
        RouteService { inner }
    }
}

/// The service of [`RouteLayer`].
#[derive(Clone, Debug)]
pub struct RouteService<S> {
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
            let is_route = |attribute: &KeyValue| attribute.key.as_str() == ROUTE;
            // Both `serve` and the user may have added the layer.
            if !invocation.notes().attributes.iter().any(is_route) {
                invocation.note(KeyValue::new(ROUTE, path.as_str().to_owned()));
            }
            invocation.annotate("route", format!("{} {}", request.method(), path.as_str()));
        }
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation::{CURRENT, Facts, Shared};
    use axum::{Router, body::Body, routing::get};

    /// Represents a version of axum that this library does not know.
    mod axum_of_another_version {
        pub(super) mod axum {
            pub(crate) mod routing {
                pub(crate) struct Router;
            }
        }
    }

    struct Wrapped<S>(#[allow(dead_code, reason = "only the type is of interest")] S);

    #[test]
    fn a_router_whose_routes_cannot_be_seen_is_found_by_its_name() {
        assert!(hides_routes(type_name::<axum_of_another_version::axum::routing::Router>()));
        assert!(hides_routes(type_name::<Wrapped<Router>>()));
        assert!(!hides_routes(type_name::<Wrapped<axum::routing::MethodRouter>>()));
    }

    fn routes(mut router: Router) -> Vec<String> {
        let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let facts = Facts { header: crate::xray::TraceHeader::parse(header), ..Facts::default() };
        let invocation = Invocation::new(Shared::with_defaults(), facts);
        let request = axum::extract::Request::get("/prices/tea").body(Body::empty()).expect("a request");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let response = runtime.block_on(CURRENT.scope(invocation.clone(), async { router.call(request).await }));
        assert_eq!(response.expect("infallible").status(), 200);
        invocation.notes().annotations.iter().map(|annotation| annotation.value.to_string()).collect()
    }

    fn router() -> Router {
        Router::new().route("/prices/{sku}", get(async || "4.50"))
    }

    #[test]
    fn the_route_of_a_router_is_recorded() {
        assert_eq!(routes(router()), Vec::<String>::new());
        assert_eq!(routes(with_route(router())), ["GET /prices/{sku}"]);
        assert_eq!(routes(router().layer(RouteLayer::new())), ["GET /prices/{sku}"]);
        assert_eq!(routes(with_route(router().layer(RouteLayer::new()))), ["GET /prices/{sku}"]);
    }
}
