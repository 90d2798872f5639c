//! The destinations of finished spans: X-Ray documents, and the user's exporters. They know spans and settings, but no
//! invocation.

mod back_off;
mod decision;
mod documents;
mod encoder;
mod exporters;
#[cfg(test)]
mod fixtures;
mod flush;
#[cfg(feature = "otlp-udp")]
mod otlp;
mod park;
mod prepared;
mod queue;
mod resource;
mod sampling;
mod scrub;
#[cfg(test)]
mod tests;
mod wanted;

pub(crate) use decision::{Decision, OfExporters};
pub(crate) use documents::{Documents, Sending};
pub(crate) use exporters::Exporters;
pub use flush::Flush;
pub(crate) use queue::{Queue, async_queue, queue};
#[cfg(feature = "testing")]
pub(crate) use wanted::unmark;
pub(crate) use wanted::{Wanted, is_for_xray};

use crate::{
    ids::ProcessIds,
    settings::Settings,
    xray::{Sampled, TraceHeader},
};
use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanId, SpanKind},
};
use opentelemetry_sdk::trace::{IdGenerator, ShouldSample, SpanData};
use scrub::{YIELDS, scrub, scrub_all};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// The destinations that the builder was given.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) exporters: Vec<Box<dyn Queue>>,
    pub(crate) flush: Flush,
    pub(crate) sampler: Option<Box<dyn ShouldSample>>,
    /// Attributes of the resource.
    pub(crate) resource: Vec<KeyValue>,
    /// Set with the first exporter, so that a function without exporters does not link their code.
    pub(crate) open: Option<fn(&Settings, OfExporters) -> Exporters>,
    #[cfg(feature = "xray-api")]
    pub(crate) api: Option<crate::xray_api::XRayApi>,
}

/// The destinations of one lifecycle.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    documents: Documents,
    exporters: Option<Exporters>,
    /// Empty buffers that invocations have used. Each is too large for the allocator's cache.
    spare: Mutex<Vec<Vec<SpanData>>>,
}

/// The most empty buffers that are kept, and the most spans for which one of them has room.
const SPARE: usize = 16;
const SPANS_OF_SPARE: usize = 64;

impl Destinations {
    pub(crate) fn new(settings: &Settings, given: Given) -> Self {
        let documents = Documents::new(
            settings,
            #[cfg(feature = "otlp-udp")]
            &given.resource,
            #[cfg(feature = "xray-api")]
            given.api,
        );
        let Given { exporters: queues, flush, sampler, resource, open, .. } = given;
        let of_exporters = OfExporters { queues, flush, sampler, resource };
        Self { documents, exporters: open.map(|open| open(settings, of_exporters)), spare: Mutex::default() }
    }

    /// The destinations that get the invocation with this header. X-Ray gets it if Lambda samples it, and as OTLP in any case. The
    /// user's exporters get it if their sampler says so, for this header or for the caller whose trace is `continued`.
    ///
    /// OTLP, exporters, logs and outgoing calls need a trace id. A header without a Root gets one, and stays without a decision.
    pub(crate) fn decide(&self, header: &mut TraceHeader, continued: Option<&SpanContext>) -> Decision {
        let xray = header.sampled() == Sampled::Yes && header.root().is_some() && self.documents.are_sent();
        let wanted = Wanted { unsampled: self.documents.take_unsampled(), ..Wanted::by_xray(xray) };
        if self.exporters.is_none() && !wanted.unsampled {
            let own_only = xray && self.documents.are_behind();
            return Decision { wanted: Wanted { own_only, ..wanted }, ..Decision::default() };
        }
        let root = header.root().unwrap_or_else(|| {
            let root = ProcessIds.new_trace_id();
            *header = header.with_root(root);
            root
        });
        let Some(exporters) = &self.exporters else {
            return Decision { wanted, ..Decision::default() };
        };
        match continued {
            Some(caller) => exporters.decide(wanted, Some(caller), caller.trace_id()),
            None => exporters.decide(wanted, header.span_context().as_ref(), root),
        }
    }

    /// One line that names the invocations of each destination.
    pub(crate) fn describe(&self) -> String {
        let xray = self.documents.describe();
        match &self.exporters {
            Some(exporters) => format!("{xray}; {}", exporters.describe()),
            None => format!("{xray}; no exporters"),
        }
    }

