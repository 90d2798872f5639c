//! Where finished spans go: X-Ray documents, and exporters of the user's. Knows spans and settings, and no invocation.

mod documents;
mod exporters;
mod scrub;
#[cfg(test)]
mod tests;

pub(crate) use documents::{Documents, Sending};
pub use exporters::Flush;
pub(crate) use exporters::{Exporters, Queue, queue};

use crate::settings::Settings;
use opentelemetry::trace::{SpanId, SpanKind};
use opentelemetry_sdk::trace::SpanData;
use scrub::scrub_all;
use std::time::Instant;

/// What the builder was given to send spans with.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) exporters: Vec<Box<dyn Queue>>,
    pub(crate) flush: Flush,
    #[cfg(feature = "xray-api")]
    pub(crate) api: Option<crate::xray_api::XRayApi>,
}

/// The destinations of one lifecycle.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    documents: Documents,
    exporters: Option<Exporters>,
}

impl Destinations {
    pub(crate) fn new(settings: &Settings, given: Given) -> Self {
        let documents = Documents::new(
            settings,
            #[cfg(feature = "xray-api")]
            given.api,
        );
        Self { documents, exporters: Exporters::new(given.exporters, given.flush, settings.redactor.as_ref()) }
    }

    /// Where X-Ray's documents go.
    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// Sends spans to X-Ray, and keeps them for the exporters. There are `waiting` of them, and they are not taken before it is their turn:
    /// until then a shutdown finds them where they are, and sends them itself.
    pub(crate) async fn send(&self, waiting: usize, take: impl FnOnce() -> Vec<SpanData>, sending: Sending) {
        let keep = |mut spans: Vec<SpanData>| self.keep_for_exporters(sending.rootless(), &mut spans);
        self.documents.send(waiting, take, &sending, keep).await;
    }

    /// As [`send`](Self::send), from any thread, at once and regardless of the pace: for an invocation that is about to be killed.
    pub(crate) fn send_now(&self, mut spans: Vec<SpanData>, sending: Option<&Sending>) {
        if spans.is_empty() {
            return;
        }
        scrub_all(&mut spans, self.documents.redactor());
        self.documents.send_now(&spans, sending);
        self.keep_for_exporters(sending.and_then(Sending::rootless), &mut spans);
    }

    /// As [`send_now`](Self::send_now), batch after batch at the pace, at most until `until`: for an environment that ends.
    pub(crate) async fn send_last(&self, mut batches: Vec<(Vec<SpanData>, Option<Sending>)>, until: Option<Instant>) {
        batches.retain(|(spans, _)| !spans.is_empty());
        scrub_all(batches.iter_mut().flat_map(|(spans, _)| spans), self.documents.redactor());
        // Before they wait for the pace, so that the last flush finds them.
        if self.exporters.is_some() {
            for (spans, sending) in &batches {
                self.keep_for_exporters(sending.as_ref().and_then(Sending::rootless), &mut spans.clone());
            }
        }
        self.documents.send_last(&batches, until).await;
    }

    /// True where spans go elsewhere than to the daemon, which takes time after the response.
    pub(crate) fn has_exporters(&self) -> bool {
        self.exporters.is_some() || self.documents.is_api()
    }

    /// True where spans wait for shutdown.
    pub(crate) fn flush_at_shutdown(&self) -> bool {
        self.exporters.as_ref().is_some_and(Exporters::flush_at_shutdown)
    }

    /// Hands over what was sent to the destinations whose turn it is, at most until `until`.
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
        // Of an invocation that had its turn at the pace meanwhile.
        if let Some(exporters) = &self.exporters {
            exporters.flush(until).await;
        }
    }

    fn keep_for_exporters(&self, rootless: Option<SpanId>, spans: &mut [SpanData]) {
        let Some(exporters) = &self.exporters else { return };
        // A parent that was made up is known to no other service.
        let is_rootless =
            |span: &&mut SpanData| Some(span.span_context.span_id()) == rootless && span.span_kind == SpanKind::Server;
        if let Some(span) = spans.iter_mut().find(is_rootless) {
            span.parent_span_id = SpanId::INVALID;
            span.parent_span_is_remote = false;
        }
        exporters.keep(spans);
    }
}
