//! The calls that serve events until the function ends.

use super::{Lifecycle, LifecycleService, warm_up};
use crate::{
    InitializationType, deadline, environment,
    invocation::Shared,
    notice::{self, Data, Warning},
    shutdown, trace,
};
use bytes::Bytes;
use futures_core::Stream;
use lambda_runtime::{Diagnostic, Error, IntoFunctionResponse, LambdaEvent, LambdaInvocation};
use serde::{Deserialize, Serialize};
use std::{fmt::Debug, pin::pin, sync::Arc};
use tower::{Layer, Service};
#[cfg(feature = "http")]
use {
    super::{HttpLifecycleService, HttpStreamLifecycleService},
    crate::service::{HttpAdapter, HttpStreamAdapter},
    lambda_http::request::LambdaRequest,
};

/// Serving events.
impl<L> Lifecycle<L> {
    /// Serves events one at a time, to a handler that may borrow from `main`. It also serves one at a time on Managed Instances,
    /// where Lambda would send many: use [`run_concurrent`](Self::run_concurrent) there.
    ///
    /// # Errors
    /// [`EnvironmentError`](crate::EnvironmentError) outside of Lambda, [`EventsRefused`](crate::runtime::EventsRefused) when
    /// Lambda refuses to send events, and the error of a SnapStart hook. Broken connections are reopened.
    pub async fn run<T, H, R, Buffered, Body, D, E>(self, handler: H) -> Result<(), Error>
    where
        H: Service<LambdaEvent<T>, Response = R>,
        H::Error: Into<Diagnostic> + Debug,
        T: for<'de> Deserialize<'de>,
        R: IntoFunctionResponse<Buffered, Body>,
        Buffered: Serialize,
        Body: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
        D: Into<Bytes> + Send,
        E: Into<Error> + Send + Debug,
        L: Layer<LifecycleService<H, T, Buffered, Body>>,
        L::Service: Service<LambdaInvocation, Response = (), Error = Error>,
    {
        let runtime = self.runtime(self.layer_b().layer(handler))?.layer(self.layer_a()).layer(self.layers);
        prepare(&self.shared).await;
        if environment::kind().is_concurrent() {
            notice::log(Warning::OneEventAtATime, Data::default());
        }
        let runtime = runtime.register_snapstart_resources(self.snapstart);
        shutdown::serve(&self.shared, self.on_shutdown, pin!(runtime.run())).await
    }

    /// Serves as many events at a time as the environment allows: one on demand, `AWS_LAMBDA_MAX_CONCURRENCY` on Managed
    /// Instances. One binary works for both.
    ///
    /// # Errors
    /// Like [`run`](Self::run).
    pub async fn run_concurrent<T, H, R, Buffered, Body, D, E>(self, handler: H) -> Result<(), Error>
    where
        H: Service<LambdaEvent<T>, Response = R> + Clone + Send + 'static,
        H::Future: Send + 'static,
        H::Error: Into<Diagnostic> + Debug,
        T: for<'de> Deserialize<'de> + Send + 'static,
        R: IntoFunctionResponse<Buffered, Body> + Send + 'static,
        Buffered: Serialize + Send + 'static,
        Body: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
        D: Into<Bytes> + Send + 'static,
        E: Into<Error> + Send + Debug + 'static,
        L: Layer<LifecycleService<H, T, Buffered, Body>>,
        L::Service: Service<LambdaInvocation, Response = (), Error = Error, Future: Send> + Clone + Send + 'static,
    {
        let runtime = self.runtime(self.layer_b().layer(handler))?.layer(self.layer_a()).layer(self.layers);
        prepare(&self.shared).await;
        let runtime = runtime.register_snapstart_resources(self.snapstart);
        shutdown::serve(&self.shared, self.on_shutdown, pin!(runtime.run_concurrent())).await
    }

