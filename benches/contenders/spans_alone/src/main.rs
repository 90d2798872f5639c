//! One event at a time.

use lambda_runtime::{Error, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    spans_alone::subscribe()?;
    run(service_fn(work::handle)).await
}
