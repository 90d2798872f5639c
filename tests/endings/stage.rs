//! One function on a stage of its own: sandbox, X-Ray daemon, and what may be asked of them afterwards.

use lambda_lifecycle_sandbox::{
    Answer, Event, Failure, Invoke,
    function::{EventKind, Function, FunctionBuilder, Output, TraceMode},
    xray::{Daemon, Document, Problem, TraceStore},
};
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// Longest time anything here may take; a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A kind of environment.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) mode: TraceMode,
    /// How many invocations run at once: more than one on Managed Instances.
    pub(crate) at_once: usize,
    pub(crate) served_by: Loop,
}

/// What fetches events and posts responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loop {
    /// The library's, as `Lifecycle::run` has it.
    Ours,
    /// `lambda_runtime::Runtime`, with the library's layers.
    LambdaRuntime,
}

impl Kind {
    pub(crate) fn under(&self, served_by: Loop) -> Self {
        Self { served_by, ..self.clone() }
    }

    pub(crate) fn is_traced(&self) -> bool {
        self.mode == TraceMode::Active
    }

    pub(crate) fn is_managed(&self) -> bool {
        self.at_once > 1
    }
}

/// Every kind of environment an ending is shown in.
pub(crate) const KINDS: [Kind; 4] = [
    Kind { name: "on-demand, traced", mode: TraceMode::Active, at_once: 1, served_by: Loop::Ours },
    Kind { name: "on-demand, not sampled", mode: TraceMode::NotSampled, at_once: 1, served_by: Loop::Ours },
    Kind { name: "on-demand, PassThrough", mode: TraceMode::PassThrough, at_once: 1, served_by: Loop::Ours },
    Kind { name: "Managed Instances, 8 at a time", mode: TraceMode::Active, at_once: 8, served_by: Loop::Ours },
];

pub(crate) type Tested = Result<(), Failed>;

/// Held for reading by every test, and for writing by those that a busy machine would disturb.
static QUIET: RwLock<()> = RwLock::new(());

/// A test that no other runs beside: what it sends must not wait for a reader that gets no time.
pub(crate) fn test_alone<F>(name: impl Into<String>, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Tested>,
{
    Trial::test(name, move || {
        let _quiet = QUIET.write().unwrap_or_else(PoisonError::into_inner);
        run(body())
    })
}

/// A test with a runtime of its own and a bound on its time.
pub(crate) fn test<F>(name: impl Into<String>, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Tested>,
{
    Trial::test(name, move || {
        let _beside_others = QUIET.read().unwrap_or_else(PoisonError::into_inner);
        run(body())
    })
}

fn run(body: impl Future<Output = Tested>) -> Tested {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, body).await? })
}

pub(crate) fn ensure(holds: bool, otherwise: impl Into<String>) -> Tested {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}

pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().expect("a running program has a path")
}

pub(crate) struct Stage {
    pub(crate) function: Function,
    pub(crate) traces: TraceStore,
    daemon: Daemon,
}

impl Stage {
    /// The function `probe` with a timeout of two seconds.
    pub(crate) async fn new(probe: &str, mode: TraceMode) -> Result<Self, Failed> {
        Self::with(probe, mode, |function| function).await
    }

    /// The function `probe` in an environment of this kind.
    pub(crate) async fn of(
        probe: &str,
        kind: &Kind,
        change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
    ) -> Result<Self, Failed> {
        let at_once = kind.at_once;
        let managed = |function: FunctionBuilder| if at_once > 1 { function.managed(at_once) } else { function };
        let served_by = kind.served_by;
        let served = |function: FunctionBuilder| match served_by {
            Loop::Ours => function,
            Loop::LambdaRuntime => function.env("LOOP", "lambda_runtime"),
        };
        Self::with(probe, kind.mode.clone(), |function| served(managed(change(function)))).await
    }

