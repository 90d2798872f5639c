//! `lambda-otel-lite` as its documentation shows it: OTLP as lines on standard output, exported before the response (its default,
//! `sync`).

use lambda_otel_lite::{TelemetryConfig, create_traced_handler, init_telemetry};
use lambda_runtime::{Error, Runtime, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (_, completion) = init_telemetry(TelemetryConfig::default()).await?;
    Runtime::new(service_fn(create_traced_handler("handler", completion, work::handle))).run().await
}
