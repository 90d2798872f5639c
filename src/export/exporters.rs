//! Exporters of the user's own, beside X-Ray's documents: off the executor, one batch at a time, bounded in time and memory.

use crate::{
    Environment, notice,
    panics::{self, Panic},
    urls,
    xray::Redactor,
};
use opentelemetry::KeyValue;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::OwnedMutexGuard;

/// Spans that wait for an exporter which is slow or refuses; more are left out, and counted.
const WAITING: usize = 10_000;

/// Different errors of one exporter that are logged.
const TOLD: usize = 16;

/// When spans leave to exporters of your own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Flush {
    /// After the response of every invocation.
    #[default]
    EveryInvocation,
    /// After the response of an invocation, if the last time is this long ago; the rest goes at shutdown.
    Every(Duration),
    /// At shutdown only. An environment that is killed loses them.
    OnShutdown,
}

/// What became of a batch: an exporter may fail, or panic, or its task is cancelled.
type Exported = Pin<Box<dyn Future<Output = Result<OTelSdkResult, Option<Panic>>> + Send>>;

/// A `SpanExporter` of any type. What only exporters need is here, so that it is compiled for functions that have one.
pub(crate) trait AnyExporter: Send + Sync + fmt::Debug {
    /// Tells the exporter whose spans it gets.
    fn introduce(&mut self, redactor: Option<&Redactor>);

    /// Exports off the executor, for exporters may block: opentelemetry's own do. Gives the spans back where there is no thread for it.
    fn hand_over(self: Arc<Self>, batch: Vec<SpanData>, at_work: OwnedMutexGuard<()>) -> Result<Exported, Vec<SpanData>>;
}

impl<T: SpanExporter + 'static> AnyExporter for T {
    fn introduce(&mut self, redactor: Option<&Redactor>) {
        self.set_resource(&resource(redactor));
    }

    fn hand_over(self: Arc<Self>, batch: Vec<SpanData>, at_work: OwnedMutexGuard<()>) -> Result<Exported, Vec<SpanData>> {
        let handle = tokio::runtime::Handle::current();
        let load = Arc::new(Mutex::new(Some((batch, at_work))));
        let taken = Arc::clone(&load);
        let export = move || {
            let Some((batch, _at_work)) = lock(&taken).take() else { return Ok(Ok(())) };
            panics::catch(|| handle.block_on(self.export(batch)))
        };
        // Tokio panics where the system has no thread left, and keeps the work for one that may never come.
        match panics::catch(|| tokio::task::spawn_blocking(export)) {
            Ok(exported) => Ok(Box::pin(async { exported.await.map_err(Panic::of_task)?.map_err(Some) })),
            Err(_) => Err(lock(&load).take().map(|(batch, _)| batch).unwrap_or_default()),
        }
    }
}

#[derive(Debug)]
struct Slot {
    exporter: Arc<dyn AnyExporter>,
    waiting: Mutex<Vec<SpanData>>,
    last: Mutex<Instant>,
    left_out: AtomicU64,
    /// Errors that were logged.
    told: Mutex<Vec<String>>,
    /// Held while the exporter is at work, also by one that outlives its time.
    at_work: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
pub(crate) struct Exporters {
    slots: Vec<Slot>,
    flush: Flush,
}

/// Whose spans they are: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` if they are set, and what
/// [AWS Lambda](https://opentelemetry.io/docs/specs/semconv/resource/faas/) is known to be.
fn resource(redactor: Option<&Redactor>) -> Resource {
    let environment = Environment::current();
    let named = std::env::var_os("OTEL_SERVICE_NAME").is_some_and(|name| !name.is_empty());
    let known = [
        ("cloud.region", &environment.region),
        ("faas.name", &environment.function_name),
        ("faas.version", &environment.function_version),
        ("faas.instance", &environment.log_stream),
    ];
    let known = known.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| KeyValue::new(key, value.as_str()));
    let ours = [KeyValue::new("cloud.provider", "aws"), KeyValue::new("cloud.platform", "aws_lambda")];
    let mut resource = Resource::builder().with_attributes(ours.into_iter().chain(known));
    if !named && !environment.function_name.is_empty() {
        resource = resource.with_service_name(environment.function_name.as_str());
    }
    redacted(resource.build(), redactor)
}

