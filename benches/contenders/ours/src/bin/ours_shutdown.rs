//! All four stages and a shutdown hook, for which an extension is registered.

use lambda_lifecycle::{Error, Lifecycle, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    Lifecycle::builder().on_shutdown(async || {}).build().run(service_fn(work::handle)).await
}
