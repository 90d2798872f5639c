//! The functions under test, each as a user would write it.

use crate::support::{hold_thread_at, wait_at};
use axum::{Router, routing::get};
use lambda_lifecycle::{
    Error, Flush, Invocation, LambdaEvent, Lifecycle, Report, deadline::fallback, service_fn, xray::Redaction,
};
use lambda_runtime::StreamResponse;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::{
    future::pending,
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tower::Layer as _;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::prelude::*;

pub(crate) fn main(probe: &str) -> ExitCode {
    // As `#[tokio::main]` and its `current_thread` flavour do.
    let concurrent = std::env::var_os("AWS_LAMBDA_MAX_CONCURRENCY").is_some()
        || std::env::var_os("FLAVOR").is_some_and(|flavor| flavor == "multi_thread");
    let mut builder =
        if concurrent { tokio::runtime::Builder::new_multi_thread() } else { tokio::runtime::Builder::new_current_thread() };
    let builder = if probe == "shutdown-without-timers" { builder.enable_io() } else { builder.enable_all() };
    // More than there is, so that none can be started.
    let builder = if probe == "exporter-without-threads" { builder.thread_stack_size(1 << 46) } else { builder };
    let runtime = builder.worker_threads(2).build().expect("a runtime");
    match runtime.block_on(run(probe)) {
        Ok(()) => ExitCode::SUCCESS,
        // What `fn main() -> Result<(), Error>` does.
        Err(error) => {
            if error.is::<lambda_lifecycle::ServeError>() {
                println!("no more events are served");
            }
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run(probe: &str) -> Result<(), Error> {
    if let Some(ended) = crate::user_layers::run(probe).await {
        return ended;
    }
    if let Some(ended) = crate::panic_payloads::run(probe).await {
        return ended;
    }
    if let Some(ended) = crate::long_errors::run(probe).await {
        return ended;
    }
    let life = match probe {
        "own-subscriber" => {
            let layers = tracing_subscriber::registry().with(Lifecycle::tracing_layer());
            layers.with(tracing_subscriber::fmt::layer().with_ansi(false).with_filter(LevelFilter::WARN)).init();
            Lifecycle::from_env()
        }
        "strange-subscriber" => {
            tracing_subscriber::fmt().with_ansi(false).init();
            Lifecycle::from_env()
        }
        "redacting" => Lifecycle::builder()
            .redact(|_, value| if value.contains("marked") { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep })
            .build(),
        "own-subscriber-redacting" => {
            tracing_subscriber::registry().with(Lifecycle::tracing_layer()).init();
            Lifecycle::builder()
                .redact(
                    |_, value| if value.contains("marked") { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep },
                )
                .build()
        }
        "filtered-subscriber" => {
            tracing_subscriber::registry()
                .with(Lifecycle::tracing_layer())
                .with(tracing_subscriber::fmt::layer())
                .with(LevelFilter::WARN)
                .init();
            Lifecycle::from_env()
        }
        "panicking-redactor" => {
            Lifecycle::builder().redact(|_, value| if value.contains("marked") { panic_now() } else { Redaction::Keep }).build()
        }
        "init-drop-panics" => Lifecycle::builder().init_budget(Duration::from_millis(300)).build(),
        "no-bounds" => Lifecycle::builder().init_budget(Duration::MAX).after_response_budget(Duration::MAX).build(),
        "deferring-hook" => Lifecycle::builder()
            .after_response(async |report: Report| {
                let invocation = report.invocation.clone();
                report.invocation.after_response(async move {
                    tracing::info!(request_id = invocation.request_id(), "deferred by a hook");
                });
            })
            .build(),
        "hooks" => Lifecycle::builder()
            .after_response(async |report: Report| {
                tracing::info!(outcome = report.outcome.map_or("none", |outcome| outcome.as_str()), "hook one");
            })
            .after_response(async |_| panic_now())
            .after_response(async |report: Report| {
                tracing::info!(finished = report.finished, "hook three");
            })
            .on_unfinished(|_, count| tracing::info!(count, "unfinished"))
            .on_thaw(Duration::ZERO, |_| tracing::info!("thawed"))
            .on_thaw(Duration::MAX, |_| tracing::info!("thawed after ages"))
            .build(),
        "hanging-hook" => Lifecycle::builder().after_response(|_| pending()).build(),
        "shutdown" | "shutdown-without-timers" => Lifecycle::builder()
            .on_shutdown(async || println!("hook one"))
            .on_shutdown(async || panic_now())
            .on_shutdown(async || {
                tokio::task::yield_now().await;
                println!("hook two");
            })
            .build(),
        "blocking-shutdown" => Lifecycle::builder().on_shutdown(async || std::thread::sleep(Duration::from_secs(60))).build(),
        "hanging-shutdown" => Lifecycle::builder().on_shutdown(async || println!("not reached")).on_shutdown(pending).build(),
        "scoped-before" => {
            tracing::subscriber::with_default(tracing_subscriber::fmt().finish(), || ());
            Lifecycle::from_env()
        }
        "exporter" | "exporter-without-threads" => Lifecycle::builder().exporter(Exporter).build(),
        "exporter-at-shutdown" => Lifecycle::builder().exporter(Exporter).flush(Flush::OnShutdown).build(),
        _ => Lifecycle::from_env(),
    };
    let life = Life(life);
    match probe {
        "fallback" => life.run_concurrent(fallback(service_fn(value), |_| json!("fallback"))).await,
        "init-optional" => {
            static TRIES: AtomicU32 = AtomicU32::new(0);
            let cache = life
                .init_optional("cache", async || match TRIES.fetch_add(1, Ordering::Relaxed) {
                    0 => Err("cold cache"),
                    tries => Ok(tries),
                })
                .await;
            life.0.run(service_fn(async |_: LambdaEvent<Value>| Ok::<_, Error>(*cache.get_or_retry().await?))).await
        }
        "init-optional-panics" => {
            static TRIES: AtomicU32 = AtomicU32::new(0);
            // The panic is in the making of the future.
            let cache = life
                .init_optional("cache", || {
                    let tries = TRIES.fetch_add(1, Ordering::Relaxed);
                    if tries == 0 {
                        panic_now::<()>();
                    }
                    async move { Ok::<_, Error>(tries) }
                })
                .await;
            life.0.run(service_fn(async |_: LambdaEvent<Value>| Ok::<_, Error>(*cache.get_or_retry().await?))).await
        }
        "init-blocking" => {
            // Each waits for the other: one after the other they would never end.
            static BOTH: std::sync::Barrier = std::sync::Barrier::new(2);
            let rendezvous = |name: &'static str| {
                life.init_blocking(name, || {
                    BOTH.wait();
                    Ok::<_, Error>(())
                })
            };
            tokio::try_join!(rendezvous("one"), rendezvous("two"))?;
            life.0.run(service_fn(value)).await
        }
        "init-blocks" => {
            // Its budget is used up when it begins to wait, and no timer can end it.
            let began = std::time::Instant::now();
            let blocks = async {
                while began.elapsed() < Duration::from_millis(300) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok::<_, Error>(())
            };
            life.init("quick", async { Ok::<_, Error>(()) }).await?;
            life.init("slow", blocks).await?;
            life.0.run(service_fn(value)).await
        }
        "init-blocking-panics" => life.init_blocking("database", panic_now::<Result<(), Error>>).await.map_err(Into::into),
        "typed" => {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Order {
                sku: String,
            }
            life.run_concurrent(service_fn(async |event: LambdaEvent<Order>| Ok::<_, Error>(event.payload.sku))).await
        }
        "constructor" => life.run_concurrent(service_fn(constructor)).await,
        "deserialize" => life.run_concurrent(service_fn(async |_: LambdaEvent<BadDeserialize>| Ok::<_, Error>(1))).await,
        "serialize" => {
            life.run_concurrent(service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(BadSerialize(event.payload)))).await
        }
        "stream" => life.run_concurrent(service_fn(stream)).await,
        "http" => life.0.serve(Router::new().route("/slow/{kind}", get(slow)).route("/orders/{id}", get(async || "order"))).await,
        "no-bounds" => {
            life.init("database", async { Ok::<_, Error>(()) }).await?;
            life.0.run(service_fn(value)).await
        }
        "init-left-open" => {
            let _open = tracing::info_span!("start-up").entered();
            work("").await;
            life.0.run(service_fn(value)).await
        }
        "init-blocking-traced" => {
            life.init_blocking("database", || {
                tracing::info_span!("connect").in_scope(|| ());
                Ok::<_, Error>(())
            })
            .await?;
            life.0.run(service_fn(value)).await
        }
        "init-blocking-hangs" => {
            let hang = || {
                std::thread::sleep(Duration::from_secs(60));
                Ok::<_, Error>(())
            };
            life.init_blocking("database", hang).await.map_err(Into::into)
        }
        "unready" => life.0.run(Unready).await,
        "init-fails" => life.init("database", async { Err::<(), _>("connection refused") }).await.map_err(Into::into),
        "init-panics" => life.init("database", async { panic_now::<Result<(), Error>>() }).await.map_err(Into::into),
        "init-drop-panics" => {
            struct Bomb;
            impl Drop for Bomb {
                fn drop(&mut self) {
                    panic_now()
                }
            }
            let hanging = async {
                let _bomb = Bomb;
                pending::<Result<(), Error>>().await
            };
            life.init("database", hanging).await.map_err(Into::into)
        }
        "init-hangs" => {
            let cache = life.init("cache", async { Ok::<_, Error>(()) });
            let database = life.init("database", pending::<Result<(), Error>>());
            tokio::try_join!(cache, database)?;
            Ok(())
        }
        "init-works" => {
            static PLACE: once_cell::sync::OnceCell<String> = once_cell::sync::OnceCell::new();
            life.init_cell("place", &PLACE, async { Ok::<_, Error>("here".to_owned()) }).await?;
            life.0.run(service_fn(async |_: LambdaEvent<Value>| Ok::<_, Error>(PLACE.get().cloned()))).await
        }
        _ => life.run_concurrent(service_fn(value)).await,
    }
}

/// A lifecycle whose events come from the loop that `LOOP` names.
struct Life(Lifecycle);

impl std::ops::Deref for Life {
    type Target = Lifecycle;

    fn deref(&self) -> &Lifecycle {
        &self.0
    }
}

impl Life {
    async fn run_concurrent<T, H, R, Buffered, Body, D, E>(self, handler: H) -> Result<(), Error>
    where
        H: tower::Service<LambdaEvent<T>, Response = R> + Clone + Send + 'static,
        H::Future: Send + 'static,
        H::Error: Into<lambda_runtime::Diagnostic> + std::fmt::Debug,
        T: for<'de> Deserialize<'de> + Send + 'static,
        R: lambda_runtime::IntoFunctionResponse<Buffered, Body> + Send + 'static,
        Buffered: Serialize + Send + 'static,
        Body: futures_core::Stream<Item = Result<D, E>> + Unpin + Send + 'static,
        D: Into<bytes::Bytes> + Send + 'static,
        E: Into<Error> + Send + std::fmt::Debug + 'static,
    {
        if std::env::var_os("LOOP").is_none_or(|name| name != "lambda_runtime") {
            return self.0.run_concurrent(handler).await;
        }
        let runtime = lambda_runtime::Runtime::new(self.0.handler_layer().layer(handler)).layer(self.0.runtime_layer());
        runtime.run_concurrent().await
    }
}

fn panic_now<T>() -> T {
    panic!("fuse was lit")
}

/// Ends as the event asks it to.
async fn value(event: LambdaEvent<Value>) -> Result<Value, Error> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let invocation = Invocation::current();
    if let Some(note) = event.payload["after"].as_str() {
        let note = note.to_owned();
        invocation.after_response(async move { tracing::info!(note, "after the response") });
    }
    let gate = event.payload["gate"].as_str().unwrap_or_default().to_owned();
    let answer = || json!({ "calls": calls, "header": invocation.trace_header().map(|header| header.to_string()) });
    match event.payload["do"].as_str() {
        Some("fail") => return Err("no stock".into()),
        Some("panic") => panic_now(),
        Some("log") => {
            let secret = event.payload["secret"].as_str().unwrap_or_default().to_owned();
            tracing::info!(secret, "a line of the user's");
            work(&secret).await;
        }
        Some("fail with it") => return Err(format!("no stock for {}", event.payload["secret"]).into()),
        Some("panic with it") => panic!("fuse was lit by {}", event.payload["secret"]),
        Some("instrument it") => careless(event.payload["secret"].as_str().unwrap_or_default()),
        Some("big") => return Ok(json!("x".repeat(6 * 1024 * 1024 + 200))),
        Some("hang") => pending::<()>().await,
        Some("stop") => {
            invocation.cancellation_token().cancelled().await;
            return Ok(json!({ "stopped": true, "remaining_ms": u64::try_from(invocation.remaining().as_millis())? }));
        }
        Some("within") => {
            let bounded = invocation.within(pending::<()>()).await;
            return Ok(json!({ "within": bounded.expect_err("nothing ends").to_string() }));
        }
        Some("sleep") => tokio::time::sleep(Duration::from_millis(event.payload["ms"].as_u64().unwrap_or(20))).await,
        Some("work beside work that hangs") => invocation.after_response(async {
            Invocation::current().after_response(async { tracing::info!("stored by work") });
            pending().await
        }),
        Some("wait at the gate") => wait_at(&gate).await,
        Some("work of a task") => drop(invocation.spawn(async move {
            wait_at(&gate).await;
            Invocation::current().after_response(async { tracing::info!("the work runs") });
            tracing::info!("a task has stored work");
        })),
        Some("work of a late task") => drop(invocation.spawn(async move {
            wait_at(&gate).await;
            tracing::info_span!("late task").in_scope(|| ());
            Invocation::current().after_response(async {
                tracing::info_span!("late work").in_scope(|| ());
                tracing::info!("the late work is done");
            });
        })),
        Some("late work") => invocation.after_response(pending()),
        Some("work with a token") => invocation.after_response(async {
            Invocation::current().cancellation_token().cancelled().await;
            tracing::info!("told to stop");
        }),
        Some("cooperate") => loop {
            tokio::task::consume_budget().await;
        },
        Some("explicit parent") => tracing::info_span!(parent: tracing::Span::current(), "explicit").in_scope(|| careless("")),
        Some("ask the span") => {
            let span = tracing::info_span!("asked");
            span.set_attribute("annotation.asked", true);
            return Ok(json!(span.context().span().span_context().span_id().to_string()));
        }
        Some("ticking spans") => invocation.after_response(async {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                work("").await;
            }
            println!("the ticking is over");
        }),
        Some("ticking work") => invocation.after_response(async move {
            wait_at(&gate).await;
            for tick in 0..3 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                tracing::info!(tick, "tick");
            }
        }),
        Some("block") => block(Duration::from_secs(60)),
        Some("block every thread") => {
            // The last one waits for this thread; the others are for the threads that are free.
            for _ in 0..3 {
                drop(tokio::spawn(async { block(Duration::from_secs(60)) }));
            }
            block(Duration::from_secs(60));
        }
        Some("block at the gate") => {
            block_at(&gate);
            tokio::task::yield_now().await;
        }
        Some("spin") => spin(),
        Some("idle") => return Ok(json!(invocation.idle().map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)))),
        Some("many spans") => {
            for number in 0..event.payload["count"].as_u64().unwrap_or(0) {
                numbered(number);
            }
        }
        Some("abort") => std::process::abort(),
        Some("spawn") => {
            let kept = invocation.spawn(async { Invocation::current().request_id().to_owned() }).await?;
            return Ok(json!(kept == invocation.request_id()));
        }
        Some("log many errors and fail") => {
            (0..300).for_each(|number| tracing::error!(number, "one of many"));
            return Err("no stock".into());
        }
        Some("bad work") => invocation.after_response(async { panic_now() }),
        Some(other) => crate::odd::act(other, gate).await,
        None => {}
    }
    Ok(answer())
}

