//! As `ours`, on Tokio's local runtime: the program then contains no scheduler of several threads, and needs no `libm`.

use lambda_lifecycle::{Error, Lifecycle, service_fn};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    Lifecycle::from_env().run(service_fn(work::handle)).await
}
