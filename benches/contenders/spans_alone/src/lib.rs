//! `lambda_runtime` and tracing-opentelemetry's layer, whose spans are dropped as soon as they end: ten of the handler for each invocation.
//! No program that turns the spans of `tracing` into those of OpenTelemetry with this layer and OpenTelemetry's SDK can cost less.

use lambda_runtime::Error;
use opentelemetry::{Context, trace::TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use std::time::Duration;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

#[derive(Debug)]
struct Dropping;

impl SpanProcessor for Dropping {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        drop(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sets the subscriber, with a layer that adds no attributes.
pub fn subscribe() -> Result<(), Error> {
    let provider = SdkTracerProvider::builder().with_span_processor(Dropping).build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("contender"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    // For all layers, as a filter of this one alone would cost each span more. lambda_runtime's span around each invocation would be an
    // eleventh one.
    let wanted = Targets::new().with_target("work", LevelFilter::INFO);
    tracing_subscriber::registry().with(spans).with(wanted).try_init()?;
    Ok(())
}
