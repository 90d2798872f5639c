//! One of the user's exporters and the spans that wait for it. It runs outside of the executor, with one batch at a time, and
//! with limits of time and memory.

use super::{back_off::BackOff, park};
use crate::{
    notice::{self, Data, Warning},
    panics::{self, Panic},
    urls,
};
use opentelemetry::Context as OtelContext;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};
use tokio::sync::oneshot;

/// The most spans that wait for an exporter that is slow or refuses. Further ones are left out and counted.
const WAITING: usize = 10_000;

/// The spans of one call: the default of OpenTelemetry's batch processors. Collectors refuse requests that are too large.
const BATCH: usize = 512;

/// The most different errors of one exporter that are logged.
const LOGGED: usize = 16;

/// The result for a batch: an exporter may fail or panic, or its task is cancelled.
type Exported = Pin<Box<dyn Future<Output = Result<OTelSdkResult, Option<Panic>>> + Send>>;

/// A `SpanExporter` of any type. Code that only exporters need is here, so that it is only compiled into functions that have one.
trait AnyExporter: Send + Sync + fmt::Debug {
    /// Sets the resource of the exporter's spans.
    fn introduce(&mut self, resource: &Resource);

    /// Exports outside of the executor, because exporters may block; OpenTelemetry's own do. Returns the spans if no thread can
    /// be started.
    fn hand_over(self: Arc<Self>, batch: Vec<SpanData>) -> Result<Exported, Vec<SpanData>>;

    /// Exports in this task, for an exporter that does not block.
    fn export_here(self: Arc<Self>, batch: Vec<SpanData>) -> Exported;

    /// Makes the exporter send the spans that it stores itself.
    fn finish(self: Arc<Self>) -> Flushing;
}

impl<T: SpanExporter + 'static> AnyExporter for T {
    fn introduce(&mut self, resource: &Resource) {
        self.set_resource(resource);
    }

    fn hand_over(self: Arc<Self>, batch: Vec<SpanData>) -> Result<Exported, Vec<SpanData>> {
        let load = Arc::new(Mutex::new(Some(batch)));
        let taken = Arc::clone(&load);
        let export = move || {
            let Some(batch) = lock(&taken).take() else { return Ok(Ok(())) };
            panics::catch(|| park::block_on(self.export(batch)))
        };
        // Tokio panics if the system has no thread left. It keeps the work for a thread that may never exist.
        match panics::catch(|| tokio::task::spawn_blocking(export)) {
            Ok(exported) => Ok(Box::pin(async { exported.await.map_err(Panic::of_task)?.map_err(Some) })),
            Err(_) => Err(lock(&load).take().unwrap_or_default()),
        }
    }

    fn export_here(self: Arc<Self>, batch: Vec<SpanData>) -> Exported {
        let mut export = Box::pin(async move { self.export(batch).await });
        Box::pin(poll_fn(move |cx| {
            // The calls of the exporter do not belong to the invocation.
            let _suppressed = OtelContext::enter_telemetry_suppressed_scope();
            match panics::catch(|| export.as_mut().poll(cx)) {
                Ok(polled) => polled.map(Ok),
                Err(panic) => Poll::Ready(Err(Some(panic))),
            }
        }))
    }

    fn finish(self: Arc<Self>) -> Flushing {
        let flush = move || panics::catch(|| self.force_flush());
        // The system may have no thread for it.
        let flushing = panics::catch(|| tokio::task::spawn_blocking(flush));
        Box::pin(async {
            if let Ok(flushing) = flushing {
                _ = flushing.await;
            }
        })
    }
}

pub(super) type Flushing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An exporter with the spans that wait for it. It is a trait, so that a function without an exporter does not link this code.
pub(crate) trait Queue: Send + Sync + fmt::Debug {
    /// Sets the resource of the exporter's spans.
    fn introduce(&mut self, resource: &Resource);

    /// Takes the spans, as long as there is room.
    fn keep(&self, spans: &mut Vec<SpanData>);

    /// The time of the last export.
    fn last(&self) -> Instant;

    /// Exports the waiting spans and waits for that, at most until `until`. Spans that arrive while the exporter is running
    /// become its next batch, which is not waited for.
    fn flush(self: Arc<Self>, until: Option<Instant>) -> Flushing;

    /// Like `flush`, but first waits for a running export.
    fn flush_all(self: Arc<Self>, until: Option<Instant>) -> Flushing;
}

/// The queue of an exporter, which may block its thread.
pub(crate) fn queue(exporter: impl SpanExporter + 'static) -> Box<dyn Queue> {
    slot(exporter, true)
}

