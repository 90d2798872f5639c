//! `lambda_runtime`'s own OpenTelemetry layer with OTLP over HTTP to a collector on this machine, flushed after each response.

use lambda_runtime::{
    Error, Runtime,
    layers::{OpenTelemetryFaasTrigger, OpenTelemetryLayer},
    service_fn,
};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{Layer, filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

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
    let layer = OpenTelemetryLayer::new(move || {
        if let Err(error) = provider.force_flush() {
            eprintln!("not exported: {error}");
        }
    })
    .with_trigger(OpenTelemetryFaasTrigger::Other);
    Runtime::new(service_fn(work::handle)).layer(layer).run().await
}
