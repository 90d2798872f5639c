//! The traces a sandbox has seen.

use super::{
    check::{self, Problem},
    document::{Document, Source},
    drops::Drops,
    otlp::{self, OtlpSpan},
    rejected::Rejected,
    rules,
    tally::Tally,
    trace::Trace,
};
use crate::wait::{self, Expired};
use bytes::Bytes;
use serde_json::Value;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::watch;

/// How often a wait without news asks the kernel whether something was lost.
const LOOK_FOR_DROPS: Duration = Duration::from_millis(500);

/// A wait ended before what it waited for was there.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotSeen {
    /// Datagrams were lost before the daemon could read them, so what was waited for may never come.
    #[error(
        "the kernel dropped {dropped} datagrams, and {found} documents fit; read faster, send slower, or give the daemon a larger receive buffer"
    )]
    Dropped {
        /// How many datagrams.
        dropped: u64,
        /// Documents that fit.
        found: usize,
    },
    /// Nothing was lost, and nothing came.
    #[error("{found} documents fit; {expired}")]
    Expired {
        /// Documents that fit.
        found: usize,
        /// How long was waited, and what there was.
        #[source]
        expired: Expired,
    },
}

/// The traces a sandbox has seen. Clones share them.
///
/// ```no_run
/// # async fn example(daemon: &lambda_lifecycle_sandbox::xray::Daemon) -> Result<(), Box<dyn std::error::Error>> {
/// let store = daemon.store();
/// store.wait_for(1, |document| document.name == "checkout").await?;
/// assert!(store.check().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TraceStore(Arc<Shared>);

struct Shared {
    inner: Mutex<Inner>,
    /// Counts changes, for those who wait.
    version: watch::Sender<u64>,
    daemons: Mutex<Vec<Weak<Drops>>>,
}

#[derive(Default)]
struct Inner {
    datagrams: Vec<Bytes>,
    rejected: Vec<Rejected>,
    /// Spans that came as OTLP, in the order of arrival.
    otlp: Vec<OtlpSpan>,
    /// Everything accepted, in the order of arrival.
    history: Vec<Arc<Document>>,
    /// Trace ids in the order of their first document.
    traces: Vec<String>,
    /// Positions in `history`, by trace.
    by_trace: HashMap<String, Vec<usize>>,
}