    pub(crate) async fn with(
        probe: &str,
        mode: TraceMode,
        change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
    ) -> Result<Self, Failed> {
        let daemon = Daemon::start().await?;
        let traces = daemon.store();
        let function = Function::builder("probe", this_program())
            .env("PROBE", probe)
            .trace_mode(mode)
            .xray(daemon.address())
            .trace_store(traces.clone())
            .timeout(Duration::from_secs(2))
            .log_format("JSON");
        let function = change(function).build().await;
        Ok(Self { function, traces, daemon })
    }

    pub(crate) async fn invoke(&self, payload: Value) -> Answer {
        self.invoke_raw(payload.to_string()).await
    }

    pub(crate) async fn invoke_raw(&self, payload: impl Into<bytes::Bytes>) -> Answer {
        self.function.invoke(Event { payload: payload.into(), ..Event::default() }).await
    }

    /// The same as a future of its own.
    pub(crate) fn invoke_owned(&self, payload: &'static str) -> impl Future<Output = Answer> + Send + 'static {
        let function = self.function.clone();
        async move { function.invoke(Event { payload: payload.into(), ..Event::default() }).await }
    }

    /// Waits for so many log lines of the function that say `words`.
    pub(crate) async fn wait_for_logs(&self, words: &str, count: usize) -> Tested {
        let mut logs = self.function.subscribe_logs().from_start();
        let waiting = async {
            for _ in 0..count {
                logs.find(|line| line.text.contains(words)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), waiting).await;
        waited.map_err(|_| format!("{words:?} was logged {} times, expected {count}", self.logged(words).len()).into())
    }

    /// Waits until the function is at rest and all it has sent is stored.
    pub(crate) async fn settle(&self) -> Tested {
        self.function.wait_idle().await;
        self.daemon.settle().await?;
        Ok(())
    }

    /// The library's own document of an invocation, once it is finished: on Managed Instances nothing waits for it.
    pub(crate) async fn finished_document(&self, answer: &Answer) -> Result<Arc<Document>, Failed> {
        let finished = |document: &Document| document.trace_id == answer.trace_id && document.annotation("outcome").is_some();
        self.traces.wait_for(|traces| !traces.find(finished).is_empty(), Duration::from_secs(10)).await?;
        self.document(answer).await
    }

    /// The library's own document of an invocation, once the function is at rest.
    pub(crate) async fn document(&self, answer: &Answer) -> Result<Arc<Document>, Failed> {
        self.settle().await?;
        self.documents_are_valid()?;
        let found = self.traces.find(|document| document.trace_id == answer.trace_id && document.annotation("trigger").is_some());
        match found.as_slice() {
            [document] => Ok(Arc::clone(document)),
            others => Err(format!("{} documents of the invocation instead of one", others.len()).into()),
        }
    }

    pub(crate) fn documents_are_valid(&self) -> Tested {
        // A trace beyond X-Ray's size is valid, and unfinished documents are what a kill leaves.
        let wrong = |problem: &Problem| !matches!(problem, Problem::Unfinished { .. } | Problem::TraceTooLarge { .. });
        let problems: Vec<String> =
            self.traces.check().iter().filter(|problem| wrong(problem)).map(ToString::to_string).collect();
        ensure(problems.is_empty(), problems.join("; "))
    }

    /// How many processes it has taken so far.
    pub(crate) fn processes(&self) -> usize {
        self.function.timeline().iter().filter(|event| matches!(event.kind, EventKind::Spawned { .. })).count()
    }

    /// Log lines of the function that say `words`.
    pub(crate) fn logged(&self, words: &str) -> Vec<String> {
        let own = self.function.logs().into_iter().filter(|line| line.output != Output::Platform);
        own.map(|line| line.text).filter(|text| text.contains(words)).collect()
    }
}

/// The error of an answer that is one.
pub(crate) fn function_error(answer: &Answer) -> Result<(&str, &str), Failed> {
    match &answer.result {
        Err(Failure::Function { error_type, error_message }) => Ok((error_type, error_message)),
        other => Err(format!("expected a function error, got {other:?}").into()),
    }
}
