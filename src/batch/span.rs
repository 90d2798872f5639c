//! The spans of a batch: one for the batch with a link to each producer, and one for each record with its own link.
//!
//! Names and attributes follow OpenTelemetry's conventions for
//! [messaging](https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/).

use super::{annotations::Annotations, failure::Failure, source::Source};
use crate::{
    Invocation,
    export::Wanted,
    hop::{OpenSpan, Producer, begin, consumer},
    trace::Scope,
    xray::{Sampled, TraceHeader, format_trace_id},
};
use opentelemetry::{
    Context, KeyValue, StringValue, Value,
    trace::{Link, SpanBuilder, SpanContext, TraceContextExt},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

/// The most links of one X-Ray segment.
const MAX_LINKS: usize = 20;

/// The span of a batch, and the shared data of its records' spans.
pub(super) struct BatchSpan {
    span: OpenSpan,
    system: &'static str,
    destination: Value,
    wanted: Wanted,
    /// For work of the batch that is not recorded.
    silent: Scope,
    options: SpanOptions,
    begun: AtomicUsize,
}

/// The facts of a record that the engine has read when its span starts.
pub(super) struct About<'a> {
    pub(super) id: &'a str,
    pub(super) receive_count: u32,
    pub(super) now: SystemTime,
    /// The time since it was sent.
    pub(super) age: Option<Duration>,
    pub(super) correlation: Option<&'a str>,
}

/// The batch's options for its spans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanOptions {
    /// The work of a record is in its producer's trace.
    pub(crate) continues: bool,
    /// Records that have a span whatever becomes of them.
    pub(super) budget: usize,
}

impl BatchSpan {
    /// Begins the span of a batch, with one link per distinct producer. `None` where nothing is recorded.
    pub(super) fn begin<K: Source>(
        invocation: &Invocation,
        first: Option<&K::Record>,
        producers: &[Option<Producer>],
        options: SpanOptions,
    ) -> Option<Self> {
        if !invocation.is_recorded() {
            return None;
        }
        let mut links: Vec<Link> = Vec::new();
        for producer in producers.iter().flatten().flat_map(Producer::contexts) {
            let is_same = |known: &SpanContext| known.span_id() == producer.span_id() && known.trace_id() == producer.trace_id();
            if !links.iter().any(|link| is_same(&link.span_context)) {
                links.push(Link::with_context(producer));
            }
            if links.len() == MAX_LINKS {
                break;
            }
        }
        let destination = first.map_or("", K::destination);
        let name = format!("process {destination}");
        let destination = Value::from(StringValue::from(Arc::<str>::from(destination)));
        let records = KeyValue::new("messaging.batch.message_count", count(producers.len()));
        let span = begin(consumer(name, K::SYSTEM, &destination, [records]).with_links(links), &Context::current());
        // With the spans of the batch and of the invocation.
        invocation.spans().reserve(producers.len().min(options.budget) + 2);
        let came = invocation.received_header();
        let header = came.with_parent(span.context().span().span_context().span_id(), came.sampled());
        let silent = Scope { wanted: Wanted::default(), header };
        Some(Self {
            span,
            system: K::SYSTEM,
            destination,
            wanted: invocation.wanted(),
            silent,
            options,
            begun: AtomicUsize::new(0),
        })
    }

    /// The context for work that belongs to the batch but to none of its records.
    pub(super) fn context(&self) -> &Context {
        self.span.context()
    }

    /// Starts the span of one record, as a child of the batch's span, or of the call that sent it.
    pub(super) fn begin_record<K: Source>(
        &self,
        source: &K,
        record: &K::Record,
        producer: Option<&Producer>,
        about: &About<'_>,
    ) -> RecordSpan {
        let header = producer.and_then(Producer::header);
        let caller = producer.and_then(Producer::continued);
        let with_baggage = |context: Context| match producer {
            Some(producer) => producer.with_baggage(context),
            None => context,
        };
        let refused = header.is_some_and(|header| header.sampled() == Sampled::No);
        // The service that started this trace decided against sampling it for X-Ray.
        let wanted = if refused { self.wanted.without_xray() } else { self.wanted };
        // If X-Ray records the batch, the header is sent on unchanged.
        let apart = header.filter(|_| refused && self.wanted.xray).map(|header| Scope { wanted, header: header.clone() });
        if let Some(scope) = apart.as_ref().filter(|_| !wanted.anywhere()) {
            let context = with_baggage(scope.clone().within(self.context()));
            return RecordSpan::WithoutSpan(match caller {
                Some(caller) => context.with_remote_span_context(caller.clone()),
                None => context,
            });
        }
        let continues = |header: &&TraceHeader| {
            let is_recorded = header.sampled() == Sampled::Yes || (refused && wanted.anywhere());
            self.options.continues && is_recorded && header.parent().is_some()
        };
        let continued = header.filter(continues);
        let span = self.describe(source, record, producer, caller.is_some() || continued.is_some(), about);
        let parent = with_baggage(match (caller, continued, apart) {
            (Some(caller), ..) => self.context_of(caller, header, wanted),
            (None, Some(header), _) => self.context_in(header, wanted),
            (None, None, Some(scope)) => scope.within(self.context()),
            (None, None, None) => self.context().clone(),
        });
        if self.begun.fetch_add(1, Ordering::Relaxed) < self.options.budget {
            return RecordSpan::Recorded(begin(span, &parent));
        }
        let context = self.silent.clone().within(self.context());
        RecordSpan::OverBudget(LateSpan { context, parent, span: Some(Box::new(span)) })
    }

