//! The library's loop and both layers: as `ours_loop_deadline`, with the trace of invocations and work after the response. No subscriber, so no span of
//! the function is recorded.

use lambda_lifecycle::{
    Error,
    runtime::Runtime,
    service::{HandlerLayer, RuntimeLayer},
    service_fn,
    tower::Layer,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    Runtime::new(HandlerLayer::new().layer(service_fn(work::handle)))?.layer(RuntimeLayer::new()).run().await
}
