//! The one call in `main`: all four stages, stacked.

use crate::{
    EnvironmentError,
    builder::Builder,
    deadline, environment,
    init::{InitError, InitPhase, Optional, WriteOnce},
    invocation::Shared,
    logs,
    notice::{self, Data, Warning},
    runtime::{Resources, Respond, Runtime},
    service::{HandlerLayer, HandlerService, Payload, RuntimeLayer, RuntimeService, TrackedStream},
    settings,
    shutdown::{self, OnShutdown},
    subscriber::subscribe,
    trace, urls,
};
use bytes::Bytes;
use futures_core::Stream;
use lambda_runtime::{Diagnostic, Error, IntoFunctionResponse, LambdaEvent, LambdaInvocation, SnapStartResource};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    borrow::Cow,
    fmt::{self, Debug},
    future::Future,
    pin::pin,
    sync::Arc,
};
use tower::{
    Layer, Service,
    layer::util::{Identity, Stack},
};
use tracing::Subscriber;
use tracing_subscriber::{Layer as SubscriberLayer, registry::LookupSpan};
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

impl Lifecycle {
    /// A lifecycle with the defaults and the [settings](crate::settings) of the environment. Call it first in `main`.
    ///
    /// If no global subscriber is set, this sets one for the log and the trace. If you have your own subscriber, add
    /// [`Lifecycle::tracing_layer`] to it first.
    pub fn from_env() -> Self {
        Self::builder().build()
    }

    /// Options that the environment cannot set.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The layer that records spans for X-Ray, for your own subscriber.
    ///
    /// It has its own filter, so no log level disables the trace, as long as your filter applies only to the log
    /// (`fmt::layer().with_filter(..)`) and not to the whole subscriber (`registry().with(filter)`). Set the subscriber before
    /// [`Lifecycle::from_env`].
    ///
    /// ```no_run
    /// use lambda_lifecycle::Lifecycle;
    /// use tracing_subscriber::prelude::*;
    ///
    /// tracing_subscriber::registry().with(Lifecycle::tracing_layer()).with(tracing_subscriber::fmt::layer()).init();
    /// let life = Lifecycle::from_env();
    /// ```
    ///
    /// Two situations end the process with any subscriber that is built on `tracing_subscriber::registry()`. A layer cannot
    /// prevent them. The library's own subscriber, which it sets if none is set, handles both.
    ///
    /// - A span that is created, entered or dropped while a thread drops its thread-locals: `tracing-subscriber` panics, and a
    ///   panic in such a drop aborts the process.
    /// - A chain of thousands of spans in which each holds its parent, and only the last one is held: closing the last one closes
    ///   all of them recursively, and overflows the stack. Tasks that spawn the next task inside of their span create such a
    ///   chain.
    pub fn tracing_layer<S>() -> impl SubscriberLayer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        trace::layer()
    }

    /// The log as a layer for your own subscriber: the lines that the library's own subscriber writes.
    ///
    /// It has its own filter, which `RUST_LOG` and `AWS_LAMBDA_LOG_LEVEL` set, as [`logs`](crate::logs) describes. The builder's
    /// settings apply to lines inside of an invocation. Only variables apply to lines outside of one.
    ///
    /// ```no_run
    /// use lambda_lifecycle::Lifecycle;
    /// use tracing_subscriber::prelude::*;
    /// # let other_layer = tracing_subscriber::layer::Identity::new();
    ///
    /// tracing_subscriber::registry().with(Lifecycle::tracing_layer()).with(Lifecycle::log_layer()).with(other_layer).init();
    /// let life = Lifecycle::from_env();
    /// ```
    pub fn log_layer<S>() -> impl SubscriberLayer<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        logs::layer()
    }
}

impl<L> Lifecycle<L> {
    /// Puts one of your tower layers around whole invocations: from the event as Lambda sent it to the end of the after-response
    /// stage.
    ///
    /// A layer is a service of [`LambdaInvocation`], which has the headers, the body and the context. It ends when the response
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
        Runtime::of(handler, || Arc::clone(&self.shared))
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

