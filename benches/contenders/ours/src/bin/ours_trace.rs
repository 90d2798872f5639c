//! Stage 3 alone: spans to the X-Ray daemon. Both layers, for one sees the outcome and the other the moment to send it; no deadline, no log.

use lambda_lifecycle::{Error, Lifecycle, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    Lifecycle::builder().log(false).deadline(false).watchdog(false).build().run(service_fn(work::handle)).await
}
