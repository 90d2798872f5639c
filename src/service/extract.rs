//! The invocation as an argument of axum's handlers.

use crate::Invocation;
use axum::{extract::FromRequestParts, http::request::Parts};
use std::convert::Infallible;

/// The invocation that the request belongs to, as an argument of a handler (feature `axum`). It never rejects a request: outside
/// of an invocation, such as in a unit test of the router, it is [`Invocation::current`].
///
/// ```
/// use axum::{Router, routing::post};
/// use lambda_lifecycle::Invocation;
///
/// async fn place(invocation: Invocation, order: String) -> String {
///     invocation.annotate("bytes", order.len());
///     invocation.request_id().to_owned()
/// }
/// let router: Router = Router::new().route("/orders", post(place));
/// ```
impl<S: Sync> FromRequestParts<S> for Invocation {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(Self::current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{invocation::Facts, invocation::Shared, service::HttpLayer};
    use axum::{Router, routing::get};
    use lambda_http::Body;
    use tower::{Layer, Service};

    async fn request_id(invocation: Invocation) -> String {
        invocation.request_id().to_owned()
    }

    fn request() -> http::Request<Body> {
        http::Request::get("/").body(Body::Empty).expect("a request")
    }

    fn router() -> Router {
        Router::new().route("/", get(request_id))
    }

    #[tokio::test]
    async fn a_handler_is_given_the_invocation_of_its_request() {
        let mut context = lambda_runtime::Context::default();
        "the request".clone_into(&mut context.request_id);
        let invocation = Invocation::new(Shared::with_defaults(), Facts { context: Box::new(context), ..Facts::default() });
        let mut service = HttpLayer::new().layer(router());
        let future = crate::invocation::CURRENT.sync_scope(invocation, || service.call(request()));
        let response = future.await.expect("infallible");
        assert_eq!(response.body().as_ref(), b"the request");
    }

    #[tokio::test]
    async fn outside_an_invocation_a_handler_is_given_a_detached_one() {
        let response = router().call(request()).await.expect("infallible");
        assert_eq!(response.status(), 200);
    }
}
