//! The function.

use aws_durable_execution_sdk::{self as durable, Options};
use durable_example::fulfill;
use lambda_lifecycle::{Error, Lifecycle, aws_sdk, service_fn};

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let options = Options::builder().sdk_config(aws_sdk::config().await).build()?;
    life.run(service_fn(durable::wrap(fulfill, options))).await
}
