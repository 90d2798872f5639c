//! Reports of invocations that will not end by themselves: their handler blocks its thread, or the environment ends.

use super::{Recorder, delivery};
use crate::Invocation;
use opentelemetry::{
    KeyValue,
    trace::{Event, SpanId, SpanKind, Status},
};
use opentelemetry_sdk::trace::SpanData;
use std::time::SystemTime;

/// Sends the invocation's documents: the finished ones as they are, the open ones as faults that end now. None of them is sent
/// again should the handler give way after all.
pub(crate) fn report_blocked(invocation: &Invocation) {
    let Some(recorder) = Recorder::get() else { return };
    let mut open = recorder.spans.take_open_of(invocation);
    let culprit = open.iter().max_by_key(|span| span.start_time).map(|span| (span.span_context.span_id(), span.name.clone()));
    let Some((culprit, name)) = culprit else { return };
    tracing::error!(
        request_id = invocation.request_id(),
        "the handler blocks its thread past the deadline, in {name:?}: use spawn_blocking, and give way with an await"
    );
    let now = SystemTime::now();
    for span in &mut open {
        end_as_fault(span, culprit, &name, now);
    }
    let finished = invocation.spans().take();
    delivery::deliver_now(Some(invocation), &finished, &open);
}

/// Sends what is known of the invocations that the end of the environment cuts off: the finished spans as they are, the open ones as
/// faults that end now.
pub(crate) fn report_shutdown() {
    let Some(recorder) = Recorder::get() else { return };
    let (mut open, finished) = recorder.spans.take_all_open();
    let now = SystemTime::now();
    for span in &mut open {
        span.end_time = now;
        span.status = Status::error("shut down");
        if span.span_kind == SpanKind::Server && span.parent_span_is_remote {
            span.attributes.push(KeyValue::new("annotation.outcome", "shut_down"));
            let message = "the platform ended the environment while the invocation was under way";
            let attributes =
                vec![KeyValue::new("exception.type", "Lifecycle.ShutDown"), KeyValue::new("exception.message", message)];
            span.events.events.push(Event::new("exception", now, attributes, 0));
        }
    }
    delivery::deliver_now(None, &finished, &open);
}

fn end_as_fault(span: &mut SpanData, culprit: SpanId, name: &str, now: SystemTime) {
    span.end_time = now;
    span.status = Status::error("timed out");
    let is_culprit = span.span_context.span_id() == culprit;
    let is_invocation = span.span_kind == SpanKind::Server && span.parent_span_is_remote;
    if is_invocation {
        span.attributes.push(KeyValue::new("annotation.outcome", "blocked"));
    }
    if is_culprit || is_invocation {
        let message = format!("timed out: the thread is blocked in {name}");
        let attributes = vec![KeyValue::new("exception.type", "Lifecycle.Blocked"), KeyValue::new("exception.message", message)];
        span.events.events.push(Event::new("exception", now, attributes, 0));
    }
}
