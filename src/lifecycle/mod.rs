//! The one call in `main`: all four stages, stacked.

// In the order of the API documentation.
mod create;
mod init;
mod serve;
mod warm_up;

use crate::{
    EnvironmentError,
    init::InitPhase,
    invocation::Shared,
    runtime::{Resources, Respond, Runtime, WarmUp},
    service::{HandlerLayer, HandlerService, Payload, RuntimeLayer, RuntimeService, TrackedStream},
    settings,
    shutdown::OnShutdown,
};
use bytes::Bytes;
use futures_core::Stream;
use lambda_runtime::{Diagnostic, Error, IntoFunctionResponse, LambdaEvent, SnapStartResource};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    fmt::{self, Debug},
    sync::Arc,
};
use tower::{
    Service,
    layer::util::{Identity, Stack},
};
#[cfg(feature = "http")]
use {
    crate::service::{HttpAdapter, HttpStreamAdapter, ResponseStream},
    lambda_http::request::LambdaRequest,
};

/// The service that [`Lifecycle::layer`] wraps: positions A and B of [`service`](crate::service) around a handler of events of
/// the type `T`.
pub type LifecycleService<H, T, Buffered, Body> =
    RuntimeService<Respond<HandlerService<H, Buffered, Body>, Payload<T>, Box<RawValue>, TrackedStream<Body>>>;

/// The service that [`Lifecycle::layer`] wraps if [`Lifecycle::serve`] serves the service `S`. `R` is lambda_http's type of
/// responses.
#[cfg(feature = "http")]
pub type HttpLifecycleService<S, R> = LifecycleService<HttpAdapter<S>, LambdaRequest, R, lambda_runtime::streaming::Body>;

/// The service that a layer of [`Lifecycle::layer`] wraps when HTTP responses are [streamed](Lifecycle::serve_streaming).
#[cfg(feature = "http")]
pub type HttpStreamLifecycleService<S, B> = LifecycleService<HttpStreamAdapter<S>, LambdaRequest, (), ResponseStream<B>>;

/// The lifecycle of a function: initialized in the Init phase, cancelled before its deadline, traced, and flushed after its
/// responses.
///
/// ```no_run
/// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn};
/// use serde_json::{Value, json};
///
/// struct Database;
/// impl Database {
///     async fn connect() -> Result<Self, Error> { Ok(Self) }
///     async fn count(&self, _: &Value) -> Result<u64, Error> { Ok(1) }
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let life = Lifecycle::from_env();
///     let database = life.init("database", Database::connect()).await?;
///     life.run(service_fn(async |event: LambdaEvent<Value>| {
///         Ok::<_, Error>(json!({ "orders": database.count(&event.payload).await? }))
///     }))
///     .await
/// }
/// ```
///
/// `L` is the stack of layers from [`layer`](Self::layer) around the invocations, empty by default.
pub struct Lifecycle<L = Identity> {
    shared: Arc<Shared>,
    on_shutdown: Option<OnShutdown>,
    init: InitPhase,
    snapstart: Resources,
    layers: L,
}

impl<L> Debug for Lifecycle<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").field("shared", &self.shared).field("init", &self.init).finish_non_exhaustive()
    }
}

impl<L> Lifecycle<L> {
    /// Puts one of your tower layers around whole invocations: from the event as Lambda sent it to the end of the after-response
    /// stage.
    ///
    /// A layer is a service of [`LambdaInvocation`](lambda_runtime::LambdaInvocation), which has the headers, the body and the context. It ends when the response
    /// was posted and, on demand, the work after it is done. The layer runs outside of the invocation, so
    /// [`Invocation::current`](crate::Invocation::current) is only available in the services that it wraps. The layer that is
    /// added last is the outermost. A layer that fails or panics affects only its invocation: Lambda gets an error response.
    ///
    /// For layers around a typed handler or a router, wrap the handler or the router before you pass it on.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn};
    /// use lambda_runtime::LambdaInvocation;
    /// use std::task::{Context, Poll};
    /// use tower::{Service, layer::layer_fn};
    ///
    /// /// Logs the size of each event.
    /// #[derive(Clone)]
    /// struct LogSize<S>(S);
    ///
    /// impl<S: Service<LambdaInvocation>> Service<LambdaInvocation> for LogSize<S> {
    ///     type Response = S::Response;
    ///     type Error = S::Error;
    ///     type Future = S::Future;
    ///
    ///     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
    ///         self.0.poll_ready(cx)
    ///     }
    ///
    ///     fn call(&mut self, event: LambdaInvocation) -> S::Future {
    ///         tracing::info!(request_id = event.context.request_id, bytes = event.body.len(), "an event arrived");
    ///         self.0.call(event)
    ///     }
    /// }
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let life = Lifecycle::from_env().layer(layer_fn(LogSize));
    ///     life.run_concurrent(service_fn(async |event: LambdaEvent<u64>| Ok::<_, Error>(event.payload))).await
    /// }
    /// ```
    pub fn layer<Outer>(self, layer: Outer) -> Lifecycle<Stack<L, Outer>> {
        let Self { shared, on_shutdown, init, snapstart, layers } = self;
        Lifecycle { shared, on_shutdown, init, snapstart, layers: Stack::new(layers, layer) }
    }

