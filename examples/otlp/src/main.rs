//! A function whose spans go to an OpenTelemetry collector, or to any backend that takes OTLP.
//!
//! `OTEL_EXPORTER_OTLP_ENDPOINT` names the backend: `http://localhost:4318`, where an extension with a collector listens, is the default. A vendor's
//! key goes into `OTEL_EXPORTER_OTLP_HEADERS`. `docs/exporters.md` has the recipes.

use lambda_lifecycle::{Error, Export, LambdaEvent, Lifecycle, service_fn};
use opentelemetry_otlp::SpanExporter;
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let exporter = SpanExporter::builder().with_http().build()?;
    let life = Lifecycle::builder()
        // Without this line the spans that Lambda samples go to X-Ray as well.
        .export(Export::None)
        .exporter(exporter)
        .resource_attribute("service.namespace", "shop")
        .build();
    life.run_concurrent(service_fn(quote)).await
}

async fn quote(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let sku = event.payload["sku"].as_str().ok_or("the event has no `sku`")?;
    Ok(json!({ "sku": sku, "price": price(sku).await }))
}

#[tracing::instrument(skip_all)]
async fn price(sku: &str) -> usize {
    sku.len() * 100
}
