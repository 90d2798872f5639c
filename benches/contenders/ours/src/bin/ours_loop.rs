//! The library's loop alone, in place of `lambda_runtime`'s: no layer, no subscriber.

use lambda_lifecycle::{Error, runtime::Runtime, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    Runtime::new(service_fn(work::handle))?.run().await
}