    /// A [`Runtime`] with the settings of this lifecycle, to arrange its layers and your own as you like.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn, xray::Redaction};
    /// use serde_json::Value;
    /// use tower::Layer;
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let life = Lifecycle::builder().redact(|_, _| Redaction::Remove).build();
    ///     let handler = service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(event.payload));
    ///     life.runtime(life.handler_layer().layer(handler))?.layer(life.runtime_layer()).run().await
    /// }
    /// ```
    ///
    /// # Errors
    /// [`EnvironmentError`](crate::EnvironmentError) outside of Lambda.
    pub fn runtime<H, T, R, Buffered, Body, D, E>(
        &self,
        handler: H,
    ) -> Result<Runtime<Respond<H, T, Buffered, Body>>, EnvironmentError>
    where
        H: Service<LambdaEvent<T>, Response = R>,
        H::Error: Into<Diagnostic> + Debug,
        T: for<'de> Deserialize<'de>,
        R: IntoFunctionResponse<Buffered, Body>,
        Buffered: Serialize,
        Body: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
        D: Into<Bytes> + Send,
        E: Into<Error> + Send + Debug,
    {
        let warm_up = self.shared.settings.warm_up.then_some(warm_up::warm_up as WarmUp);
        Runtime::of(handler, || Arc::clone(&self.shared), warm_up)
    }

    /// Position A, for your own `lambda_runtime::Runtime`: see [`service`](crate::service).
    pub fn runtime_layer(&self) -> RuntimeLayer {
        settings::warn_of_unknown_variables();
        self.layer_a()
    }

    /// Position B, for your own `lambda_runtime::Runtime`: see [`service`](crate::service).
    pub fn handler_layer<Buffered, Body>(&self) -> HandlerLayer<Buffered, Body> {
        settings::warn_of_unknown_variables();
        self.layer_b()
    }

    /// Position C, for your own adapter around a router: see [`service`](crate::service).
    #[cfg(feature = "http")]
    pub fn http_layer(&self) -> crate::service::HttpLayer {
        settings::warn_of_unknown_variables();
        crate::service::HttpLayer::of(Arc::clone(&self.shared))
    }

    /// Metrics that belong to no invocation: those of the Init phase, or of tasks that run concurrently with invocations. They
    /// are written after the next response, or when the function ends. For an invocation's metrics, use
    /// [`Invocation::metric`](crate::Invocation::metric).
    #[cfg(feature = "metrics-emf")]
    pub fn metrics(&self) -> crate::metrics::Metrics {
        crate::metrics::Metrics::of_lifecycle(&self.shared)
    }

    /// A recorder for the macros of the [`metrics`](crate::metrics::facade) crate.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, metrics::facade, service_fn};
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let life = Lifecycle::builder().metrics_namespace("Shop").build();
    ///     facade::set_global_recorder(life.metrics_recorder())?;
    ///     life.run(service_fn(async |event: LambdaEvent<u64>| {
    ///         facade::counter!("OrdersPlaced", "plan" => "gold").increment(1);
    ///         Ok::<_, Error>(event.payload)
    ///     }))
    ///     .await
    /// }
    /// ```
    #[cfg(feature = "metrics")]
    pub fn metrics_recorder(&self) -> crate::metrics::Recorder {
        crate::metrics::Recorder::new(&self.shared)
    }

    /// The layer of position A, without the check of all variables' names, which the loop does after its first event.
    fn layer_a(&self) -> RuntimeLayer {
        RuntimeLayer::of(Arc::clone(&self.shared))
    }

    fn layer_b<Buffered, Body>(&self) -> HandlerLayer<Buffered, Body> {
        HandlerLayer::of(Arc::clone(&self.shared))
    }

    /// Hooks around a SnapStart snapshot for a value that `main` has created: see [`SnapStartResource`]. Without SnapStart they
    /// are not called.
    ///
    /// Register resources that others depend on first. Hooks before the snapshot run in reverse order, and those after the
    /// restore in order. The hooks of [`Builder::before_snapshot`](crate::Builder::before_snapshot) and
    /// [`Builder::after_restore`](crate::Builder::after_restore) count as registered before. A hook that fails
    /// or panics ends the function. Its error is posted to Lambda, logged and returned by [`run`](Self::run).
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn};
    /// use lambda_runtime::{BoxFuture, SnapStartResource};
    /// use serde_json::Value;
    /// use std::sync::Arc;
    ///
    /// struct Pool;
    /// impl Pool {
    ///     async fn reconnect(&self) -> Result<(), Error> { Ok(()) }
    /// }
    /// impl SnapStartResource for Pool {
    ///     fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
    ///         Box::pin(self.reconnect())
    ///     }
    /// }
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let pool = Arc::new(Pool);
    ///     let life = Lifecycle::from_env().register_snapstart_resource(pool.clone());
    ///     life.run(service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(event.payload))).await
    /// }
    /// ```
    #[must_use]
    pub fn register_snapstart_resource(mut self, resource: Arc<dyn SnapStartResource>) -> Self {
        self.snapstart.push(resource);
        self
    }

    /// All SnapStart hooks, for a `lambda_runtime::Runtime` with the [layers](crate::service).
    ///
    /// The first one is the library's own. After a restore it seeds the ids again, and makes clients of `aws_sdk::config` open new
    /// connections.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn};
    /// use lambda_runtime::{Runtime, tower::Layer};
    /// use serde_json::Value;
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let life = Lifecycle::builder().after_restore(|| async { Ok::<_, Error>(()) }).build();
    ///     let handler = service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(event.payload));
    ///     let runtime = Runtime::new(life.handler_layer().layer(handler)).layer(life.runtime_layer());
    ///     life.snapstart_resources().into_iter().fold(runtime, Runtime::register_snapstart_resource).run().await
    /// }
    /// ```
    pub fn snapstart_resources(&self) -> Vec<Arc<dyn SnapStartResource>> {
        self.snapstart.with_own()
    }
}
