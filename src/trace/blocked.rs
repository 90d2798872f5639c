//! Reports of invocations that will not end by themselves: their handler blocks its thread, or the environment ends.

use super::{Recorder, delivery, exception};
use crate::{Invocation, invocation::Own};
use opentelemetry::{
    KeyValue,
    trace::{Event, Status},
};
use opentelemetry_sdk::trace::SpanData;
use std::time::SystemTime;

/// Sends the invocation's documents: the finished ones as they are, the open ones as faults that end now. None of them is sent
/// again should the handler give way after all.
pub(crate) fn report_blocked(invocation: &Invocation) {
    let (own, mut open) = invocation.spans().take_open();
    let culprit = open.iter().max_by_key(|span| span.start_time).map(|span| (span.span_context.span_id(), span.name.clone()));
    let Some((culprit, name)) = culprit else { return };
    tracing::error!(
        request_id = invocation.request_id(),
        "the handler blocks its thread past the deadline, in {name:?}: use spawn_blocking, and give way with an await"
    );
    let told = ("Lifecycle.Blocked", format!("timed out: the thread is blocked in {name}"));
    for span in &mut open {
        let is_culprit = span.span_context.span_id() == culprit;
        end_as_fault(span, own.as_ref(), "timed out", "blocked", &told, is_culprit);
    }
    // The open ones first: they tell what happened.
    open.append(&mut invocation.spans().take());
    delivery::deliver_now(own.as_ref(), open);
}

/// Sends what is known of the invocations that the end of the environment cuts off: the finished spans as they are, the open ones as
/// faults that end now. And what has ended after its invocation, for no other comes to send it.
pub(crate) fn report_shutdown() {
    let Some(recorder) = Recorder::get() else { return };
    let told = ("Lifecycle.ShutDown", "the platform ended the environment while the invocation was under way".to_owned());
    for (own, mut open, mut finished) in recorder.spans.take_all_open() {
        for span in &mut open {
            end_as_fault(span, own.as_ref(), "shut down", "shut_down", &told, false);
        }
        open.append(&mut finished);
        delivery::deliver_now(own.as_ref(), open);
    }
    delivery::deliver_now(None, recorder.spans.take_late());
}

/// Ends a span now. The invocation's own says how, and it and the culprit say why.
fn end_as_fault(
    span: &mut SpanData,
    own: Option<&Own>,
    status: &'static str,
    outcome: &'static str,
    told: &(&'static str, String),
    is_culprit: bool,
) {
    span.end_time = SystemTime::now();
    span.status = Status::error(status);
    let is_invocation = own.is_some_and(|own| own.id == span.span_context.span_id());
    if is_invocation {
        span.attributes.push(KeyValue::new("annotation.outcome", outcome));
    }
    if is_invocation || is_culprit {
        let (kind, message) = told;
        span.events.events.push(Event::new("exception", span.end_time, exception(*kind, message.clone()), 0));
    }
}