/// The queue of an exporter that does not block its thread.
pub(crate) fn async_queue(exporter: impl SpanExporter + 'static) -> Box<dyn Queue> {
    slot(exporter, false)
}

fn slot(exporter: impl SpanExporter + 'static, blocks: bool) -> Box<dyn Queue> {
    Box::new(Slot {
        blocks,
        exporter: Arc::new(exporter),
        waiting: Mutex::default(),
        last: Mutex::new(Instant::now()),
        left_out: AtomicU64::new(0),
        logged: Mutex::default(),
        at_work: tokio::sync::Mutex::default(),
        back_off: Mutex::default(),
    })
}

#[derive(Debug)]
struct Slot {
    exporter: Arc<dyn AnyExporter>,
    /// The exporter may block its thread.
    blocks: bool,
    waiting: Mutex<Vec<SpanData>>,
    last: Mutex<Instant>,
    left_out: AtomicU64,
    /// The errors that were logged.
    logged: Mutex<Vec<String>>,
    /// Held while the exporter is running, even past its time, because it must not be called twice at once.
    at_work: tokio::sync::Mutex<()>,
    back_off: Mutex<BackOff>,
}

impl Queue for Slot {
    fn introduce(&mut self, resource: &Resource) {
        // The exporter is not shared before its first use.
        if let Some(exporter) = Arc::get_mut(&mut self.exporter) {
            exporter.introduce(resource);
        }
    }

    fn keep(&self, spans: &mut Vec<SpanData>) {
        let mut waiting = lock(&self.waiting);
        let room = WAITING.saturating_sub(waiting.len());
        let left_out = spans.len().saturating_sub(room) as u64;
        waiting.extend(spans.drain(..).take(room));
        if left_out > 0 && self.left_out.fetch_add(left_out, Ordering::Relaxed) == 0 {
            notice::log(Warning::ExporterOverrun, Data::default());
        }
    }

    fn last(&self) -> Instant {
        *lock(&self.last)
    }

    fn flush(self: Arc<Self>, until: Option<Instant>) -> Flushing {
        Box::pin(async move {
            if lock(&self.waiting).is_empty() || !lock(&self.back_off).is_over() {
                return;
            }
            let (first, mut done) = oneshot::channel();
            let mut draining = Continued(Some(Arc::clone(&self).draining(Some(first))));
            // In the task of the invocation: a task of its own would cost each invocation a start and two wake-ups.
            let ended = poll_fn(move |cx| match draining.poll(cx) {
                Poll::Pending => Pin::new(&mut done).poll(cx).map(drop),
                Poll::Ready(()) => Poll::Ready(()),
            });
            self.wait(until, Box::pin(ended)).await;
        })
    }

    fn flush_all(self: Arc<Self>, until: Option<Instant>) -> Flushing {
        Box::pin(async move {
            let slot = Arc::clone(&self);
            let all = async move {
                drop(slot.at_work.lock().await);
                // The separate task ends only with the runtime.
                _ = tokio::spawn(Arc::clone(&slot).draining(None)).await;
                Arc::clone(&slot.exporter).finish().await;
            };
            self.wait(until, Box::pin(all)).await;
        })
    }
}

/// Work that continues in a separate task if it is dropped before its end.
struct Continued(Option<Flushing>);

impl Continued {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.0.as_mut().map_or(Poll::Ready(()), |work| work.as_mut().poll(cx));
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl Drop for Continued {
    fn drop(&mut self) {
        let runtime = tokio::runtime::Handle::try_current();
        if let (Some(work), Ok(runtime)) = (self.0.take(), runtime) {
            runtime.spawn(work);
        }
    }
}

impl Slot {
    /// Logs an error once, because it is usually the same after every invocation.
    fn log_once(&self, error: &str) {
        let error = urls::without_secrets(error).into_owned();
        let mut logged = lock(&self.logged);
        if logged.len() < LOGGED && !logged.contains(&error) {
            notice::log(Warning::ExporterFailed, Data::error(&error));
            logged.push(error);
        }
    }

    async fn wait(&self, until: Option<Instant>, ended: Flushing) {
        let in_time = match until {
            Some(until) => tokio::time::timeout_at(until.into(), ended).await.is_ok(),
            None => {
                ended.await;
                true
            }
        };
        if !in_time {
            notice::log(Warning::ExporterDelayed, Data::default());
        }
    }

    /// [`drain`](Self::drain) for a task, boxed because each type of task is compiled separately.
    fn draining(self: Arc<Self>, first: Option<oneshot::Sender<()>>) -> Flushing {
        Box::pin(self.drain(first))
    }

