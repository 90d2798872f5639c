//! Spans from before the first trace, which wait for the first invocation.

use crate::{
    Invocation,
    export::Wanted,
    invocation::{LateSpans, Slot, SpanBuffer},
};
use opentelemetry::trace::{SpanContext, TraceState};
use opentelemetry_sdk::trace::SpanData;
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

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
    drop(take());
}

/// Ends the Init phase and returns its spans; `None` after the first call.
pub(super) fn take() -> Option<Vec<SpanData>> {
    (!OVER.swap(true, Ordering::AcqRel)).then(|| buffer().close())
}

/// The same span as a child of `adopter`, in its trace, for its destinations.
pub(super) fn under(adopter: &SpanContext, wanted: Wanted, mut span: SpanData) -> SpanData {
    let own = &span.span_context;
    span.span_context = SpanContext::new(adopter.trace_id(), own.span_id(), own.trace_flags(), false, TraceState::NONE);
    span.parent_span_id = adopter.span_id();
    wanted.mark(&mut span);
    span
}

/// Spans of the Init phase that end later become children of `adopter`.
pub(super) fn adopt_late(invocation: &Invocation, adopter: SpanContext) {
    let _ = ADOPTER.set((Arc::clone(&invocation.shared().late), adopter, invocation.wanted()));
}
