//! The loop against a Runtime API in memory, in paused time: nothing here depends on the machine's speed.

pub(crate) mod api;
mod documented;
mod faults;
mod layers;
mod posts;
mod redaction;
mod streams;
mod table;

use super::{Runtime, Shared};
use crate::{
    Invocation, Outcome,
    invocation::{self, CURRENT, Facts},
    runtime_api::{Client, Endpoint},
};
use api::Fake;
use bytes::Bytes;
use lambda_runtime::{Error, LambdaEvent, LambdaInvocation, StreamResponse, service_fn, streaming::Body};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tokio::sync::mpsc;
use tower::{Layer, Service};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{layer::SubscriberExt, registry::LookupSpan};

/// Levels and text fields of the lines that were logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

impl Log {
    /// Collects what this thread logs.
    pub(crate) fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(log.clone()));
        (log, guard)
    }

    pub(crate) fn of(&self, field: &str) -> Vec<String> {
        self.0.lock().expect("no panic").iter().filter_map(|line| line.get(field).cloned()).collect()
    }

    /// The codes of the faults of the Runtime API: they alone name an endpoint.
    pub(crate) fn faults(&self) -> Vec<String> {
        let lines = self.0.lock().expect("no panic");
        lines.iter().filter(|line| line.contains_key("endpoint")).filter_map(|line| line.get("code").cloned()).collect()
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> tracing_subscriber::Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        #[derive(Default)]
        struct Fields(BTreeMap<&'static str, String>);
        impl Visit for Fields {
            fn record_str(&mut self, field: &Field, value: &str) {
                self.0.insert(field.name(), value.to_owned());
            }
            fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
        }
        let level = event.metadata().level().to_string();
        let mut fields = Fields(BTreeMap::from([("level", level)]));
        event.record(&mut fields);
        self.0.lock().expect("no panic").push(fields.0);
    }
}

/// A layer around the runtime that gives each event its invocation, and records its outcome.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Vec<Ended>>>);

/// A request id, and the outcome.
type Ended = (String, Option<Outcome>);

impl Watch {
    fn outcome(&self, id: &str) -> Option<&'static str> {
        let outcomes = self.0.lock().expect("no panic");
        let outcome = outcomes.iter().find(|(of, _)| of == id)?;
        Some(outcome.1.as_ref().map_or("unknown", Outcome::as_str))
    }
}

impl Watch {
    fn count(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }

    fn ids(&self) -> Vec<String> {
        self.0.lock().expect("no panic").iter().map(|(id, _)| id.clone()).collect()
    }
}

impl<S> Layer<S> for Watch {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched { inner, watch: self.clone() }
    }
}

#[derive(Clone)]
struct Watched<S> {
    inner: S,
    watch: Watch,
}

impl<S> Service<LambdaInvocation> for Watched<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
    S::Future: Send + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let context = event.context.clone();
        let facts = Facts { context: Box::new(context), ..Facts::default() };
        let invocation = Invocation::new(invocation::Shared::with_defaults(), facts);
        let inner = CURRENT.scope(invocation.clone(), self.inner.call(event));
        let watch = self.watch.clone();
        Box::pin(async move {
            let ended = inner.await;
            let outcome = invocation.notes().outcome.clone();
            watch.0.lock().expect("no panic").push((invocation.request_id().to_owned(), outcome));
            ended
        })
    }
}

/// Returns the event, unless the event asks for something else.
async fn echo(event: LambdaEvent<Value>) -> Result<Value, Error> {
    match event.payload["do"].as_str() {
        Some("fail") => Err("no stock".into()),
        Some("panic") => panic!("fuse was lit"),
        Some("context") => Ok(serde_json::to_value(&event.context)?),
        _ => Ok(event.payload),
    }
}

/// The text of an error of a service that could not be reached.
const URL: &str = "no connection to http://user:SECRET@host/path?token=SECRET";

/// A stream that panics.
async fn bomb(_: LambdaEvent<Value>) -> Result<StreamResponse<impl futures_core::Stream<Item = Result<Bytes, Error>>>, Error> {
    let stream = futures_util::stream::poll_fn(|_| -> Poll<Option<Result<Bytes, Error>>> { panic!("{URL}") });
    Ok(StreamResponse { metadata_prelude: lambda_runtime::MetadataPrelude::default(), stream })
}

/// Streams the number of chunks that the event asks for, then ends in the way that it asks for.
async fn stream(event: LambdaEvent<Value>) -> Result<StreamResponse<Body>, Error> {
    let (mut sender, body) = lambda_runtime::streaming::channel();
    tokio::spawn(async move {
        for chunk in 0..event.payload["chunks"].as_u64().unwrap_or(0) {
            if sender.send_data(Bytes::from(format!("chunk {chunk};"))).await.is_err() {
                return;
            }
        }
        match event.payload["then"].as_str() {
            Some("fail") => sender.send_error(lambda_runtime_api_client::Error::new("pipe burst")),
            Some("fail at a URL") => sender.send_error(lambda_runtime_api_client::Error::new(URL)),
            Some("hang") => std::future::pending().await,
            _ => {}
        }
    });
    Ok(StreamResponse { metadata_prelude: lambda_runtime::MetadataPrelude::default(), stream: body })
}

/// Runs the loop with a handler in the background.
fn run<H, R, B, S, D, E>(handler: H, shared: Shared) -> (Watch, tokio::task::JoinHandle<Result<(), Error>>)
where
    H: Service<LambdaEvent<Value>, Response = R, Error = Error> + Clone + Send + 'static,
    H::Future: Send + 'static,
    R: lambda_runtime::IntoFunctionResponse<B, S> + Send + 'static,
    B: serde::Serialize + Send + 'static,
    S: futures_core::Stream<Item = Result<D, E>> + Unpin + Send + 'static,
    D: Into<Bytes> + Send + 'static,
    E: Into<Error> + Send + std::fmt::Debug + 'static,
{
    let watch = Watch::default();
    let runtime = Runtime::with(handler, shared).layer(watch.clone());
    (watch, tokio::spawn(runtime.run_concurrent()))
}

/// A Runtime API in memory, and what a runtime needs to reach it.
fn api(workers: u32) -> (Fake, Shared) {
    let (connect, mut connections) = mpsc::unbounded_channel();
    let fake = Fake::default();
    let server = fake.clone();
    tokio::spawn(async move {
        while let Some(connection) = connections.recv().await {
            server.lock().connections += 1;
            if !server.lock().gone {
                tokio::spawn(server.clone().serve(connection));
            }
        }
    });
    let refusals = Arc::clone(&fake.refusals);
    (fake, Shared::new(Client::new(Endpoint::in_memory(connect, refusals)), workers, invocation::Shared::with_defaults(), None))
}

/// Echoes in the background, with this number of workers.
fn serve(workers: u32) -> (Fake, Watch, tokio::task::JoinHandle<Result<(), Error>>) {
    let (fake, shared) = api(workers);
    let (watch, running) = run(service_fn(echo), shared);
    (fake, watch, running)
}