    /// Runs an initializer in the Init phase. It is timed, traced as `init <name>`, and limited by the phase's budget. A failure
    /// is posted to Lambda.
    ///
    /// To run several concurrently, use `tokio::try_join!(life.init("a", a()), life.init("b", b()))`.
    ///
    /// # Errors
    /// [`InitError`] when the initializer fails, panics or exceeds the phase's remaining time. Return it from `main`.
    pub async fn init<T, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        setup: impl Future<Output = Result<T, E>>,
    ) -> Result<T, InitError>
    where
        E: Into<Error>,
    {
        self.init.run(name.into(), setup).await
    }

    /// Like [`init`](Self::init), but stores the value in a cell of the process: `once_cell::sync::OnceCell`,
    /// `std::sync::OnceLock` or `tokio::sync::OnceCell`.
    ///
    /// A cell that is already filled keeps its value. Of several concurrent callers one runs its initializer, and the others
    /// wait.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn};
    /// use once_cell::sync::OnceCell;
    ///
    /// struct App { table: String }
    /// impl App {
    ///     async fn connect() -> Result<Self, Error> { Ok(Self { table: "orders".to_owned() }) }
    /// }
    ///
    /// static APP: OnceCell<App> = OnceCell::new();
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let life = Lifecycle::from_env();
    ///     life.init_cell("app", &APP, App::connect()).await?;
    ///     life.run_concurrent(service_fn(handle)).await
    /// }
    ///
    /// async fn handle(_: LambdaEvent<()>) -> Result<&'static str, Error> {
    ///     Ok(&APP.get().ok_or("init fills it")?.table)
    /// }
    /// ```
    ///
    /// # Errors
    /// Like [`init`](Self::init). The cell is then still empty, so the call can be repeated.
    pub async fn init_cell<C, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        cell: &'static C,
        setup: impl Future<Output = Result<C::Value, E>>,
    ) -> Result<&'static C::Value, InitError>
    where
        C: WriteOnce,
        E: Into<Error>,
    {
        cell.get_or_try_init(self.init(name, setup)).await
    }

    /// Like [`init`](Self::init), for an initializer that blocks its thread. It runs outside of the executor, so that others
    /// continue and the budget applies. An initializer that exceeds the budget is not waited for, but it cannot be interrupted.
    ///
    /// # Errors
    /// Like [`init`](Self::init).
    pub async fn init_blocking<T, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        setup: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, InitError>
    where
        T: Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        self.init(name, crate::init::off_the_executor(setup)).await
    }

    /// Like [`init`](Self::init), for an initializer that the function can start without. A failure is logged and marked in the
    /// trace, and the initializer runs again when its value is first requested.
    pub async fn init_optional<T, F, Setup, E>(&self, name: impl Into<Cow<'static, str>>, setup: F) -> Optional<T>
    where
        F: Fn() -> Setup + Send + Sync + 'static,
        Setup: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<Error>,
    {
        // The future is created inside of the attempt, which then catches a panic of `setup` too.
        let first = self.init.attempt(name.into(), async { setup().await }).await;
        let value = first
            .inspect_err(|error| {
                notice::log(Warning::InitOptionalFailed, Data::error(&urls::without_secrets(&error.to_string())));
            })
            .ok();
        Optional::new(value, setup)
    }

    /// Hooks around a SnapStart snapshot for a value that `main` has created: see [`SnapStartResource`]. Without SnapStart they
    /// are not called.
    ///
    /// Register resources that others depend on first. Hooks before the snapshot run in reverse order, and those after the
    /// restore in order. The hooks of [`Builder::before_snapshot`] and [`Builder::after_restore`] count as registered before. A
    /// hook that fails or panics ends the function. Its error is posted to Lambda, logged and returned by [`run`](Self::run).
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
}

impl Builder {
    /// Builds the lifecycle. Sets the global subscriber, if the log or the trace is enabled and none is set.
    pub fn build(self) -> Lifecycle {
        let Self { mut settings, given, hooks, on_shutdown, snapstart, install_tracer, mut problems } = self;
        problems.extend(settings.read_env());
        problems.extend(subscribe(&settings));
        for problem in problems {
            problem.log_once();
        }
        tracing::debug!("{settings:?}");
        if let Some(install) = install_tracer.filter(|_| settings.trace) {
            install();
        }
        let shared = Shared::new(settings, hooks, given);
        tracing::debug!("spans go to: {}", shared.destinations.describe());
        let init = InitPhase::begin(&shared);
        Lifecycle { shared, on_shutdown, init, snapstart, layers: Identity::new() }
    }
}
