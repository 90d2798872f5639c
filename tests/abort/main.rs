//! `panic = "abort"`: what still holds. This binary is the test; the function is `function.rs`, whose last crate is compiled to
//! abort.

use lambda_lifecycle_sandbox::{
    Answer, Event, Failure, Invoke,
    function::{EventKind, Function},
    xray::{Daemon, TraceStore},
};
use libtest_mimic::{Arguments, Failed, Trial};
use std::{future::Future, path::PathBuf, process::Command, time::Duration};

fn main() -> std::process::ExitCode {
    let tests = vec![
        Trial::test("a panic ends the process: the caller has an error, X-Ray the invocation, unfinished", || run(panics)),
        Trial::test("a deadline is answered, an error is posted, the process serves on", || run(serves_on)),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

fn run<F: Future<Output = Result<(), Failed>>>(body: fn(Stage) -> F) -> Result<(), Failed> {
    let program = aborting_program()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let stage = Stage::new(program).await?;
        tokio::time::timeout(Duration::from_secs(30), body(stage)).await?
    })
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

struct Stage {
    function: Function,
    traces: TraceStore,
    daemon: Daemon,
}

impl Stage {
    async fn new(program: PathBuf) -> Result<Self, Failed> {
        let daemon = Daemon::start().await?;
        let traces = daemon.store();
        let function = Function::builder("abort", program)
            .xray(daemon.address())
            .trace_store(traces.clone())
            .timeout(Duration::from_secs(2))
            .build()
            .await;
        Ok(Self { function, traces, daemon })
    }

    async fn invoke(&self, what: &str) -> Answer {
        let payload = format!("\"{what}\"").into();
        let answer = self.function.invoke(Event { payload, ..Event::default() }).await;
        self.function.wait_idle().await;
        answer
    }

    /// How an invocation ended in its trace; `None` for one that did not.
    async fn outcome(&self, answer: &Answer) -> Result<Option<String>, Failed> {
        self.daemon.settle().await?;
        let ours = self.traces.find(|document| document.trace_id == answer.trace_id && document.annotation("trigger").is_some());
        let [document] = ours.as_slice() else { return Err(format!("{} documents of the invocation", ours.len()).into()) };
        Ok(document.annotation("outcome").map(str::to_owned))
    }
}

async fn panics(stage: Stage) -> Result<(), Failed> {
    let answer = stage.invoke("panic").await;
    ensure(matches!(answer.result, Err(Failure::Exited(_))), format!("{:?}", answer.result))?;
    ensure(stage.outcome(&answer).await?.is_none(), "the invocation is not unfinished")?;
    ensure(stage.invoke("answer").await.result.is_ok(), "no new process serves")
}

async fn serves_on(stage: Stage) -> Result<(), Failed> {
    for (what, outcome) in [("answer", "answered"), ("fail", "failed"), ("hang", "deadline_exceeded")] {
        let answer = stage.invoke(what).await;
        ensure(answer.result.is_ok() == (what == "answer"), format!("{:?}", answer.result))?;
        ensure(stage.outcome(&answer).await?.as_deref() == Some(outcome), format!("{what} did not end as {outcome}"))?;
    }
    let processes = stage.function.timeline().iter().filter(|event| matches!(event.kind, EventKind::Spawned { .. })).count();
    ensure(processes == 1, format!("{processes} processes"))
}

fn ensure(holds: bool, otherwise: impl Into<String>) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}
