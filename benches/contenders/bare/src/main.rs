//! `lambda_runtime` and nothing else: no log, no trace.

use lambda_runtime::{Error, run, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(work::handle)).await
}
