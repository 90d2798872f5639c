//! The user's exporters: which invocations they get, when they are called, and the resource that they get.

use super::{
    Queue,
    decision::{Decision, OfExporters},
    flush::Flush,
    prepared::prepare,
    queue::Flushing,
    resource::resource,
    sampling::{self, sample},
    wanted::{Wanted, is_for_exporters},
};
use crate::settings::Settings;
use opentelemetry::{TraceId, trace::SpanContext};
use opentelemetry_sdk::trace::{SamplingDecision, ShouldSample, SpanData};
use std::{future::poll_fn, sync::Arc, task::Poll, time::Instant};

#[derive(Debug)]
pub(crate) struct Exporters {
    queues: Vec<Arc<dyn Queue>>,
    flush: Flush,
    sampler: Box<dyn ShouldSample>,
}

impl Exporters {
    pub(crate) fn open(settings: &Settings, given: OfExporters) -> Self {
        let resource = resource(given.resource, settings.redactor.as_ref());
        let queues = given.queues.into_iter().map(|mut queue| {
            queue.introduce(&resource);
            queue.into()
        });
        Self { queues: queues.collect(), flush: given.flush, sampler: sampling::sampler(given.sampler) }
    }

    /// Whether the exporters get an invocation in this trace. X-Ray's part is already decided.
    pub(super) fn decide(&self, xray: Wanted, parent: Option<&SpanContext>, trace: TraceId) -> Decision {
        let sampling = sample(&*self.sampler, parent, trace);
        let exporters = sampling.decision == SamplingDecision::RecordAndSample;
        Decision {
            wanted: Wanted { exporters, sampled: exporters, ..xray },
            has_exporters: true,
            attributes: sampling.attributes,
            trace_state: sampling.trace_state,
        }
    }

    /// The number of exporters, and the invocations that they get.
    pub(super) fn describe(&self) -> String {
        format!("{} exporters: invocations that {:?} samples, sent as {:?} says", self.queues.len(), self.sampler, self.flush)
    }

    /// True if spans wait for the shutdown.
    pub(crate) fn flush_at_shutdown(&self) -> bool {
        self.flush != Flush::EveryInvocation
    }

    /// Stores the spans for every exporter that gets them. None of them remains.
    pub(crate) fn keep(&self, spans: &mut Vec<SpanData>) {
        spans.retain(is_for_exporters);
        spans.iter_mut().for_each(prepare);
        if let Some((last, others)) = self.queues.split_last() {
            for queue in others {
                queue.keep(&mut spans.clone());
            }
            last.keep(spans);
        }
    }

    /// Passes the waiting spans to the exporters whose flush is due, and waits for them, at most until `until`.
    pub(crate) async fn flush_due(&self, until: Option<Instant>) {
        let now = Instant::now();
        let is_due = |queue: &&Arc<dyn Queue>| match self.flush {
            Flush::EveryInvocation => true,
            Flush::Every(interval) => now.duration_since(queue.last()) >= interval,
            Flush::OnShutdown => false,
        };
        let due = self.queues.iter().filter(is_due);
        all(due.map(|queue| Arc::clone(queue).flush(until)).collect()).await;
    }

    /// Exports all waiting spans, also after a running export.
    pub(crate) async fn flush(&self, until: Option<Instant>) {
        all(self.queues.iter().map(|queue| Arc::clone(queue).flush_all(until)).collect()).await;
    }
}

/// Waits for all concurrently, so that a slow one does not delay the others.
async fn all(mut flushing: Vec<Flushing>) {
    poll_fn(|cx| {
        flushing.retain_mut(|flush| flush.as_mut().poll(cx).is_pending());
        if flushing.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