#[tracing::instrument(skip_all)]
async fn work(_: &str) {
    tracing::debug!("at work");
}

#[tracing::instrument]
fn careless(argument: &str) {}

#[tracing::instrument(name = "blocking query", fields(sql = "select"))]
fn block(time: Duration) {
    println!("blocks");
    std::thread::sleep(time);
}

#[tracing::instrument(name = "blocking query", skip_all)]
fn block_at(gate: &str) {
    hold_thread_at(gate);
}

#[tracing::instrument(name = "endless loop")]
fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

#[tracing::instrument(name = "numbered", fields(filler = "some forty characters, as a span often has"))]
fn numbered(number: u64) {}

/// Behaves as `EXPORTER` says.
#[derive(Debug)]
struct Exporter;

impl SpanExporter for Exporter {
    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        let name = resource.get(&opentelemetry::Key::from_static_str("service.name"));
        println!("spans of {}", name.map(|name| name.to_string()).unwrap_or_default());
    }

    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        match std::env::var("EXPORTER").unwrap_or_default().as_str() {
            "hangs" => pending().await,
            "blocks" => std::thread::sleep(Duration::from_secs(60)),
            "panics" => panic_now(),
            "fails" => return Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure("collector is down".into())),
            "waits at the gate" => wait_at(&std::env::var("EXPORTER_GATE").unwrap_or_default()).await,
            _ => {}
        }
        println!("exported {}", batch.iter().map(|span| span.name.as_ref()).collect::<Vec<_>>().join(", "));
        Ok(())
    }
}

