//! Log lines and their levels.

use crate::{
    behavior::{Do, Probe},
    support::{Stage, Tested, ensure, test},
    trace::lives,
};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a thread may log when it ends", thread_end),
        test("OpenTelemetry may log while it holds the context", too_many_contexts),
        test("spans are recorded under RUST_LOG=warn", quiet_log),
        test("invalid log settings are reported once, and logging continues", malformed_log_settings),
    ]
}

async fn thread_end() -> Tested {
    let stage = lives(Do::LogAtEndOfThread).await?;
    ensure(stage.logged("the thread ends").len() == 1, "it is not logged")
}

async fn too_many_contexts() -> Tested {
    let stage = lives(Do::TooManyContexts).await?;
    ensure(!stage.logged("Context.AttachFailed").is_empty(), "OpenTelemetry did not log: this test shows nothing")
}

async fn quiet_log() -> Tested {
    let stage = Stage::with(Probe::Value, TraceMode::Active, |function| function.env("RUST_LOG", "warn")).await?;
    let answer = stage.invoke(Do::Log).await?;
    stage.document(&answer).await?;
    ensure(stage.logged("the user's line").is_empty(), "INFO is logged")?;
    ensure(stage.traces.find(|document| document.name == "work").len() == 1, "the user's span is not recorded")
}

async fn malformed_log_settings() -> Tested {
    let stage =
        Stage::with(Probe::Value, TraceMode::Active, |function| function.env("AWS_LAMBDA_LOG_LEVEL", "LOUD").log_format("YAML"))
            .await?;
    stage.invoke(Do::Log).await?;
    stage.settle().await?;
    // As text, because the default applies.
    ensure(stage.codes() == ["setting_invalid", "setting_invalid"], format!("{:?}", stage.problems()))?;
    for field in ["name=AWS_LAMBDA_LOG_LEVEL ", "name=AWS_LAMBDA_LOG_FORMAT "] {
        ensure(stage.logged(field).len() == 1, format!("{field}: {:?}", stage.problems()))?;
    }
    ensure(stage.logged("the user's line").len() == 1, "the user's line is not logged")
}