impl TraceStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one document of Lambda (`AWS::Lambda`, `AWS::Lambda::Function`), as the service would write it.
    ///
    /// It is judged like any other: a bad one is in [`rejected`](Self::rejected).
    #[allow(clippy::needless_pass_by_value, reason = "it is the sender's last use")]
    pub fn put_platform_segment(&self, document: Value) {
        // The reasons are kept in the store.
        let _ = self.put(&Bytes::from(document.to_string()), Source::Platform);
    }

    /// Takes a segment as X-Ray returns it, with the subsegments that it merged. Nothing is validated, because segments that the service
    /// infers break the rules for documents it takes.
    pub fn put_fetched(&self, segment: Value) {
        let documents = Document::flatten(segment, Source::Api, 0, Vec::new());
        let mut inner = self.lock();
        for document in documents {
            inner.add(document);
        }
        drop(inner);
        self.changed();
    }

    /// The trace with this id; `None` before its first document.
    pub fn trace(&self, id: &str) -> Option<Trace> {
        self.lock().trace(id)
    }

    /// All traces, in the order of their first documents.
    pub fn traces(&self) -> Vec<Trace> {
        let inner = self.lock();
        inner.traces.iter().filter_map(|id| inner.trace(id)).collect()
    }

    /// Segments and subsegments in their newest state that `wanted` says yes to, trace by trace.
    pub fn find(&self, mut wanted: impl FnMut(&Document) -> bool) -> Vec<Arc<Document>> {
        let documents = self.traces().into_iter().flat_map(|trace| trace.documents);
        documents.filter(|document| wanted(document)).collect()
    }

    /// Everything accepted in the order of arrival, also the in-progress documents that were replaced.
    pub fn history(&self) -> Vec<Arc<Document>> {
        self.lock().history.clone()
    }

    /// Documents that break a rule, in the order of arrival.
    pub fn rejected(&self) -> Vec<Rejected> {
        self.lock().rejected.clone()
    }

    /// Spans that came as OTLP, in the order of arrival. Each is a document too, whose source is [`Source::Otlp`].
    pub fn otlp_spans(&self) -> Vec<OtlpSpan> {
        self.lock().otlp.clone()
    }

    /// Every datagram as it came, good or bad: to search for what must never leave a function.
    pub fn datagrams(&self) -> Vec<Bytes> {
        self.lock().datagrams.clone()
    }

    /// Defects of the traces as they are now, the worst first. Call it when all functions have ended.
    pub fn check(&self) -> Vec<Problem> {
        check::check(&self.traces(), &self.history(), &self.rejected())
    }

    /// Waits until at least `count` segments and subsegments in their newest state fit, and returns those that do, in the order of
    /// their arrival. Each document is looked at once.
    ///
    /// # Errors
    ///
    /// When the kernel drops datagrams for a daemon of this store, or when it takes longer than [`patience`](crate::wait::patience).
    pub async fn wait_for(&self, count: usize, fits: impl FnMut(&Document) -> bool) -> Result<Vec<Arc<Document>>, NotSeen> {
        self.wait_until(|found| found >= count, fits).await
    }

    /// Waits until `enough` says yes to the number of segments and subsegments that fit in their newest state. It is asked at once and
    /// after every change.
    ///
    /// # Errors
    ///
    /// As with [`wait_for`](Self::wait_for).
    pub async fn wait_until(
        &self,
        enough: impl Fn(usize) -> bool,
        fits: impl FnMut(&Document) -> bool,
    ) -> Result<Vec<Arc<Document>>, NotSeen> {
        let mut version = self.0.version.subscribe();
        let mut tally = Tally::new(fits);
        let wait = async {
            loop {
                version.mark_unchanged();
                tally.take(self.since(tally.read));
                if enough(tally.found) {
                    return Ok(());
                }
                if tokio::time::timeout(LOOK_FOR_DROPS, version.changed()).await.is_ok() {
                    continue;
                }
                let dropped = self.dropped();
                if dropped > 0 {
                    return Err(NotSeen::Dropped { dropped, found: tally.found });
                }
            }
        };
        match wait::within("documents in the trace store", wait).await {
            Ok(waited) => waited?,
            Err(expired) => return Err(NotSeen::Expired { found: tally.found, expired }),
        }
        Ok(tally.fitting())
    }

    /// Datagrams that the kernel had no room for in the receive buffers of this store's daemons. Zero where the system does not say:
    /// only Linux does.
    pub fn dropped(&self) -> u64 {
        let daemons = self.0.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        daemons.iter().filter_map(Weak::upgrade).map(|drops| drops.count()).sum()
    }

    /// From now on the drops of this socket are this store's.
    pub(super) fn count_drops_of(&self, daemon: &Arc<Drops>) {
        let mut daemons = self.0.daemons.lock().unwrap_or_else(PoisonError::into_inner);
        daemons.retain(|daemon| daemon.strong_count() > 0);
        daemons.push(Arc::downgrade(daemon));
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// The accepted documents from position `from` on.
    pub(crate) fn since(&self, from: usize) -> Vec<Arc<Document>> {
        self.lock().history.get(from..).unwrap_or_default().to_vec()
    }

    pub(super) fn put_datagram(&self, datagram: Bytes) {
        self.lock().datagrams.push(datagram.clone());
        match rules::body(&datagram) {
            Ok(body) => match otlp::spans(body) {
                Some(Ok(spans)) => self.put_otlp(spans),
                Some(Err(reasons)) => self.reject(datagram, reasons, Source::Otlp),
                None => _ = self.judge(&datagram, body, Source::Daemon),
            },
            Err(reasons) => self.reject(datagram, reasons, Source::Daemon),
        }
        self.changed();
    }

    /// Judges and keeps one document; says why it was rejected.
    pub(super) fn put(&self, document: &Bytes, source: Source) -> Result<(), Vec<String>> {
        let result = self.judge(document, document, source);
        self.changed();
        result
    }

    fn judge(&self, whole: &Bytes, document: &[u8], source: Source) -> Result<(), Vec<String>> {
        match rules::judge(document) {
            Ok(sound) => {
                let documents = Document::flatten(sound.document, source, document.len(), sound.warnings);
                let mut inner = self.lock();
                for document in documents {
                    inner.add(document);
                }
                Ok(())
            }
            Err(reasons) => {
                self.reject(whole.clone(), reasons.clone(), source);
                Err(reasons)
            }
        }
    }

    fn put_otlp(&self, spans: Vec<OtlpSpan>) {
        let mut inner = self.lock();
        for span in spans {
            for document in Document::flatten(span.document(), Source::Otlp, 0, Vec::new()) {
                inner.add(document);
            }
            inner.otlp.push(span);
        }
    }

    fn reject(&self, bytes: Bytes, reasons: Vec<String>, source: Source) {
        self.lock().rejected.push(Rejected { bytes, reasons, source });
    }

    fn changed(&self) {
        self.0.version.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing below leaves `Inner` half changed, so a panic elsewhere does not spoil it.
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, document: Document) {
        let position = self.history.len();
        if !self.by_trace.contains_key(&document.trace_id) {
            self.traces.push(document.trace_id.clone());
        }
        self.by_trace.entry(document.trace_id.clone()).or_default().push(position);
        self.history.push(Arc::new(document));
    }

    fn trace(&self, id: &str) -> Option<Trace> {
        let documents = self.by_trace.get(id)?.iter().map(|&position| &self.history[position]);
        Some(Trace::new(id, documents))
    }
}

impl Default for TraceStore {
    fn default() -> Self {
        Self(Arc::new(Shared { inner: Mutex::default(), version: watch::Sender::new(0), daemons: Mutex::default() }))
    }
}

impl fmt::Debug for TraceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        f.debug_struct("TraceStore")
            .field("traces", &inner.traces.len())
            .field("documents", &inner.history.len())
            .field("datagrams", &inner.datagrams.len())
            .field("rejected", &inner.rejected.len())
            .field("dropped", &self.dropped())
            .finish()
    }
}
