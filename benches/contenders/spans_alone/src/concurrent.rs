//! As many events at a time as the environment asks for, on tokio's default runtime.

use lambda_runtime::{Error, run_concurrent, service_fn};

#[tokio::main]
async fn main() -> Result<(), Error> {
    spans_alone::subscribe()?;
    run_concurrent(service_fn(work::handle_and_wait)).await
}
