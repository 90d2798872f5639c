//! Stage 1 alone: an initializer in the Init phase. `lambda_runtime` serves the events.

use lambda_lifecycle::{Error, Lifecycle, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::builder().log(false).trace(false).build();
    life.init("table", async { Ok::<_, Error>(()) }).await?;
    lambda_runtime::run(service_fn(work::handle)).await
}
