//! The functions under test, each as a user would write it.

pub(crate) mod acts;
mod hostile;
mod measured;
mod rare;

use crate::behavior::Probe;
use axum::{Router, routing::get};
use lambda_lifecycle::{
    Error, Flush, LambdaEvent, Lifecycle, Report, deadline::fallback, metrics::Unit, service_fn, sqs, xray::Redaction,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    future::pending,
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tower::Layer as _;
use tower_http::trace::{DefaultMakeSpan, TraceLayer};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::prelude::*;

pub(crate) fn main(probe: Probe) -> ExitCode {
    // Like `#[tokio::main]` and its `current_thread` flavor.
    let concurrent = std::env::var_os("AWS_LAMBDA_MAX_CONCURRENCY").is_some()
        || std::env::var_os("FLAVOR").is_some_and(|flavor| flavor == "multi_thread");
    let mut builder =
        if concurrent { tokio::runtime::Builder::new_multi_thread() } else { tokio::runtime::Builder::new_current_thread() };
    let builder = if probe == Probe::ShutdownWithoutTimers { builder.enable_io() } else { builder.enable_all() };
    // More than the machine has, so that no thread can be started.
    let builder = if probe == Probe::ExporterWithoutThreads { builder.thread_stack_size(1 << 46) } else { builder };
    let runtime = builder.worker_threads(2).build().expect("a runtime");
    match runtime.block_on(run(probe)) {
        Ok(()) => ExitCode::SUCCESS,
        // Like `fn main() -> Result<(), Error>`.
        Err(error) => {
            if error.is::<lambda_lifecycle::ServeError>() {
                println!("no more events are served");
            }
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run(probe: Probe) -> Result<(), Error> {
    if let Some(ended) = crate::user_layers::run(probe).await {
        return ended;
    }
    if let Some(ended) = crate::panic_payloads::run(probe).await {
        return ended;
    }
    if let Some(ended) = crate::long_errors::run(probe).await {
        return ended;
    }
    if let Some(ended) = crate::snap_start::run(probe).await {
        return ended;
    }
    let life = match probe {
        Probe::OwnSubscriber => {
            let layers = tracing_subscriber::registry().with(Lifecycle::tracing_layer());
            layers.with(tracing_subscriber::fmt::layer().with_ansi(false).with_filter(LevelFilter::WARN)).init();
            Lifecycle::from_env()
        }
        Probe::StrangeSubscriber => {
            tracing_subscriber::fmt().with_ansi(false).init();
            Lifecycle::from_env()
        }
        Probe::Redacting => Lifecycle::builder()
            .redact(|_, value| if value.contains("marked") { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep })
            .build(),
        Probe::OwnSubscriberRedacting => {
            tracing_subscriber::registry().with(Lifecycle::tracing_layer()).init();
            Lifecycle::builder()
                .redact(
                    |_, value| if value.contains("marked") { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep },
                )
                .build()
        }
        Probe::FilteredSubscriber => {
            tracing_subscriber::registry()
                .with(Lifecycle::tracing_layer())
                .with(tracing_subscriber::fmt::layer())
                .with(LevelFilter::WARN)
                .init();
            Lifecycle::from_env()
        }
        Probe::PanickingRedactor => {
            Lifecycle::builder().redact(|_, value| if value.contains("marked") { panic_now() } else { Redaction::Keep }).build()
        }
        Probe::InitDropPanics => Lifecycle::builder().init_budget(Duration::from_millis(300)).build(),
        Probe::NoBounds => Lifecycle::builder().init_budget(Duration::MAX).after_response_budget(Duration::MAX).build(),
        Probe::DeferringHook => Lifecycle::builder()
            .after_response(async |report: Report| {
                let invocation = report.invocation.clone();
                report.invocation.after_response(async move {
                    tracing::info!(request_id = invocation.request_id(), "deferred by a hook");
                });
            })
            .build(),
        Probe::Hooks => Lifecycle::builder()
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
        Probe::HangingHook => Lifecycle::builder().after_response(|_| pending()).build(),
        Probe::Shutdown | Probe::ShutdownWithoutTimers => Lifecycle::builder()
            .on_shutdown(async || println!("hook one"))
            .on_shutdown(async || panic_now())
            .on_shutdown(async || {
                tokio::task::yield_now().await;
                println!("hook two");
            })
            .build(),
        Probe::BlockingShutdown => Lifecycle::builder().on_shutdown(async || std::thread::sleep(Duration::from_secs(60))).build(),
        Probe::HangingShutdown => Lifecycle::builder().on_shutdown(async || println!("not reached")).on_shutdown(pending).build(),
        Probe::ScopedBefore => {
            tracing::subscriber::with_default(tracing_subscriber::fmt().finish(), || ());
            Lifecycle::from_env()
        }
        Probe::Metrics | Probe::MetricsBatch => measured::lifecycle()?,
        Probe::Exporter | Probe::ExporterWithoutThreads | Probe::HttpExporter => {
            Lifecycle::builder().exporter(hostile::Exporter).build()
        }
        Probe::ExporterAtShutdown => Lifecycle::builder().exporter(hostile::Exporter).flush(Flush::OnShutdown).build(),
        _ => Lifecycle::from_env(),
    };
    let life = Life(life);
    match probe {
        Probe::Metrics => {
            life.metrics().record("Started", 1, Unit::Count);
            life.init("first", async { Ok::<_, Error>(()) }).await?;
            life.init("second", async { Ok::<_, Error>(()) }).await?;
            life.run_concurrent(service_fn(acts::value)).await
        }
        Probe::MetricsBatch => life.run_concurrent(sqs::batch_raw(measured::message).concurrency(1)).await,
        Probe::Fallback => life.run_concurrent(fallback(service_fn(acts::value), |_| json!("fallback"))).await,
        Probe::InitOptional => {
            static TRIES: AtomicU32 = AtomicU32::new(0);
            let cache = life
                .init_optional("cache", async || match TRIES.fetch_add(1, Ordering::Relaxed) {
                    0 => Err("cold cache"),
                    tries => Ok(tries),
                })
                .await;
            life.0.run(service_fn(async |_: LambdaEvent<Value>| Ok::<_, Error>(*cache.get_or_retry().await?))).await
        }
        Probe::InitOptionalPanics => {
            static TRIES: AtomicU32 = AtomicU32::new(0);
            // The panic occurs while the future is created.
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
        Probe::InitBlocking => {
            // Each waits for the other, so one after the other they would never end.
            static BOTH: std::sync::Barrier = std::sync::Barrier::new(2);
            let rendezvous = |name: &'static str| {
                life.init_blocking(name, || {
                    BOTH.wait();
                    Ok::<_, Error>(())
                })
            };
            tokio::try_join!(rendezvous("one"), rendezvous("two"))?;
            life.0.run(service_fn(acts::value)).await
        }
        Probe::InitBlocks => {
            // Its budget is used up when it first waits, and no timer can end it.
            let began = std::time::Instant::now();
            let blocks = async {
                while began.elapsed() < Duration::from_millis(300) {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok::<_, Error>(())
            };
            life.init("quick", async { Ok::<_, Error>(()) }).await?;
            life.init("slow", blocks).await?;
            life.0.run(service_fn(acts::value)).await
        }
        Probe::InitBlockingPanics => life.init_blocking("database", panic_now::<Result<(), Error>>).await.map_err(Into::into),
        Probe::Typed => {
            #[derive(Deserialize)]
            #[serde(deny_unknown_fields)]
            struct Order {
                sku: String,
            }
            life.run_concurrent(service_fn(async |event: LambdaEvent<Order>| Ok::<_, Error>(event.payload.sku))).await
        }
        Probe::Constructor => life.run_concurrent(service_fn(hostile::constructor)).await,
        Probe::Deserialize => {
            life.run_concurrent(service_fn(async |_: LambdaEvent<hostile::BadDeserialize>| Ok::<_, Error>(1))).await
        }
        Probe::Serialize => {
            life.run_concurrent(service_fn(async |event: LambdaEvent<Value>| {
                Ok::<_, Error>(hostile::BadSerialize(event.payload))
            }))
            .await
        }
        Probe::Stream => life.run_concurrent(service_fn(hostile::stream)).await,
        Probe::Http | Probe::HttpExporter => {
            life.0
                .serve(Router::new().route("/slow/{kind}", get(hostile::slow)).route("/orders/{id}", get(async || "order")))
                .await
        }
        Probe::Fronts => crate::fronts::serve(life.0).await,
        Probe::HttpStream => crate::http_stream::serve(life.0).await,
        Probe::HttpTraceLayer => {
            let trace = TraceLayer::new_for_http().make_span_with(|request: &axum::extract::Request| {
                tracing::info_span!("request", method = %request.method(), path = request.uri().path())
            });
            life.0.serve(Router::new().route("/orders/{id}", get(async || "order")).layer(trace)).await
        }
        Probe::HttpTraceLayerDefault => {
            let trace = TraceLayer::new_for_http().make_span_with(DefaultMakeSpan::new().level(tracing::Level::INFO));
            life.0.serve(Router::new().route("/orders/{id}", get(async || "order")).layer(trace)).await
        }
        Probe::NoBounds => {
            life.init("database", async { Ok::<_, Error>(()) }).await?;
            life.0.run(service_fn(acts::value)).await
        }
        Probe::InitLeftOpen => {
            let _open = tracing::info_span!("start-up").entered();
            acts::work("").await;
            life.0.run(service_fn(acts::value)).await
        }
        Probe::InitBlockingTraced => {
            life.init_blocking("database", || {
                tracing::info_span!("connect").in_scope(|| ());
                Ok::<_, Error>(())
            })
            .await?;
            life.0.run(service_fn(acts::value)).await
        }
        Probe::InitBlockingHangs => {
            let hang = || {
                std::thread::sleep(Duration::from_secs(60));
                Ok::<_, Error>(())
            };
            life.init_blocking("database", hang).await.map_err(Into::into)
        }
        Probe::Unready => life.0.run(hostile::Unready).await,
        Probe::InitFails => life.init("database", async { Err::<(), _>("connection refused") }).await.map_err(Into::into),
        Probe::InitPanics => life.init("database", async { panic_now::<Result<(), Error>>() }).await.map_err(Into::into),
        Probe::InitDropPanics => {
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
        Probe::InitHangs => {
            let cache = life.init("cache", async { Ok::<_, Error>(()) });
            let database = life.init("database", pending::<Result<(), Error>>());
            tokio::try_join!(cache, database)?;
            Ok(())
        }
        Probe::InitWorks => {
            static PLACE: once_cell::sync::OnceCell<String> = once_cell::sync::OnceCell::new();
            life.init_cell("place", &PLACE, async { Ok::<_, Error>("here".to_owned()) }).await?;
            life.0.run(service_fn(async |_: LambdaEvent<Value>| Ok::<_, Error>(PLACE.get().cloned()))).await
        }
        _ => life.run_concurrent(service_fn(acts::value)).await,
    }
}

/// A lifecycle whose events come from the loop that `LOOP` selects.
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
