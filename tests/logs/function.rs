//! The functions under test.

use crate::support::function_main;
use axum::{Router, extract::Path, routing::get};
use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, service_fn, xray::Redaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::process::ExitCode;
use tokio::runtime::Builder;
use tracing::{Instrument, Span, field, info, info_span, instrument, warn};
use tracing_subscriber::prelude::*;

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
    /// An axum service with its own subscriber.
    Axum,
    /// The same with the library's log as one of its layers.
    LogLayer,
}

/// The work that an event asks for.
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
    /// Log through the `log` crate.
    Records,
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
        Probe::Axum => {
            let fmt = tracing_subscriber::fmt::layer().json();
            tracing_subscriber::registry().with(Lifecycle::tracing_layer()).with(fmt).init();
            return serve().await;
        }
        Probe::LogLayer => {
            tracing_subscriber::registry().with(Lifecycle::tracing_layer()).with(Lifecycle::log_layer()).init();
            return serve().await;
        }
        Probe::Keys => Lifecycle::builder().log_key("stage", "production").log_key("release", 42).log_standard_keys(true).build(),
        Probe::Redacting => Lifecycle::builder()
            .log_key("card", "marked")
            .redact(|_, value| if value.contains("marked") { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep })
            .build(),
    };
    info!("the function begins");
    life.run_concurrent(service_fn(handle)).await
}

async fn serve() -> Result<(), Error> {
    Lifecycle::from_env().serve(Router::new().route("/orders/{id}", get(order))).await
}

async fn order(invocation: Invocation, Path(id): Path<u32>) -> &'static str {
    invocation.log_key("plan", "gold");
    info!("in the handler");
    info_span!("inner", order_id = id).in_scope(|| warn!("in a span"));
    invocation.spawn(async { info!("in a spawned task") }).await.expect("no panic");
    let detached = tokio::spawn(async { info!("in a task of tokio") }.in_current_span());
    detached.await.expect("no panic");
    invocation.after_response(async {
        info!("after the response");
        Invocation::current().after_response(async { info!("later") });
    });
    "order"
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
        Do::Records => {
            log::info!(target: "orders::old", "a record");
            log::debug!(target: "orders::old", "hidden");
            info_span!("inner", order_id = 42).in_scope(|| log::error!(target: "orders::older", "an error"));
        }
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
