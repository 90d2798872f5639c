//! One function, the sandbox's X-Ray API, and what may be asked of them afterwards.

use lambda_lifecycle_sandbox::{
    Answer, Event, Invoke,
    function::{EventKind, Function, FunctionBuilder},
    xray::{Api, Document, Source, TraceStore},
};
use libtest_mimic::{Failed, Trial};
use serde_json::json;
use std::{future::Future, sync::Arc, time::Duration};

/// Longest time anything here may take, a build of an example included.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) type Tested = Result<(), Failed>;

pub(crate) fn test<F>(name: &str, body: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = Tested>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async { tokio::time::timeout(PATIENCE, body()).await? })
    })
}

pub(crate) fn ensure(holds: bool, otherwise: impl Into<String>) -> Tested {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}

pub(crate) struct Stage {
    pub(crate) function: Function,
    pub(crate) traces: TraceStore,
    pub(crate) api: Api,
}

impl Stage {
    pub(crate) async fn new() -> Result<Self, Failed> {
        Self::with(|function, endpoint| function.env("XRAY_ENDPOINT", endpoint)).await
    }

    /// `change` is given the API's endpoint.
    pub(crate) async fn with(change: impl FnOnce(FunctionBuilder, &str) -> FunctionBuilder) -> Result<Self, Failed> {
        let traces = TraceStore::new();
        let api = Api::start(traces.clone()).await?;
        let function = Function::builder("probe", std::env::current_exe()?)
            .env("PROBE", "on")
            .trace_store(traces.clone())
            .timeout(Duration::from_secs(5))
            .log_format("JSON");
        let function = change(function, &api.endpoint()).build().await;
        Ok(Self { function, traces, api })
    }

    /// Invokes, and waits until the function is at rest.
    pub(crate) async fn invoke(&self, spans: usize) -> Result<Answer, Failed> {
        let payload = json!({ "spans": spans }).to_string().into();
        let answer = self.function.invoke(Event { payload, ..Event::default() }).await;
        self.function.wait_frozen().await;
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
        Ok(answer)
    }

    /// What the function sent.
    pub(crate) fn sent(&self) -> Vec<Arc<Document>> {
        self.traces.find(|document| document.source == Source::Api)
    }

    /// Log lines of the function that say `words`.
    pub(crate) fn logged(&self, words: &str) -> Vec<String> {
        self.function.logs().into_iter().map(|line| line.text).filter(|text| text.contains(words)).collect()
    }

    /// The function's last word on what became of its documents is `expected`.
    pub(crate) fn counts_are(&self, expected: &str) -> Tested {
        let told = self.logged("counted: ");
        ensure(told.last().is_some_and(|line| line.contains(expected)), format!("{expected} is not in {:?}", told.last()))
    }

    pub(crate) fn is_sound(&self) -> Tested {
        let problems: Vec<String> = self.traces.check().iter().map(ToString::to_string).collect();
        ensure(problems.is_empty(), problems.join("; "))
    }

    pub(crate) fn one_process(&self) -> Tested {
        let spawned = |kind: &EventKind| matches!(kind, EventKind::Spawned { .. });
        ensure(self.function.timeline().iter().filter(|event| spawned(&event.kind)).count() == 1, "the process did not live")
    }
}
