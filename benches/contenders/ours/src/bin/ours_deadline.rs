//! Stage 2 alone: the layer around the handler, which cancels it, responds early, and turns every outcome into a response.

use lambda_lifecycle::{Error, Lifecycle, service::HandlerLayer, service_fn};
use lambda_runtime::{Runtime, tower::Layer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let _life = Lifecycle::builder().log(false).trace(false).build();
    Runtime::new(HandlerLayer::new().layer(service_fn(work::handle))).run().await
}