    /// X-Ray's documents.
    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// Sends spans to X-Ray, and stores them for the exporters. `waiting` is their number. They are taken only when the pace
    /// admits them, so that until then a shutdown finds them in place and sends them itself. `to_xray` is true if X-Ray gets any
    /// of them. If too many bytes wait for the pace, `take_parts` takes all but the main span, and they are left out. Returns the
    /// number of spans beyond X-Ray's budget.
    pub(crate) async fn send(
        &self,
        waiting: usize,
        take: impl FnOnce() -> Vec<SpanData>,
        take_parts: impl FnOnce() -> Vec<SpanData>,
        sending: Sending,
        to_xray: bool,
    ) -> u32 {
        let keep = |spans: Vec<SpanData>| self.keep_for_exporters(sending.rootless(), spans);
        if to_xray {
            return self.documents.send(waiting, take, take_parts, &sending, self.exporters.is_some(), keep).await;
        }
        let mut spans = take();
        for (index, span) in spans.iter_mut().enumerate() {
            scrub(span, self.documents.redactor());
            if index % YIELDS == YIELDS - 1 {
                tokio::task::yield_now().await;
            }
        }
        keep(spans);
        0
    }

    /// Like [`send`](Self::send), but from any thread, at once and regardless of the pace: for an invocation that is about to be
    /// killed.
    pub(crate) fn send_now(&self, mut spans: Vec<SpanData>, sending: Option<&Sending>) {
        if spans.is_empty() {
            return;
        }
        scrub_all(&mut spans, self.documents.redactor());
        self.documents.send_now(&spans, sending);
        self.keep_for_exporters(sending.and_then(Sending::rootless), spans);
    }

    /// Like [`send_now`](Self::send_now), but batch after batch at the pace, at most until `until`: for an environment that ends.
    pub(crate) async fn send_last(&self, mut batches: Vec<(Vec<SpanData>, Option<Sending>)>, until: Option<Instant>) {
        batches.retain(|(spans, _)| !spans.is_empty());
        scrub_all(batches.iter_mut().flat_map(|(spans, _)| spans), self.documents.redactor());
        // Before they wait for the pace, so that the last flush finds them.
        if self.exporters.is_some() {
            for (spans, sending) in &batches {
                self.keep_for_exporters(sending.as_ref().and_then(Sending::rootless), spans.clone());
            }
        }
        self.documents.send_last(&batches, until).await;
    }

    /// Writes the documents of spans, and sends none.
    pub(crate) fn warm_up(&self, mut spans: Vec<SpanData>, sending: &Sending) {
        self.documents.warm_up(&spans, sending);
        spans.clear();
        self.give_back(spans);
    }

    /// True if spans go to other destinations than the daemon, which takes time after the response.
    pub(crate) fn has_exporters(&self) -> bool {
        self.exporters.is_some() || self.documents.is_api()
    }

    /// True where spans wait for shutdown.
    pub(crate) fn flush_at_shutdown(&self) -> bool {
        self.exporters.as_ref().is_some_and(Exporters::flush_at_shutdown)
    }

    /// Passes the spans to the destinations whose flush is due, at most until `until`.
    pub(crate) async fn export(&self, until: Option<Instant>) {
        let exporters = async {
            if let Some(exporters) = &self.exporters {
                exporters.flush_due(until).await;
            }
        };
        if self.documents.is_api() {
            tokio::join!(self.documents.call_api(until), exporters);
        } else {
            exporters.await;
        }
    }

    /// The last flush.
    pub(crate) async fn flush(&self, until: Option<Instant>) {
        let exporters = async {
            if let Some(exporters) = &self.exporters {
                exporters.flush(until).await;
            }
        };
        let documents = async {
            self.documents.finish_sending(until).await;
            self.documents.call_api(until).await;
        };
        tokio::join!(exporters, documents);
        // These belong to an invocation that was being sent at the pace meanwhile.
        if let Some(exporters) = &self.exporters {
            exporters.flush(until).await;
        }
    }

    fn keep_for_exporters(&self, rootless: Option<SpanId>, mut spans: Vec<SpanData>) {
        if let Some(exporters) = &self.exporters {
            // No other service knows a parent that was made up.
            let is_rootless =
                |span: &&mut SpanData| Some(span.span_context.span_id()) == rootless && span.span_kind == SpanKind::Server;
            if let Some(span) = spans.iter_mut().find(is_rootless) {
                span.parent_span_id = SpanId::INVALID;
                span.parent_span_is_remote = false;
            }
            exporters.keep(&mut spans);
        }
        spans.clear();
        self.give_back(spans);
    }

    fn give_back(&self, empty: Vec<SpanData>) {
        if (1..=SPANS_OF_SPARE).contains(&empty.capacity()) {
            let mut spare = self.lock_spare();
            if spare.len() < SPARE {
                spare.push(empty);
            }
        }
    }

    /// An empty buffer for the spans of an invocation, with the memory of an earlier one if there is any.
    pub(crate) fn spare(&self) -> Vec<SpanData> {
        self.lock_spare().pop().unwrap_or_default()
    }

    fn lock_spare(&self) -> MutexGuard<'_, Vec<Vec<SpanData>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
