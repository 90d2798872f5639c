//! The function: it does what its event says.

use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, service_fn};
use serde::Deserialize;
use serde_json::Value;
use std::{process::ExitCode, time::Duration};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Task {
    /// Annotated and logged.
    text: Option<String>,
    /// How long it waits before it responds.
    wait_ms: u64,
    /// It blocks its thread until Lambda kills it.
    block: bool,
    /// It fails with this message.
    fail: Option<String>,
}

pub(crate) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let run = async {
        let life = Lifecycle::from_env();
        life.run_concurrent(service_fn(async |event: LambdaEvent<Task>| perform(event.payload).await)).await
    };
    match runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

#[tracing::instrument(name = "perform", skip_all)]
async fn perform(task: Task) -> Result<Value, Error> {
    if let Some(text) = task.text {
        Invocation::current().annotate("text", text.clone());
        tracing::info!(text, "performed");
    }
    tokio::time::sleep(Duration::from_millis(task.wait_ms)).await;
    if task.block {
        query();
    }
    task.fail.map_or(Ok(Value::Null), |message| Err(message.into()))
}

#[tracing::instrument(name = "blocking query")]
fn query() {
    std::thread::sleep(Duration::from_secs(3600));
}
