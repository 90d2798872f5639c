//! The `tracing` layer that records spans.

use super::{
    errors::ErrorsWithoutSpan,
    filter::RecordingFilter,
    replay,
    tracer::{Span, TRACER},
};
use crate::{Invocation, context};
use opentelemetry::{
    Context,
    trace::{SpanBuilder, TraceContextExt, Tracer},
};
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{
    Subscriber,
    span::{Attributes, Id},
};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{
    Layer, Registry,
    layer::{Layered, SubscriberExt},
    registry::LookupSpan,
};

static LAYER_TAKEN: AtomicBool = AtomicBool::new(false);

/// Stores the spans of the [default subscriber](crate::subscriber), which has filtered them, and records them.
pub(crate) type SpanRegistry = Layered<OpenTelemetryLayer<Registry, Rooted>, Registry>;

pub(crate) fn span_registry() -> SpanRegistry {
    tracing_subscriber::registry().with(recording())
}

/// Creates a span that is not recorded.
pub(crate) fn unrecorded(spans: &SpanRegistry, attributes: &Attributes<'_>) -> Id {
    let spans: &dyn Subscriber = spans;
    match spans.downcast_ref::<Registry>() {
        Some(registry) => registry.new_span(attributes),
        None => spans.new_span(attributes),
    }
}

/// The recording layer, for the user's subscriber.
pub(crate) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    LAYER_TAKEN.store(true, Ordering::Relaxed);
    recording().and_then(ErrorsWithoutSpan).with_filter(RecordingFilter::new())
}

fn recording<S>() -> OpenTelemetryLayer<S, Rooted>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    tracing_opentelemetry::layer()
        .with_tracer(Rooted)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
}

/// A tracer that makes root spans children of the active span. `parent: Span::current()` creates a root span when `tracing` has
/// no current span, as in a handler that is not instrumented, because the invocation's span is OpenTelemetry's.
#[derive(Clone, Debug)]
pub(crate) struct Rooted;

impl Tracer for Rooted {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        let current;
        let (parent, invocation) = match parent.get::<Invocation>() {
            None if !parent.has_active_span() => {
                current = context::current();
                (&current, current.get::<Invocation>())
            }
            invocation => (parent, invocation),
        };
        if replay::concerns(&builder) {
            return replay::build(builder, parent, invocation);
        }
        TRACER.build(builder, parent, invocation)
    }
}

pub(crate) fn layer_is_taken() -> bool {
    LAYER_TAKEN.load(Ordering::Relaxed)
}
