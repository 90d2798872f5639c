//! `lambda_runtime` with its own default log, which is JSON under `AWS_LAMBDA_LOG_FORMAT=JSON`.

use lambda_runtime::{Error, run, service_fn, tracing};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing::init_default_subscriber();
    run(service_fn(work::handle)).await
}
