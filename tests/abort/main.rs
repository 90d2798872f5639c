//! `panic = "abort"`: what still holds. This binary is the test; the function is `function.rs`, whose last crate is compiled to
//! abort.

#[path = "../support/mod.rs"]
mod support;

use lambda_lifecycle_sandbox::{Event, Failure, FunctionResponse};
use libtest_mimic::Failed;
use serde_json::json;
use std::{path::PathBuf, process::Command, time::Duration};
use support::{Stage, Tested, ensure, test_after};

/// For a handler that is to miss its deadline: a second after the begin, with a long reserve behind it.
const SOON: Duration = Duration::from_secs(41);
const RESERVE: (&str, &str) = ("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", "40000");

fn main() -> std::process::ExitCode {
    support::run([vec![
        test_after(
            "a panic ends the process: the caller has an error, X-Ray the invocation, unfinished",
            aborting_program,
            panics,
        ),
        test_after("a deadline and an error get their responses, and the process keeps serving", aborting_program, serves_on),
    ]])
}

/// Beside the examples, built once more: the strategy of the last crate decides for the whole program.
fn aborting_program() -> Result<PathBuf, Failed> {
    let test = std::env::current_exe()?;
    let (Some(profile), Some(target)) = (test.ancestors().nth(2), test.ancestors().nth(3)) else {
        return Err("this test is in no target directory".into());
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["rustc", "--quiet", "--example", "abort_probe", "--target-dir"])
        .arg(target)
        .args(profile.ends_with("release").then_some("--release"))
        .args(["--", "-C", "panic=abort"])
        .status()?;
    if !status.success() {
        return Err("the function did not build".into());
    }
    Ok(profile.join("examples/abort_probe"))
}

async fn invoke(stage: &Stage, what: &str) -> Result<FunctionResponse, Failed> {
    let event = Event { payload: json!(what).to_string().into(), timeout: (what == "hang").then_some(SOON), ..Event::default() };
    let answer = stage.invoke_event(event).await?;
    stage.settle().await?;
    Ok(answer)
}

/// How an invocation ended in its trace; `None` for one that did not.
fn outcome(stage: &Stage, answer: &FunctionResponse) -> Result<Option<String>, Failed> {
    Ok(stage.of_invocation(answer)?.annotation("outcome").map(str::to_owned))
}

async fn panics(program: PathBuf) -> Tested {
    let stage = Stage::of_program(program, |function| function).await?;
    let answer = invoke(&stage, "panic").await?;
    ensure(matches!(answer.result, Err(Failure::Exited(_))), format!("{:?}", answer.result))?;
    ensure(outcome(&stage, &answer)?.is_none(), "the invocation is not unfinished")?;
    ensure(invoke(&stage, "answer").await?.result.is_ok(), "no new process serves")
}

async fn serves_on(program: PathBuf) -> Tested {
    let stage = Stage::of_program(program, |function| function.env(RESERVE.0, RESERVE.1)).await?;
    for (what, expected) in [("answer", "responded"), ("fail", "failed"), ("hang", "deadline_exceeded")] {
        let answer = invoke(&stage, what).await?;
        ensure(answer.result.is_ok() == (what == "answer"), format!("{:?}", answer.result))?;
        ensure(outcome(&stage, &answer)?.as_deref() == Some(expected), format!("{what} did not end as {expected}"))?;
    }
    ensure(stage.processes() == 1, format!("{} processes", stage.processes()))
}
