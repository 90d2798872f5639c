//! A function and the sandbox's X-Ray API.

use crate::support::{Stage, Tested, XRay, ensure, this_program, within};
use lambda_lifecycle_sandbox::{
    FunctionResponse,
    function::FunctionBuilder,
    xray::{Api, Document, Source},
};
use libtest_mimic::Failed;
use serde_json::json;
use std::{ops::Deref, sync::Arc};

pub(crate) struct WithApi {
    stage: Stage,
    pub(crate) api: Api,
}

impl Deref for WithApi {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

impl WithApi {
    pub(crate) async fn new() -> Result<Self, Failed> {
        Self::with(|function, endpoint| function.env("XRAY_ENDPOINT", endpoint)).await
    }

    /// `change` is given the API's endpoint.
    pub(crate) async fn with(change: impl FnOnce(FunctionBuilder, &str) -> FunctionBuilder) -> Result<Self, Failed> {
        let xray = XRay::start().await?;
        let api = Api::start(xray.traces.clone()).await?;
        let function = Stage::without_daemon("probe", this_program(), &xray).env("PROBE", "on");
        let function = Stage::build(change(function, &api.endpoint())).await;
        Ok(Self { stage: Stage { function, xray }, api })
    }

    /// Invokes, and waits until the function is frozen.
    pub(crate) async fn make_spans(&self, spans: usize) -> Result<FunctionResponse, Failed> {
        let answer = self.invoke(json!({ "spans": spans })).await?;
        self.rest().await?;
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
        Ok(answer)
    }

    pub(crate) async fn rest(&self) -> Tested {
        within("the function to be frozen", self.function.wait_frozen()).await?;
        Ok(())
    }

    /// The documents that the function sent.
    pub(crate) fn sent(&self) -> Vec<Arc<Document>> {
        self.traces.find(|document| document.source == Source::Api)
    }

    /// The function's last word on what became of its documents is `expected`.
    pub(crate) fn counts_are(&self, expected: &str) -> Tested {
        let told = self.logged("counted: ");
        ensure(told.last().is_some_and(|line| line.contains(expected)), format!("{expected} is not in {:?}", told.last()))
    }

    pub(crate) fn one_process(&self) -> Tested {
        ensure(self.processes() == 1, "the process did not live")
    }
}
