//! All four stages, as many events at a time as the environment asks for, on tokio's default runtime.

use lambda_lifecycle::{Error, Lifecycle, service_fn};

#[tokio::main]
async fn main() -> Result<(), Error> {
    Lifecycle::from_env().run_concurrent(service_fn(work::handle_and_wait)).await
}