    /// Serves HTTP: an axum router, or any `Service` of `http::Request`, behind API Gateway, a function URL or a load balancer.
    ///
    /// Handlers of axum take the [`Invocation`](crate::Invocation) as an argument (feature `axum`); other services find it in the
    /// request's extensions. A request without a response at the deadline gets the status 504. Runs like
    /// [`run_concurrent`](Self::run_concurrent).
    ///
    /// Events of API Gateway (REST, HTTP and WebSocket APIs), function URLs, load balancers and VPC Lattice are served. The
    /// router sees the path of the API's route, without the stage and without the base path of a custom domain: `/orders/7` of
    /// `https://api.example.com/shop/orders/7`. Set `AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH` to any value to get the original path.
    ///
    /// An event with an invalid host or base64 body gets the status 400 and is logged (`request_invalid`). Characters that are
    /// not allowed in a query are percent-encoded. An event without an HTTP request, such as a test event of the console or a
    /// warm-up event, ends with the error `Lifecycle.UndecodableEvent`, which names the events that the function expects.
    ///
    /// The `TraceLayer` of tower-http records the whole URI with its query. `docs/http-function.md` shows a span without it.
    ///
    /// # Errors
    /// Like [`run`](Self::run).
    #[cfg(feature = "http")]
    pub async fn serve<S, R>(self, service: S) -> Result<(), Error>
    where
        S: Service<lambda_http::Request> + Clone + Send + 'static,
        S::Response: lambda_http::IntoResponse + Send + 'static,
        S::Error: Into<Diagnostic> + Debug + Send + 'static,
        S::Future: Send + 'static,
        HttpAdapter<S>: Service<LambdaEvent<LambdaRequest>, Response = R, Error = S::Error, Future: Send + 'static>,
        R: Serialize + Send + 'static,
        L: Layer<HttpLifecycleService<S, R>>,
        L::Service: Service<LambdaInvocation, Response = (), Error = Error, Future: Send> + Clone + Send + 'static,
    {
        #[cfg(feature = "axum")]
        let service = crate::service::with_route(service);
        let service = crate::service::HttpLayer::of(Arc::clone(&self.shared)).layer(service);
        self.run_concurrent(HttpAdapter::new(service)).await
    }

    /// Like [`serve`](Self::serve), but sends each part of the response's body to the caller as soon as it is available.
    ///
    /// The service is an axum router, or any other `Service` of `http::Request` whose responses have an `http_body::Body`. A
    /// function URL needs the invoke mode `RESPONSE_STREAM`, and a REST API of API Gateway the response transfer mode `STREAM`.
    /// Load balancers and HTTP APIs of API Gateway do not support streams.
    ///
    /// At the deadline, a request without a response gets the status 504, and a body that is still being streamed is broken off.
    /// A body that fails or panics is broken off too. The caller sees an incomplete response.
    ///
    /// ```no_run
    /// use axum::{Router, body::{Body, Bytes}, routing::get};
    /// use futures_util::stream;
    /// use lambda_lifecycle::{Error, Lifecycle};
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let rows = async || Body::from_stream(stream::iter([Ok::<_, Error>(Bytes::from("1\n")), Ok(Bytes::from("2\n"))]));
    ///     Lifecycle::from_env().serve_streaming(Router::new().route("/rows", get(rows))).await
    /// }
    /// ```
    ///
    /// # Errors
    /// Like [`run`](Self::run).
    #[cfg(feature = "http")]
    pub async fn serve_streaming<S, B>(self, service: S) -> Result<(), Error>
    where
        S: Service<lambda_http::Request, Response = http::Response<B>> + Clone + Send + 'static,
        S::Error: Into<Diagnostic> + Debug + Send + 'static,
        S::Future: Send + 'static,
        B: http_body::Body<Data: Into<Bytes>, Error: Into<Error>> + Unpin + Send + 'static,
        L: Layer<HttpStreamLifecycleService<S, B>>,
        L::Service: Service<LambdaInvocation, Response = (), Error = Error, Future: Send> + Clone + Send + 'static,
    {
        #[cfg(feature = "axum")]
        let service = crate::service::with_route(service);
        self.run_concurrent(HttpStreamAdapter::new(service)).await
    }
}

/// Does work in the Init phase that would otherwise delay the first response.
async fn prepare(shared: &Arc<Shared>) {
    deadline::prepare(&shared.settings);
    trace::resolve(shared).await;
    // Only this phase runs at full speed there, and a snapshot contains the memory that was touched before it.
    let is_snapshot = environment::kind().initialization_type == InitializationType::SnapStart;
    if shared.settings.warm_up && (environment::has_less_than_a_core() || is_snapshot) {
        warm_up::record_nothing(shared);
    }
}
