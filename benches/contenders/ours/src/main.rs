//! All four stages with their defaults; spans go to the X-Ray daemon. `LAMBDA_LIFECYCLE_LOG` and `AWS_LAMBDA_LOG_FORMAT` say what is logged.

use lambda_lifecycle::{Error, Lifecycle, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    Lifecycle::from_env().run(service_fn(work::handle)).await
}
