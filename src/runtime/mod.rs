#![doc = include_str!("../../docs/runtime_api.md")]

mod deliver;
mod event;
mod fault;
mod respond;
mod response_state;
mod shared;
mod snapstart;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod trace_variable;
mod worker;

pub use respond::{Respond, RespondFuture};
pub(crate) use response_state::is_of_loop;
pub use shared::{EventsRefused, ServiceNotReady};
pub(crate) use shared::{Shared, WarmUp};
pub(crate) use snapstart::Resources;

use crate::{
    Environment, EnvironmentError, InitializationType, environment::kind, invocation, panics::Panic, runtime_api::Client,
};
use bytes::Bytes;
use fault::{Fault, Pause};
use futures_core::Stream;
use lambda_runtime::{Diagnostic, Error, IntoFunctionResponse, LambdaEvent, LambdaInvocation, SnapStartResource};
use serde::{Deserialize, Serialize};
use std::{
    fmt::{self, Debug},
    sync::Arc,
};
use tokio::task::JoinSet;
use tower::{Layer, Service};
use worker::Stopped;

/// Fetches events and posts responses, in place of [`lambda_runtime::Runtime`].
///
/// [`Lifecycle`](crate::Lifecycle) uses it. Use it yourself to arrange [`HandlerLayer`](crate::service::HandlerLayer),
/// [`RuntimeLayer`](crate::service::RuntimeLayer) and your own layers as you like. Layers are services of [`LambdaInvocation`],
/// like those of `lambda_runtime`.
///
/// ```no_run
/// use lambda_lifecycle::{
///     Error, LambdaEvent, runtime::Runtime,
///     service::{HandlerLayer, RuntimeLayer}, service_fn,
/// };
/// use serde_json::Value;
/// use tower::Layer;
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let handler = service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(event.payload));
///     Runtime::new(HandlerLayer::new().layer(handler))?.layer(RuntimeLayer::new()).run().await
/// }
/// ```
#[must_use = "a runtime serves no events until it is run"]
pub struct Runtime<S> {
    service: S,
    shared: Arc<Shared>,
    resources: Resources,
}

impl<S: Debug> Debug for Runtime<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("service", &self.service).finish_non_exhaustive()
    }
}

impl<H, T, R, Buffered, Streaming, D, E> Runtime<Respond<H, T, Buffered, Streaming>>
where
    H: Service<LambdaEvent<T>, Response = R>,
    H::Error: Into<Diagnostic> + Debug,
    T: for<'de> Deserialize<'de>,
    R: IntoFunctionResponse<Buffered, Streaming>,
    Buffered: Serialize,
    Streaming: Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send,
    E: Into<Error> + Send + Debug,
{
    /// A runtime for a handler, in the environment that the variables describe.
    ///
    /// [`Lifecycle::runtime`](crate::Lifecycle::runtime) creates one that is configured in code.
    ///
    /// # Errors
    /// [`EnvironmentError`] when a variable that Lambda sets is missing or malformed.
    pub fn new(handler: H) -> Result<Self, EnvironmentError> {
        Self::of(handler, invocation::Shared::from_env, None)
    }

    /// `warm_up` runs once, when the first event has been asked for.
    pub(crate) fn of(
        handler: H,
        configured: impl FnOnce() -> Arc<invocation::Shared>,
        warm_up: Option<WarmUp>,
    ) -> Result<Self, EnvironmentError> {
        let client = Client::new(Environment::runtime_api()?);
        Ok(Self::with(handler, Shared::new(client, kind().max_concurrency(), configured(), warm_up)))
    }

    fn with(handler: H, shared: Shared) -> Self {
        let shared = Arc::new(shared);
        Self { service: Respond::new(handler, Arc::clone(&shared)), shared, resources: Resources::default() }
    }
}

impl<S> Runtime<S> {
    /// Puts a layer around everything so far. It sees an event before the layers that were added earlier, and their end after
    /// them.
    ///
    /// A layer that fails, panics or drops the service below it affects only its invocation: Lambda gets an error response.
    pub fn layer<L>(self, layer: L) -> Runtime<L::Service>
    where
        L: Layer<S>,
        L::Service: Service<LambdaInvocation, Response = (), Error = Error>,
    {
        Runtime { service: layer.layer(self.service), shared: self.shared, resources: self.resources }
    }

    /// Hooks around a SnapStart snapshot: see [`SnapStartResource`]. Without SnapStart they are not called.
    ///
    /// Register resources that others depend on first. Hooks before the snapshot run in reverse order, those after the restore in
    /// order.
    pub fn register_snapstart_resource(mut self, resource: Arc<dyn SnapStartResource>) -> Self {
        self.resources.push(resource);
        self
    }

    pub(crate) fn register_snapstart_resources(mut self, resources: Resources) -> Self {
        self.resources.extend(resources);
        self
    }
}

/// Not a method: it would borrow the service, which need not be `Sync`.
async fn restored(shared: &Shared, resources: &Resources) -> Result<(), Error> {
    if kind().initialization_type == InitializationType::SnapStart {
        snapstart::restore(shared, resources.in_order()).await?;
    }
    Ok(())
}

impl<S> Runtime<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    /// Serves events one at a time.
    ///
    /// # Errors
    /// [`EventsRefused`] when Lambda refuses to send events; [`ServiceNotReady`] when the service is not ready for five events in
    /// a row; the error of a SnapStart hook. Broken connections are reopened, without a limit.
    pub async fn run(self) -> Result<(), Error> {
        let Self { mut service, shared, resources } = self;
        restored(&shared, &resources).await?;
        Err(worker::serve(&shared, &mut service, 1).await.into_error())
    }
}

impl<S> Runtime<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    /// Serves as many events at a time as the environment allows: `AWS_LAMBDA_MAX_CONCURRENCY` on Managed Instances, one
    /// elsewhere.
    ///
    /// # Errors
    /// Like [`run`](Self::run). On Managed Instances it fails only when Lambda refuses to send events to every worker. If a
    /// worker's service is no longer ready, the worker gets a new clone. It fails when a clone has never been ready.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub async fn run_concurrent(self) -> Result<(), Error> {
        if self.shared.workers <= 1 {
            return self.run().await;
        }
        let Self { service, shared, resources } = self;
        restored(&shared, &resources).await?;
        let mut workers = JoinSet::new();
        let worker = |mut service: S| {
            let shared = Arc::clone(&shared);
            async move { worker::serve(&shared, &mut service, shared.workers).await }
        };
        for _ in 0..shared.workers {
            workers.spawn(worker(service.clone()));
        }
        let mut pause = Pause::default();
        while let Some(ended) = workers.join_next().await {
            match ended {
                Ok(Stopped::NotReady { was_ready: true, .. }) => {
                    pause.wait().await;
                    workers.spawn(worker(service.clone()));
                }
                Ok(stopped) => return Err(stopped.into_error()),
                Err(error) => {
                    let panic = Panic::of_task(error).map_or_else(|| "cancelled".to_owned(), |panic| panic.to_string());
                    shared.faults.report(Fault::WorkerPanicked, "next", format_args!("{panic}"));
                    pause.wait().await;
                    workers.spawn(worker(service.clone()));
                }
            }
        }
        Ok(())
    }
}
