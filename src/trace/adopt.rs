//! Gives the spans of the Init phase to the first invocation.

use super::{
    init_spans::{self, under},
    tracer::TRACER,
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

/// An invocation that comes more than this time after the Init phase did not wait for it: the environment was created ahead of
/// its requests.
const AHEAD: Duration = Duration::from_secs(10);

/// Gives the spans of the Init phase to the first invocation. They become part of its trace if it waited for them. Otherwise they
/// become a separate trace, linked both ways. If the first invocation is not recorded, they are dropped.
pub(crate) fn adopt_init(invocation: &Invocation, context: &Context) {
    let Some(orphans) = init_spans::take() else { return };
    if !invocation.is_recorded() {
        return;
    }
    let Some(over) = orphans.iter().map(|span| span.end_time).max() else {
        return init_spans::adopt_late(invocation, context.span().span_context().clone());
    };
    let gap = SystemTime::now().duration_since(over).unwrap_or_default();
    let made_ahead = matches!(
        environment::kind().initialization_type,
        InitializationType::ProvisionedConcurrency | InitializationType::SnapStart
    );
    let ahead = gap > AHEAD || made_ahead;
    let parent = if ahead { begin_trace_of_init(invocation, context, &orphans, over) } else { context.clone() };
    let adopter = parent.span().span_context().clone();
    init_spans::adopt_late(invocation, adopter.clone());
    // A parent that is still open may never end, so its children get another parent.
    let ended: HashSet<SpanId> = orphans.iter().map(|span| span.span_context.span_id()).collect();
    for span in orphans {
        let parent = Some(span.parent_span_id).filter(|parent| ended.contains(parent));
        let mut span = under(&adopter, invocation.wanted(), span);
        span.parent_span_id = parent.unwrap_or(span.parent_span_id);
        invocation.spans().adopt(span);
    }
}

/// A segment for the Init phase, in a separate trace.
fn begin_trace_of_init(invocation: &Invocation, context: &Context, orphans: &[SpanData], over: SystemTime) -> Context {
    let began = orphans.iter().map(|span| span.start_time).min().unwrap_or(over);
    let link = KeyValue::new("link.kind", "first_invocation");
    let first = opentelemetry::trace::Link::new(context.span().span_context().clone(), vec![link], 0);
    let span = SpanBuilder::from_name(format!("{} init", Environment::current().function_name))
        .with_kind(SpanKind::Internal)
        .with_start_time(began)
        .with_links(vec![first]);
    // The context has no span, so the SDK starts a trace. It has the invocation, so the span is stored.
    let apart = Context::new().with_value(invocation.clone());
    let apart = apart.with_span(TRACER.build_with_context(span, &apart));
    apart.span().end_with_timestamp(over);
    context.span().add_link(apart.span().span_context().clone(), vec![KeyValue::new("link.kind", "init")]);
    apart
}
