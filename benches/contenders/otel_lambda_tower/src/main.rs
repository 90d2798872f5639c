//! `opentelemetry-lambda-tower` as its README shows it: a layer around the handler, with an extractor for events it does not know and a tracer
//! provider to flush. Its README leaves the exporter to the user: here the one of the OpenTelemetry layer's contender.

use lambda_runtime::{Context as LambdaContext, Error, run, service_fn};
use opentelemetry::{Context, trace::TracerProvider};
use opentelemetry_lambda_tower::{OtelTracingLayer, TraceContextExtractor};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SdkTracerProvider;
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceBuilder;
use tracing::Span;
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

#[derive(Clone)]
struct OrderExtractor;

impl TraceContextExtractor<Value> for OrderExtractor {
    fn extract_context(&self, _: &Value) -> Context {
        Context::current()
    }

    fn trigger_type(&self) -> &'static str {
        "other"
    }

    fn span_name(&self, _: &Value, context: &LambdaContext) -> String {
        format!("{} invoke", context.env_config.function_name)
    }

    fn record_attributes(&self, _: &Value, _: &Span) {}
}

// The exporter's blocking client may not be made on an executor's thread.
fn provider() -> Result<SdkTracerProvider, Error> {
    let exporter = std::thread::spawn(|| SpanExporter::builder().with_http().build());
    let exporter = exporter.join().map_err(|_| "the exporter's builder panicked")??;
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).build())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let provider = provider()?;
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("contender")).with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(spans).try_init()?;
    let layer = OtelTracingLayer::builder(OrderExtractor).tracer_provider(Arc::new(provider)).build();
    run(ServiceBuilder::new().layer(layer).service(service_fn(work::handle))).await
}
