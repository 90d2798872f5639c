//! Stage 4 alone: the layer around the runtime, which runs one piece of work in each invocation after the response has been
//! posted.

use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, service::RuntimeLayer, service_fn};
use lambda_runtime::Runtime;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let _life = Lifecycle::builder().log(false).trace(false).deadline(false).build();
    let handler = service_fn(|event: LambdaEvent<_>| {
        Invocation::current().after_response(async {});
        work::handle(event)
    });
    Runtime::new(handler).layer(RuntimeLayer::new()).run().await
}