/// A service that is not ready, as the event before the last asked it to be.
struct Unready;

impl lambda_runtime::Service<LambdaEvent<Value>> for Unready {
    type Response = u32;
    type Error = Error;
    type Future = std::future::Ready<Result<u32, Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        std::task::Poll::Ready(match CALLS.fetch_add(1, Ordering::Relaxed) {
            0 => Err("pool is shut".into()),
            1 => panic_now(),
            _ => Ok(()),
        })
    }

    fn call(&mut self, _: LambdaEvent<Value>) -> Self::Future {
        std::future::ready(Ok(1))
    }
}

#[allow(clippy::needless_pass_by_value, clippy::manual_async_fn, reason = "the panic is in the making of the future")]
fn constructor(event: LambdaEvent<Value>) -> impl Future<Output = Result<Value, Error>> {
    if event.payload["do"] == "panic" {
        panic_now::<()>();
    }
    async { Ok(json!(1)) }
}

struct BadDeserialize;

impl<'de> Deserialize<'de> for BadDeserialize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if Value::deserialize(deserializer)?["do"] == "panic" {
            panic_now::<()>();
        }
        Ok(Self)
    }
}

struct BadSerialize(Value);

impl Serialize for BadSerialize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0["do"].as_str() {
            Some("panic") => panic_now(),
            Some("fail") => Err(serde::ser::Error::custom("not today")),
            _ => serializer.serialize_u8(1),
        }
    }
}

