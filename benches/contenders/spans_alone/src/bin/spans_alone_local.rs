//! As `spans_alone`, on Tokio's local runtime.

use lambda_runtime::{Error, run, service_fn};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    spans_alone::subscribe()?;
    run(service_fn(work::handle)).await
}
