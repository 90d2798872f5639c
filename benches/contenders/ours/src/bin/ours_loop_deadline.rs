//! The library's loop and the layer around the handler: deadline, watchdog, and a response for every outcome. No subscriber.

use lambda_lifecycle::{Error, runtime::Runtime, service::HandlerLayer, service_fn, tower::Layer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    Runtime::new(HandlerLayer::new().layer(service_fn(work::handle)))?.run().await
}
