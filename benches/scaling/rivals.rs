//! The rivals' own layers, as their documentation sets them up. Their queues hold 2,048 spans and drop what is more: here they hold all.

use lambda_otel_lite::{LambdaSpanProcessor, OtelTracingLayer, ProcessorMode, TelemetryConfig, init_telemetry};
use lambda_runtime::{Error, layers::OpenTelemetryLayer};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

const QUEUE: usize = 65_536;

/// `lambda-otel-lite` reads its level and its queue's length from the environment.
pub(crate) const LITE: &[(&str, &str)] = &[("RUST_LOG", "info"), ("LAMBDA_SPAN_PROCESSOR_QUEUE_SIZE", "65536")];

static DISCARDED: AtomicU64 = AtomicU64::new(0);

/// The number of discarded spans.
pub(crate) fn discarded() -> u64 {
    DISCARDED.load(Relaxed)
}

/// Discards spans, so that a rival's cost does not include its exporter's.
#[derive(Debug)]
pub(crate) struct Discard;

impl opentelemetry_sdk::trace::SpanExporter for Discard {
    async fn export(&self, spans: Vec<opentelemetry_sdk::trace::SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        DISCARDED.fetch_add(spans.len() as u64, Relaxed);
        Ok(())
    }
}

impl opentelemetry_sdk_of_lite::trace::SpanExporter for Discard {
    async fn export(
        &self,
        spans: Vec<opentelemetry_sdk_of_lite::trace::SpanData>,
    ) -> opentelemetry_sdk_of_lite::error::OTelSdkResult {
        DISCARDED.fetch_add(spans.len() as u64, Relaxed);
        Ok(())
    }
}

/// `lambda_runtime`'s layer over tracing-opentelemetry, flushed after each response.
pub(crate) fn layer(batch: bool) -> Result<OpenTelemetryLayer<impl Fn() + Clone>, Error> {
    let provider = if batch {
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).build();
        let processor = BatchSpanProcessor::builder(Discard).with_batch_config(config).build();
        SdkTracerProvider::builder().with_span_processor(processor).build()
    } else {
        SdkTracerProvider::builder().with_simple_exporter(Discard).build()
    };
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("scaling")).with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(spans).try_init()?;
    Ok(OpenTelemetryLayer::new(move || {
        if let Err(error) = provider.force_flush() {
            eprintln!("not exported: {error}");
        }
    }))
}

/// `lambda-otel-lite`'s layer in its default mode, which exports before the response.
pub(crate) async fn lite(discard: bool) -> Result<OtelTracingLayer<Value>, Error> {
    let config = TelemetryConfig::builder().processor_mode(ProcessorMode::Sync);
    let config = if discard {
        config.with_span_processor(LambdaSpanProcessor::builder().exporter(Discard).build()).build()
    } else {
        config.build()
    };
    let (_, completion) = init_telemetry(config).await?;
    Ok(OtelTracingLayer::new(completion))
}
