//! Spans from before there was a trace: they wait for the first invocation.

use super::{
    Recorder,
    spans::{end_init, under},
};
use crate::{Environment, InitializationType, Invocation, environment};
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanBuilder, SpanId, SpanKind, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::SpanData;
use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

/// An invocation that comes later than this after init did not wait for it: the environment was made ahead of its requests.
const AHEAD: Duration = Duration::from_secs(10);

/// Hands the spans of init to the first invocation: as part of its trace where it waited for them, as a trace of their own, linked
/// both ways, where it did not. Where the first invocation is not recorded they are dropped.
pub(crate) fn adopt_init(invocation: &Invocation, context: &Context) {
    if !end_init() {
        return;
    }
    let Some(recorder) = Recorder::get() else { return };
    let orphans = recorder.spans.take_init();
    if !invocation.is_recorded() {
        return;
    }
    let Some(over) = orphans.iter().map(|span| span.end_time).max() else {
        return recorder.spans.adopt_rest_of_init(context.span().span_context().clone());
    };
    let gap = SystemTime::now().duration_since(over).unwrap_or_default();
    let ahead = gap > AHEAD || environment::kind().initialization_type == InitializationType::ProvisionedConcurrency;
    let parent = if ahead { begin_trace_of_init(recorder, invocation, context, &orphans, over) } else { context.clone() };
    let adopter = parent.span().span_context().clone();
    recorder.spans.adopt_rest_of_init(adopter.clone());
    // A parent that is still open may never end: nothing hangs on it.
    let ended: HashSet<SpanId> = orphans.iter().map(|span| span.span_context.span_id()).collect();
    for span in orphans {
        let parent = Some(span.parent_span_id).filter(|parent| ended.contains(parent));
        let mut span = under(&adopter, span);
        span.parent_span_id = parent.unwrap_or(span.parent_span_id);
        invocation.spans().adopt(span);
    }
}

/// A segment for init, in a trace of its own.
fn begin_trace_of_init(
    recorder: &Recorder,
    invocation: &Invocation,
    context: &Context,
    orphans: &[SpanData],
    over: SystemTime,
) -> Context {
    let began = orphans.iter().map(|span| span.start_time).min().unwrap_or(over);
    let link = KeyValue::new("link.kind", "first_invocation");
    let first = opentelemetry::trace::Link::new(context.span().span_context().clone(), vec![link], 0);
    let span = SpanBuilder::from_name(format!("{} init", Environment::current().function_name))
        .with_kind(SpanKind::Internal)
        .with_start_time(began)
        .with_links(vec![first]);
    // No span in this context, so the SDK begins a trace; the invocation in it, so the span is kept.
    let apart = Context::new().with_value(invocation.clone());
    let apart = apart.with_span(recorder.tracer.build_with_context(span, &apart));
    apart.span().end_with_timestamp(over);
    context.span().add_link(apart.span().span_context().clone(), vec![KeyValue::new("link.kind", "init")]);
    apart
}
