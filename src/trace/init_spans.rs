//! Spans from before the first trace, which wait for the first invocation.

use super::tracer::TRACER;
use crate::{
    Environment, InitializationType, Invocation, environment,
    export::Wanted,
    invocation::{LateSpans, Slot, SpanBuffer},
};
use opentelemetry::{
    Context, KeyValue,
    trace::{SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt, TraceState, Tracer},
};
use opentelemetry_sdk::trace::SpanData;
use std::{
    collections::HashSet,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// An invocation that comes more than this time after the Init phase did not wait for it: the environment was created ahead of
/// its requests.
const AHEAD: Duration = Duration::from_secs(10);

static OVER: AtomicBool = AtomicBool::new(false);

/// The destination and the parent of Init spans that end after the phase.
static ADOPTER: OnceLock<(Arc<LateSpans>, SpanContext, Wanted)> = OnceLock::new();

/// True until the first invocation.
pub(crate) fn is_in_init() -> bool {
    !OVER.load(Ordering::Acquire)
}

/// The spans of the Init phase of this process.
fn buffer() -> &'static SpanBuffer {
    static SPANS: OnceLock<SpanBuffer> = OnceLock::new();
    SPANS.get_or_init(SpanBuffer::default)
}

/// Stores a span that starts in the Init phase.
pub(super) fn open(span: SpanData) -> Slot {
    buffer().open(span, |_| None).0
}

/// Stores a span of the Init phase that ends later. Without an adopter it is dropped.
pub(super) fn keep_late(span: SpanData) {
    if let Some((late, adopter, wanted)) = ADOPTER.get() {
        late.keep(under(adopter, *wanted, span));
    }
}

/// Ends the Init phase if no layer traces, because its spans would wait forever.
pub(crate) fn discard_init() {
    if !OVER.swap(true, Ordering::AcqRel) {
        drop(buffer().close());
    }
}

fn adopt_rest(invocation: &Invocation, adopter: SpanContext) {
    let _ = ADOPTER.set((Arc::clone(&invocation.shared().late), adopter, invocation.wanted()));
}

/// The same span as a child of `adopter`, in its trace, for its destinations.
fn under(adopter: &SpanContext, wanted: Wanted, mut span: SpanData) -> SpanData {
    let own = &span.span_context;
    span.span_context = SpanContext::new(adopter.trace_id(), own.span_id(), own.trace_flags(), false, TraceState::NONE);
    span.parent_span_id = adopter.span_id();
    wanted.mark(&mut span);
    span
}

/// Gives the spans of the Init phase to the first invocation. They become part of its trace if it waited for them. Otherwise they
/// become a separate trace, linked both ways. If the first invocation is not recorded, they are dropped.
pub(crate) fn adopt_init(invocation: &Invocation, context: &Context) {
    if OVER.swap(true, Ordering::AcqRel) {
        return;
    }
    let orphans = buffer().close();
    if !invocation.is_recorded() {
        return;
    }
    let Some(over) = orphans.iter().map(|span| span.end_time).max() else {
        return adopt_rest(invocation, context.span().span_context().clone());
    };
    let gap = SystemTime::now().duration_since(over).unwrap_or_default();
    let made_ahead = matches!(
        environment::kind().initialization_type,
        InitializationType::ProvisionedConcurrency | InitializationType::SnapStart
    );
    let ahead = gap > AHEAD || made_ahead;
    let parent = if ahead { begin_trace_of_init(invocation, context, &orphans, over) } else { context.clone() };
    let adopter = parent.span().span_context().clone();
    adopt_rest(invocation, adopter.clone());
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