    /// A context in the trace that W3C's fields name. Calls from there have a matching X-Ray header if X-Ray gets the trace.
    fn context_of(&self, caller: &SpanContext, header: Option<&TraceHeader>, wanted: Wanted) -> Context {
        let came = header.unwrap_or(&self.silent.header);
        let header = if wanted.xray && came.root() != Some(caller.trace_id()) {
            came.continued_by(caller).with_parent(caller.span_id(), came.sampled())
        } else {
            came.clone()
        };
        Scope { wanted, header }.within(self.context()).with_remote_span_context(caller.clone())
    }

    /// A context in the producer's trace.
    fn context_in(&self, header: &TraceHeader, wanted: Wanted) -> Context {
        let context = Scope { wanted, header: header.clone() }.within(self.context());
        match header.span_context() {
            Some(remote) => context.with_remote_span_context(remote),
            None => context,
        }
    }

    fn describe<K: Source>(
        &self,
        source: &K,
        record: &K::Record,
        producer: Option<&Producer>,
        continued: bool,
        about: &About<'_>,
    ) -> SpanBuilder {
        let mut span = consumer("process", self.system, &self.destination, []).with_start_time(about.now);
        let attributes = span.attributes.get_or_insert_default();
        if let Some(id) = about.correlation {
            attributes.push(KeyValue::new("annotation.correlation_id", id.to_owned()));
        }
        attributes.push(KeyValue::new("annotation.message_id", about.id.to_owned()));
        source.describe(record, about.receive_count, attributes);
        if let Some(age) = about.age {
            attributes.push(KeyValue::new("messaging.message.age_ms", i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
        }
        if let Some(producer) = producer.and_then(Producer::trace_id) {
            // Searchable even if links are not shown.
            attributes.push(KeyValue::new("annotation.producer_trace_id", format_trace_id(producer)));
        }
        let links = if continued {
            // The batch, which links to the producers.
            vec![Link::with_context(self.context().span().span_context().clone())]
        } else {
            // One is usual, and a collected iterator would have room for four.
            let mut links = Vec::with_capacity(1);
            links.extend(producer.iter().flat_map(|producer| producer.contexts()).map(Link::with_context));
            links
        };
        span.with_links(links)
    }

    /// Ends the batch's span with the results.
    pub(super) fn end(self, failed: usize, unfinished: usize, discarded: usize) {
        {
            let span = self.span.context().span();
            let over = self.begun.load(Ordering::Relaxed).saturating_sub(self.options.budget);
            for (key, number) in [
                ("annotation.batch_failed", failed),
                ("annotation.batch_unfinished", unfinished),
                ("annotation.batch_discarded", discarded),
                ("messaging.batch.recorded_if_failed", over),
            ] {
                if number > 0 {
                    span.set_attribute(KeyValue::new(key, count(number)));
                }
            }
        }
        self.span.end(None);
    }
}

/// The span of one record, if it has one.
pub(super) enum RecordSpan {
    /// The invocation is not recorded.
    NotRecorded,
    /// No span, but the sender's context, because its trace is not sampled or the invocation is not recorded.
    WithoutSpan(Context),
    Recorded(OpenSpan),
    OverBudget(LateSpan),
}

/// The batch has used its span budget, so this span is only created if the record fails.
pub(super) struct LateSpan {
    context: Context,
    parent: Context,
    span: Option<Box<SpanBuilder>>,
}

impl LateSpan {
    fn make(&mut self) -> Option<OpenSpan> {
        Some(begin(*self.span.take()?, &self.parent))
    }
}

/// A message that has not ended is unfinished, which is a failure.
impl Drop for LateSpan {
    fn drop(&mut self) {
        drop(self.make());
    }
}

impl RecordSpan {
    /// The context for the record's work; `None` if that is the surrounding one.
    pub(super) fn context(&self) -> Option<Context> {
        match self {
            Self::NotRecorded => None,
            Self::WithoutSpan(context) => Some(context.clone()),
            Self::OverBudget(late) => Some(late.context.clone()),
            Self::Recorded(span) => Some(span.context().clone()),
        }
    }

    /// What annotates the span. Where the batch has had its spans, there is none to annotate.
    pub(super) fn annotations(&self) -> Annotations {
        Annotations(match self {
            Self::Recorded(span) => Some(span.context().clone()),
            Self::NotRecorded | Self::WithoutSpan(_) | Self::OverBudget(_) => None,
        })
    }

    pub(super) fn end(self, failure: Option<&Failure>) {
        let span = match self {
            Self::Recorded(span) => Some(span),
            Self::OverBudget(mut late) if failure.is_some() => late.make(),
            Self::OverBudget(mut late) => {
                late.span = None;
                None
            }
            Self::NotRecorded | Self::WithoutSpan(_) => None,
        };
        let Some(span) = span else { return };
        match failure {
            Some(failure) => span.end(Some((failure.error_type(), &failure.to_string()))),
            None => span.end(None),
        }
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
