//! `awssdk-instrumentation` with its default features, wired as its README expands `make_lambda_runtime!`: the macro's own `main` would be
//! multi-threaded. Without SDK clients, which no contender has.

use awssdk_instrumentation::{
    init::default_telemetry_init,
    lambda::{
        LambdaError,
        lambda_runtime::{Runtime, service_fn},
        layer::{DefaultTracingLayer, OTelFaasTrigger},
        macros::default_flush_tracer,
    },
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), LambdaError> {
    let provider = default_telemetry_init();
    let layer = DefaultTracingLayer::new(move || default_flush_tracer(&provider)).with_trigger(OTelFaasTrigger::Other);
    Runtime::new(service_fn(work::handle)).layer(layer).run().await
}
