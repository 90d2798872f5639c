//! The functions under test.

use crate::support::{function_main, hold_thread_at};
use axum::{Router, extract::Path, http::StatusCode, routing::get};
use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, metrics::Unit, service_fn, xray::Redaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::process::ExitCode;
use tokio::runtime::Builder;
use tracing::{Instrument, Span, debug, error, field, info, info_span, instrument, trace, warn};
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
    /// With a shutdown hook, so that it gets SIGTERM.
    Shutdown,
    /// An axum service with its own subscriber.
    Axum,
    /// A handler of events with its own subscriber.
    Fmt,
    /// The axum service with the library's log as one of its layers.
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
    /// Log what the page on logs shows, and fail.
    Page,
    /// Log its owner in each of these steps, and give way in between.
    Mixed { owner: usize, steps: Vec<u8>, fails: bool },
    /// Log below the level, and end so.
    Debug(Ending),
}

/// How an invocation ends that has logged below the log's level.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ending {
    Well,
    Fail,
    Panic,
    /// Wait until the invocation is cut off.
    Hang,
    /// Keep the thread at the gate.
    Block {
        gate: String,
    },
    /// Log an error, and end well.
    Error,
    /// Log so many lines more, and fail.
    Lines(u32),
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
        Probe::Shutdown => Lifecycle::builder().on_shutdown(|| async {}).build(),
        Probe::Fmt => {
            let fmt = tracing_subscriber::fmt::layer().json();
            tracing_subscriber::registry().with(Lifecycle::tracing_layer()).with(fmt).init();
            Lifecycle::from_env()
        }
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
    Lifecycle::from_env().serve(Router::new().route("/orders/{id}", get(get_order)).route("/broken", get(broken))).await
}

async fn get_order(invocation: Invocation, Path(id): Path<u32>) -> &'static str {
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

async fn broken() -> StatusCode {
    debug!("first step");
    info!("in between");
    debug!("second step");
    StatusCode::BAD_GATEWAY
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
        Do::Page => {
            order().await;
            return Err("no stock".into());
        }
        Do::Mixed { owner, steps, fails } => {
            mixed(owner, &steps).await;
            if fails {
                return Err("no stock".into());
            }
        }
        Do::Debug(ending) => debugging(ending).await?,
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

#[instrument(skip_all, fields(order_id = 42, customer = "ada"))]
async fn order() {
    debug!(target: "orders", left = 3, "in stock");
    info!(target: "orders", item = "tea", "placed");
}

#[instrument(skip_all, fields(in_span = owner))]
async fn mixed(owner: usize, steps: &[u8]) {
    let invocation = Invocation::current();
    invocation.log_key("key", owner);
    invocation.metric("Own", owner, Unit::Count);
    for step in steps {
        for _ in 0..*step {
            tokio::task::yield_now().await;
        }
        debug!(by = owner, "below the level");
        let task = async move {
            tokio::task::yield_now().await;
            info!(by = owner, "in a task");
        };
        invocation.spawn(task).await.expect("no panic");
    }
    info!(by = owner, "last");
}

async fn debugging(ending: Ending) -> Result<(), Error> {
    debug!("first step");
    info!("in between");
    trace!("too fine");
    info_span!("inner", order_id = 42).in_scope(|| log::debug!("second step"));
    match ending {
        Ending::Well => {}
        Ending::Fail => return Err("no stock".into()),
        Ending::Panic => panic!("the fuse was lit"),
        Ending::Hang => std::future::pending().await,
        Ending::Block { gate } => hold_thread_at(&gate),
        Ending::Error => error!("lost"),
        Ending::Lines(count) => {
            (0..count).for_each(|number| debug!(number, "one of many"));
            return Err("no stock".into());
        }
    }
    debug!("third step");
    Ok(())
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
