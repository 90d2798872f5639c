//! The function under test in `tests/abort`: it ends as its event says.

use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    Lifecycle::from_env().run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<String>) -> Result<String, Error> {
    match event.payload.as_str() {
        "panic" => panic!("fuse was lit"),
        "fail" => Err("no stock".into()),
        "hang" => std::future::pending().await,
        _ => Ok(event.payload),
    }
}
