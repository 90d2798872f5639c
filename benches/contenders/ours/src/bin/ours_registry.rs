//! All four stages with a registry of `tracing_subscriber` and the library's layer, in place of the subscriber that the library sets: what that saves.

use lambda_lifecycle::{
    Error, Lifecycle, service_fn,
    tracing_subscriber::{layer::SubscriberExt, registry, util::SubscriberInitExt},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    registry().with(Lifecycle::tracing_layer()).init();
    Lifecycle::from_env().run(service_fn(work::handle)).await
}
