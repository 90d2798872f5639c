//! Spans of durable executions. Their handler runs again from its start each time it is resumed, and its spans of the replay are
//! left out, because an earlier invocation has recorded them.
//!
//! A span that is left out has the id of the recorded span around it, so what is recorded inside of it has a parent.

use super::tracer::{Span, TRACER};
use crate::{
    Invocation, context,
    durable::{self, EXECUTION, IS_REPLAY, OPERATION, REQUEST_ID},
    invocation::EXECUTIONS,
};
use opentelemetry::{
    Context, Value,
    trace::{Span as _, SpanBuilder, TraceContextExt, Tracer},
};

/// True if a span of the SDK may belong to an invocation that its task does not show.
pub(super) fn may_adopt(target: &str) -> bool {
    !EXECUTIONS.is_empty() && durable::is_of_sdk(target)
}

/// False for a span that no durable execution concerns, which takes the comparison of a length and one load.
#[inline]
pub(super) fn concerns(builder: &SpanBuilder) -> bool {
    const { assert!(EXECUTION.len() == OPERATION.len()) };
    builder.name.len() == EXECUTION.len() || !EXECUTIONS.is_empty()
}

/// Creates a span of `tracing` that may be of a durable execution.
#[cold]
pub(super) fn build(builder: SpanBuilder, parent: &Context, invocation: Option<&Invocation>) -> Span {
    let of_sdk = builder.name == EXECUTION || builder.name == OPERATION;
    if of_sdk && let Some(replays) = flag(&builder) {
        return build_of_sdk(builder, parent, replays);
    }
    if !EXECUTIONS.is_empty() {
        let around = parent.span().span_context().clone();
        if EXECUTIONS.of_span(around.span_id()).is_some_and(|execution| execution.replays()) {
            return Span::left_out(around);
        }
    }
    TRACER.build(builder, parent, invocation)
}

fn build_of_sdk(builder: SpanBuilder, parent: &Context, replays: bool) -> Span {
    let request_id = text(&builder, REQUEST_ID).unwrap_or_default();
    let adopted = if belongs(parent) { None } else { adopt(&request_id) };
    let parent = adopted.as_ref().unwrap_or(parent);
    let is_execution = builder.name == EXECUTION;
    let mut span = TRACER.build_with_context(builder, parent);
    let invocation = parent.get::<Invocation>().cloned().or_else(Invocation::try_current);
    if is_execution && let Some(invocation) = invocation.filter(Invocation::is_recorded) {
        let context = span.span_context().clone();
        span.set_execution(EXECUTIONS.open(invocation.downgrade(), context, request_id, replays));
    }
    span
}

fn belongs(parent: &Context) -> bool {
    parent.get::<Invocation>().is_some() || parent.has_active_span()
}

/// The context of the invocation with this request id, in the span of its handler.
fn adopt(request_id: &str) -> Option<Context> {
    let current = context::current();
    if belongs(&current) {
        return Some(current);
    }
    let (execution, invocation) = EXECUTIONS.of_request(request_id)?;
    Some(invocation.upgrade()?.context_without_span().with_remote_span_context(execution.context.clone()))
}

fn flag(builder: &SpanBuilder) -> Option<bool> {
    match value(builder, IS_REPLAY)? {
        Value::Bool(replays) => Some(*replays),
        _ => None,
    }
}

fn text(builder: &SpanBuilder, key: &str) -> Option<String> {
    match value(builder, key)? {
        Value::String(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn value<'b>(builder: &'b SpanBuilder, key: &str) -> Option<&'b Value> {
    // A value that was recorded before the span began comes after the first one.
    let mut attributes = builder.attributes.as_deref().unwrap_or_default().iter();
    attributes.rfind(|attribute| attribute.key.as_str() == key).map(|attribute| &attribute.value)
}
