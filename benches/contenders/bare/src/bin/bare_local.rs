//! As `bare`, on Tokio's local runtime: the program then contains no scheduler of several threads, and needs no `libm`.

use lambda_runtime::{Error, run, service_fn};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    run(service_fn(work::handle)).await
}
