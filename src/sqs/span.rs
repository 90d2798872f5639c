//! Spans of a batch: one for the batch with a link per producer, one per message with its own.

use super::event::SqsRecord;
use crate::{Invocation, trace::Recorder};
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer},
};
use std::{collections::HashSet, time::SystemTime};

/// Links one X-Ray segment takes.
const MAX_LINKS: usize = 20;

/// A span that ends as cancelled when nobody ends it: the handler was dropped at the deadline.
pub(super) struct OpenSpan(Option<Context>);

impl OpenSpan {
    /// The context to run the work in; the surrounding one where nothing is recorded.
    pub(super) fn context(&self) -> Context {
        self.0.clone().unwrap_or_else(Context::current)
    }

    pub(super) fn end(mut self, failure: Option<(&str, &str)>) {
        if let Some(context) = self.0.take() {
            end(&context, failure);
        }
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(context) = self.0.take() {
            end(&context, Some(("Lifecycle.Cancelled", "not finished before the deadline")));
        }
    }
}

fn end(context: &Context, failure: Option<(&str, &str)>) {
    let span = context.span();
    if let Some((kind, message)) = failure {
        span.add_event(
            "exception",
            vec![KeyValue::new("exception.type", kind.to_owned()), KeyValue::new("exception.message", message.to_owned())],
        );
        span.set_status(Status::error(kind.to_owned()));
    }
    span.end();
}

/// The span of a batch, with one link per distinct producer.
pub(super) fn begin_batch(invocation: &Invocation, records: &[SqsRecord]) -> OpenSpan {
    if !invocation.is_recorded() {
        return OpenSpan(None);
    }
    let queue = records.first().map_or("", SqsRecord::queue);
    let mut seen = HashSet::new();
    let links: Vec<Link> = records
        .iter()
        .filter_map(producer)
        .filter(|producer| seen.insert((producer.trace_id(), producer.span_id())))
        .take(MAX_LINKS)
        .map(Link::with_context)
        .collect();
    let span =
        SpanBuilder::from_name(format!("process {queue}")).with_kind(SpanKind::Consumer).with_links(links).with_attributes([
            KeyValue::new("messaging.system", "aws_sqs"),
            KeyValue::new("messaging.operation.type", "process"),
            KeyValue::new("messaging.destination.name", queue.to_owned()),
            KeyValue::new("messaging.batch.message_count", i64::try_from(records.len()).unwrap_or(i64::MAX)),
        ]);
    begin(span)
}

/// The span of one message, a child of the batch's.
pub(super) fn begin_message(invocation: &Invocation, record: &SqsRecord) -> OpenSpan {
    if !invocation.is_recorded() {
        return OpenSpan(None);
    }
    let producer = producer(record);
    let mut attributes = vec![
        KeyValue::new("messaging.system", "aws_sqs"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.destination.name", record.queue().to_owned()),
        KeyValue::new("messaging.message.id", record.message_id.clone()),
        KeyValue::new("annotation.message_id", record.message_id.clone()),
        KeyValue::new("messaging.message.receive_count", i64::from(record.receive_count())),
    ];
    if let Some(age) = record.age(SystemTime::now()) {
        attributes.push(KeyValue::new("messaging.message.age_ms", i64::try_from(age.as_millis()).unwrap_or(i64::MAX)));
    }
    if let Some(producer) = &producer {
        // Searchable where links do not render.
        attributes.push(KeyValue::new("annotation.producer_trace_id", crate::xray::format_trace_id(producer.trace_id())));
    }
    let span = SpanBuilder::from_name("process")
        .with_kind(SpanKind::Consumer)
        .with_links(producer.into_iter().map(Link::with_context).collect())
        .with_attributes(attributes);
    begin(span)
}

fn begin(span: SpanBuilder) -> OpenSpan {
    let parent = Context::current();
    let span = Recorder::start().tracer.build_with_context(span, &parent);
    OpenSpan(Some(parent.with_span(span)))
}

/// The call that sent the message. Never the surrounding span: a message without a header has no producer to link to.
fn producer(record: &SqsRecord) -> Option<SpanContext> {
    record.trace_header()?.span_context()
}
