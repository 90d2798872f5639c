//! The log as a layer for the user's subscriber.

use super::{Log, Scope, from_env, is_own, scope};
use crate::settings::Settings;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tracing::{
    Event, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
    registry::LookupSpan,
};

static LAYER_TAKEN: AtomicBool = AtomicBool::new(false);

pub(crate) fn layer_is_taken() -> bool {
    LAYER_TAKEN.load(Ordering::Relaxed)
}

/// The log layer, for the user's subscriber. Invalid settings are logged when the lifecycle is built.
pub(crate) fn layer<S>() -> impl Layer<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    LAYER_TAKEN.store(true, Ordering::Relaxed);
    let mut settings = Settings::default();
    settings.read_env();
    let log = Arc::new(from_env(&settings).0);
    LogLayer(Arc::clone(&log)).with_filter(LogFilter(log))
}

struct LogLayer(Arc<Log>);

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            scope::keep(&span, attributes, true);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            scope::record(&span, values);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let normalized = super::normalized(event);
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        self.0.event(event, metadata, || Scope::of(context.event_span(event).as_ref()));
    }
}

/// The events and spans of the log, regardless of other layers.
struct LogFilter(Arc<Log>);

impl LogFilter {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let Self(log) = self;
        // The library's span around an invocation connects its lines to the invocation.
        log.wants(metadata) || log.keeps(metadata) || (metadata.is_span() && is_own(metadata))
    }
}

impl<S> Filter<S> for LogFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The library's span has the level of an error.
        Some(self.0.max_level().max(LevelFilter::ERROR))
    }
}
