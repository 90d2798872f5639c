//! The functions under test.

use crate::support::function_main;
use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, service_fn, xray::Redaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::process::ExitCode;
use tokio::runtime::Builder;
use tracing::{Instrument, Span, field, info, info_span, instrument, warn};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Probe {
    /// The handler as it is under `lambda_runtime` with its own subscriber.
    Theirs,
    /// The same handler under this library.
    Ours,
    /// With keys for the whole process.
    Keys,
    /// With a redactor.
    Redacting,
}

/// What an event asks for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Do {
    /// Log lines inside of instrumented functions.
    Instrumented,
    /// Log with keys of the invocation.
    Keys,
    /// Log nothing but a line without any key.
    Plain,
    /// Log inside of a span of the durable execution SDK.
    Durable,
}

pub(crate) fn main(probe: Probe) -> ExitCode {
    function_main(Builder::new_current_thread(), run(probe))
}

async fn run(probe: Probe) -> Result<(), Error> {
    let life = match probe {
        Probe::Theirs => {
            lambda_runtime::tracing::init_default_subscriber();
            return lambda_runtime::run(service_fn(handle)).await;
        }
        Probe::Ours => Lifecycle::from_env(),
        Probe::Keys => Lifecycle::builder().log_key("stage", "production").log_key("release", 42).log_standard_keys(true).build(),
        Probe::Redacting => Lifecycle::builder()
            .log_key("card", "marked")
            .redact(|_, value| if value.contains("marked") { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep })
            .build(),
    };
    info!("the function begins");
    life.run_concurrent(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Do>) -> Result<Value, Error> {
    match event.payload {
        Do::Instrumented => place("marked card").await,
        Do::Keys => {
            let invocation = Invocation::current();
            invocation.log_key("order_id", 41);
            invocation.log_key("order_id", 42);
            invocation.log_key("plan", "gold");
            invocation.log_key("release", 43);
            info!("with keys");
            info_span!("inner", plan = "silver").in_scope(|| info!(order_id = 7, "overridden"));
            invocation.after_response(async { info!("after the response") });
        }
        Do::Plain => info!("plain"),
        Do::Durable => {
            let execution = "arn:aws:lambda:eu-west-1:123456789012:function:orders:1/durable-execution/a/b";
            let request = &event.context.request_id;
            info_span!("durable_execution", executionArn = execution, requestId = request).in_scope(|| info!("a step"));
        }
    }
    Ok(Value::Null)
}

#[instrument(skip_all, fields(order_id = 42, customer = "ada", price = 1.5, express = true, note = field::Empty, card = card))]
async fn place(card: &str) {
    Span::current().record("note", "late");
    info!(item = "tea", "placed");
    reserve(3).await;
    warn!("kept");
    tokio::spawn(async { info!("spawned") }.in_current_span()).await.expect("no panic");
}

#[instrument(skip_all, fields(order_id = 43, attempt = attempt))]
async fn reserve(attempt: u32) {
    info!(customer = "eve", "reserved");
}
