//! `lambda_runtime` alone, as many events at a time as the environment asks for, on tokio's default runtime.

use lambda_runtime::{Error, run_concurrent, service_fn};

#[tokio::main]
async fn main() -> Result<(), Error> {
    run_concurrent(service_fn(work::handle_and_wait)).await
}