#[derive(Debug)]
struct BadError;

impl std::fmt::Display for BadError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic_now()
    }
}

impl std::error::Error for BadError {}

type Chunks = std::pin::Pin<Box<dyn futures_core::Stream<Item = Result<bytes::Bytes, Error>> + Send>>;

async fn stream(event: LambdaEvent<Value>) -> Result<StreamResponse<Chunks>, Error> {
    let ending = event.payload["do"].as_str().unwrap_or_default().to_owned();
    let stream = futures_util::stream::unfold(0, move |chunk| {
        let ending = ending.clone();
        async move {
            match (chunk, ending.as_str()) {
                (0..3, _) => Some((Ok(bytes::Bytes::from(format!("chunk {chunk};"))), chunk + 1)),
                (_, "panic") => panic_now(),
                (_, "endless") => {
                    std::thread::sleep(Duration::from_millis(1));
                    Some((Ok(bytes::Bytes::from_static(b"chunk 0;chunk 1;chunk 2;")), chunk))
                }
                (3, "bad error") => Some((Err(Box::new(BadError) as Error), 4)),
                (3, "fail") => Some((Err("pipe burst".into()), 4)),
                (_, "hang") => pending().await,
                _ => None,
            }
        }
    });
    Ok(StreamResponse { metadata_prelude: lambda_runtime::MetadataPrelude::default(), stream: Box::pin(stream) })
}

async fn slow(axum::extract::Path(kind): axum::extract::Path<String>) -> String {
    if kind == "hang" {
        pending::<()>().await;
    }
    kind
}