    /// Exports the waiting spans, batch by batch, until none is left or the exporter fails. Drops `first` when the spans that
    /// wait at its start are exported.
    async fn drain(self: Arc<Self>, mut first: Option<oneshot::Sender<()>>) {
        let mut due = lock(&self.waiting).len();
        // Checked while no export is running. A caller that came during one has returned without exporting.
        while !lock(&self.waiting).is_empty() {
            let Ok(_at_work) = self.at_work.try_lock() else { return };
            let batch = self.next_batch();
            if batch.is_empty() {
                continue;
            }
            *lock(&self.last) = Instant::now();
            due = due.saturating_sub(batch.len());
            let exporter = Arc::clone(&self.exporter);
            match if self.blocks { exporter.hand_over(batch) } else { Ok(exporter.export_here(batch)) } {
                Ok(export) => {
                    let is_taken = self.ended(export.await);
                    lock(&self.back_off).note(is_taken);
                    if !is_taken {
                        return;
                    }
                }
                Err(batch) => {
                    lock(&self.waiting).splice(..0, batch);
                    return self.log_once("no thread could be started, the spans wait for the next flush");
                }
            }
            if due == 0 {
                first.take();
            }
        }
    }

    fn next_batch(&self) -> Vec<SpanData> {
        let mut waiting = lock(&self.waiting);
        let rest = if waiting.len() > BATCH { waiting.split_off(BATCH) } else { Vec::new() };
        std::mem::replace(&mut *waiting, rest)
    }

    /// True if the exporter accepted the batch.
    fn ended(&self, ended: Result<OTelSdkResult, Option<Panic>>) -> bool {
        match ended {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => self.log_once(&error.to_string()),
            Err(Some(panic)) => {
                notice::log(Warning::ExporterPanicked, Data::error(&urls::without_secrets(&panic.to_string())));
            }
            // The runtime ends.
            Err(None) => {}
        }
        false
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        export::{
            Exporters, Flush, OfExporters,
            fixtures::{span, within},
        },
        settings::Settings,
    };
    use opentelemetry_sdk::error::OTelSdkError;
    use std::{sync::atomic::AtomicUsize, thread};
    use tokio::sync::Semaphore;

    /// Counts spans. Each batch waits until it is let through.
    #[derive(Clone, Debug)]
    pub(in crate::export) struct Gate {
        begun: Arc<Semaphore>,
        pub(in crate::export) through: Arc<Semaphore>,
        pub(in crate::export) spans: Arc<AtomicUsize>,
    }

    impl Gate {
        pub(in crate::export) fn closed() -> Self {
            Self { begun: Arc::new(Semaphore::new(0)), through: Arc::new(Semaphore::new(0)), spans: Arc::default() }
        }

        /// A lifecycle's exporters, with only this one.
        pub(in crate::export) fn exporters(&self, flush: Flush) -> Exporters {
            opened(vec![queue(self.clone())], flush)
        }

        async fn begun(&self) {
            within(self.begun.acquire()).await.expect("open").forget();
        }
    }

    impl SpanExporter for Gate {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.begun.add_permits(1);
            self.through.acquire().await.expect("open").forget();
            self.spans.fetch_add(batch.len(), Ordering::Relaxed);
            Ok(())
        }
    }

    fn opened(queues: Vec<Box<dyn Queue>>, flush: Flush) -> Exporters {
        Exporters::open(&Settings::default(), OfExporters { queues, flush, sampler: None, resource: Vec::new() })
    }

    fn exporters(gate: &Gate) -> Arc<Exporters> {
        Arc::new(gate.exporters(Flush::EveryInvocation))
    }

    #[tokio::test]
    async fn an_exporter_that_does_not_block_runs_in_the_task_and_its_panic_costs_its_batch() {
        #[derive(Debug)]
        struct Here(thread::ThreadId, Arc<AtomicUsize>);

        impl SpanExporter for Here {
            async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
                tokio::task::yield_now().await;
                assert_eq!(thread::current().id(), self.0);
                assert!(OtelContext::is_current_telemetry_suppressed());
                assert!(batch.len() < 3, "too many");
                self.1.fetch_add(batch.len(), Ordering::Relaxed);
                Ok(())
            }
        }