fn redacted(resource: Resource, redactor: Option<&Redactor>) -> Resource {
    let Some(redactor) = redactor else { return resource };
    let mut attributes: Vec<KeyValue> = resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone())).collect();
    redactor.attributes(&mut attributes);
    Resource::builder_empty().with_attributes(attributes).build()
}

impl Exporters {
    /// `None` without an exporter.
    pub(crate) fn new(exporters: Vec<Box<dyn AnyExporter>>, flush: Flush, redactor: Option<&Redactor>) -> Option<Self> {
        let slots = exporters.into_iter().map(|mut exporter| {
            exporter.introduce(redactor);
            Slot {
                exporter: exporter.into(),
                waiting: Mutex::default(),
                last: Mutex::new(Instant::now()),
                left_out: AtomicU64::new(0),
                told: Mutex::default(),
                at_work: Arc::default(),
            }
        });
        let slots: Vec<Slot> = slots.collect();
        (!slots.is_empty()).then_some(Self { slots, flush })
    }

    /// True where spans wait for shutdown.
    pub(crate) fn flush_at_shutdown(&self) -> bool {
        self.flush != Flush::EveryInvocation
    }

    /// Keeps an invocation's spans for every exporter.
    pub(crate) fn keep(&self, spans: &[SpanData]) {
        for slot in &self.slots {
            slot.keep(spans);
        }
    }

    /// Hands over what waits to the exporters whose turn it is, and waits for them, at most until `until`.
    pub(crate) async fn flush_due(&self, until: Option<Instant>) {
        let now = Instant::now();
        for slot in &self.slots {
            let due = match self.flush {
                Flush::EveryInvocation => true,
                Flush::Every(interval) => now.duration_since(*lock(&slot.last)) >= interval,
                Flush::OnShutdown => false,
            };
            if due {
                slot.flush(until).await;
            }
        }
    }

    /// Hands over what waits.
    pub(crate) async fn flush(&self, until: Option<Instant>) {
        for slot in &self.slots {
            slot.flush(until).await;
        }
    }
}

impl Slot {
    /// Logs an error once: it is as a rule the same after every invocation.
    fn tell(&self, error: &str) {
        let error = urls::without_secrets(error).into_owned();
        let mut told = lock(&self.told);
        if told.len() < TOLD && !told.contains(&error) {
            notice::warn(format_args!("an exporter did not take its spans: {error}"));
            told.push(error);
        }
    }

    fn keep(&self, spans: &[SpanData]) {
        let mut waiting = lock(&self.waiting);
        let room = WAITING.saturating_sub(waiting.len());
        waiting.extend(spans.iter().take(room).cloned());
        let left_out = spans.len().saturating_sub(room) as u64;
        if left_out > 0 && self.left_out.fetch_add(left_out, Ordering::Relaxed) == 0 {
            notice::warn(format_args!("an exporter does not keep up: spans beyond {WAITING} are left out for it"));
        }
    }

    async fn flush(&self, until: Option<Instant>) {
        // An exporter that outlived its time is still at work, and must not be called twice at once.
        let Ok(at_work) = Arc::clone(&self.at_work).try_lock_owned() else { return };
        let batch = std::mem::take(&mut *lock(&self.waiting));
        if batch.is_empty() {
            return;
        }
        *lock(&self.last) = Instant::now();
        let export = match Arc::clone(&self.exporter).hand_over(batch, at_work) {
            Ok(export) => export,
            Err(batch) => {
                lock(&self.waiting).splice(..0, batch);
                return self.tell("there is no thread for it, they wait for the next time");
            }
        };
        let ended = match until {
            Some(until) => tokio::time::timeout_at(until.into(), export).await,
            None => Ok(export.await),
        };
        match ended {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => self.tell(&error.to_string()),
            Ok(Err(Some(panic))) => notice::warn(format_args!(
                "an exporter panicked, its spans are lost: {}",
                urls::without_secrets(&panic.to_string())
            )),
            // The runtime ends.
            Ok(Err(None)) => {}
            Err(_) => notice::warn(format_args!(
                "an exporter was not done before the deadline: it goes on, the invocation does not wait"
            )),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