        let spans = Arc::default();
        let exporter = Here(thread::current().id(), Arc::clone(&spans));
        let exporters = opened(vec![async_queue(exporter)], Flush::EveryInvocation);
        for count in [2, 3] {
            exporters.keep(&mut (0..count).map(|_| span()).collect());
            within(exporters.flush_due(None)).await;
        }
        exporters.keep(&mut vec![span()]);
        // Regardless of the pause after a failure.
        within(exporters.flush(None)).await;
        assert_eq!(spans.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn what_comes_while_the_exporter_is_at_work_is_exported_after_it() {
        let gate = Gate::closed();
        let exporters = exporters(&gate);
        exporters.keep(&mut vec![span()]);
        let first = Arc::clone(&exporters);
        let first = tokio::spawn(async move { first.flush_due(None).await });
        gate.begun().await;
        // This is the last invocation, so no later one exports its spans.
        exporters.keep(&mut vec![span(), span()]);
        exporters.flush_due(None).await;
        gate.through.add_permits(1);
        within(first).await.expect("no panic");
        gate.begun().await;
        gate.through.add_permits(1);
        within(exporters.flush(None)).await;
        assert_eq!(gate.spans.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn nobody_s_deadline_keeps_what_waits_from_being_exported() {
        let gate = Gate::closed();
        let exporters = exporters(&gate);
        exporters.keep(&mut vec![span()]);
        exporters.flush_due(Some(Instant::now())).await;
        gate.begun().await;
        exporters.keep(&mut vec![span()]);
        exporters.flush_due(Some(Instant::now())).await;
        gate.through.add_permits(2);
        gate.begun().await;
    }

    #[tokio::test]
    async fn the_last_flush_waits_for_an_exporter_at_work() {
        let gate = Gate::closed();
        let exporters = exporters(&gate);
        exporters.keep(&mut vec![span()]);
        exporters.flush_due(Some(Instant::now())).await;
        gate.begun().await;
        exporters.keep(&mut vec![span(), span()]);
        gate.through.add_permits(2);
        within(exporters.flush(None)).await;
        assert_eq!(gate.spans.load(Ordering::Relaxed), 3);
    }

    /// Counts its calls, and refuses.
    #[derive(Clone, Debug, Default)]
    struct Refusing(Arc<AtomicUsize>);

    impl SpanExporter for Refusing {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(OTelSdkError::InternalFailure("refused".into()))
        }
    }

    #[tokio::test]
    async fn an_exporter_that_refuses_is_left_alone_for_a_while_and_asked_once_more_at_the_end() {
        let refusing = Refusing::default();
        let exporters = opened(vec![queue(refusing.clone())], Flush::EveryInvocation);
        for _ in 0..10 {
            exporters.keep(&mut vec![span()]);
            within(exporters.flush_due(None)).await;
        }
        assert_eq!(refusing.0.load(Ordering::Relaxed), 1);
        within(exporters.flush(None)).await;
        assert_eq!(refusing.0.load(Ordering::Relaxed), 2);
    }

    /// Keeps its spans until it is flushed.
    #[derive(Clone, Debug, Default)]
    struct Keeping {
        kept: Arc<AtomicUsize>,
        sent: Arc<AtomicUsize>,
    }

    impl SpanExporter for Keeping {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.kept.fetch_add(batch.len(), Ordering::Relaxed);
            Ok(())
        }

        fn force_flush(&self) -> OTelSdkResult {
            self.sent.fetch_add(self.kept.swap(0, Ordering::Relaxed), Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_last_flush_has_an_exporter_send_what_it_keeps_and_waits_for_none_before_another() {
        let (keeping, hanging) = (Keeping::default(), Gate::closed());
        let exporters = opened(vec![queue(hanging.clone()), queue(keeping.clone())], Flush::EveryInvocation);
        exporters.keep(&mut vec![span()]);
        exporters.flush_due(Some(Instant::now())).await;
        let flush = exporters.flush(None);
        let sent = async {
            while keeping.sent.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        within(async {
            tokio::select! {
                () = flush => panic!("it waits for the one that hangs"),
                () = sent => {}
            }
        })
        .await;
        // The runtime only ends when its threads do.
        hanging.through.add_permits(1);
    }

    #[tokio::test]
    async fn many_spans_leave_in_batches_and_all_of_them_are_waited_for() {
        let gate = Gate::closed();
        gate.through.add_permits(usize::MAX >> 4);
        let exporters = gate.exporters(Flush::EveryInvocation);
        exporters.keep(&mut (0..=BATCH * 3).map(|_| span()).collect());
        within(exporters.flush_due(None)).await;
        assert_eq!((gate.spans.load(Ordering::Relaxed), gate.begun.available_permits()), (BATCH * 3 + 1, 4));
    }
}
