//! The functions under test.

use crate::support::function_main;
use aws_durable_execution_sdk::{self as durable, BoxError, DurableContext, Options};
use lambda_lifecycle::{
    Error, Invocation, LambdaEvent, Lifecycle,
    aws_sdk::{self, TraceInterceptor},
    service_fn,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{process::ExitCode, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Builder,
};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// The functions. `PROBE` names the one that a process is.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) enum Probe {
    /// With the subscriber of the library.
    Default,
    /// With another subscriber, and the library's layers.
    OwnSubscriber,
    /// Calls [`Callee`](Self::Callee) with the client of Lambda, and responds with what it returns.
    Caller,
    /// Responds with what the caller put into the client context.
    Callee,
}

/// The work of an execution.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) enum Plan {
    /// Steps before and after waits, in branches, in a child context, and in tasks.
    Everything,
    /// Returns an error.
    Fail,
    /// The first attempt of its step never ends.
    Hang,
    /// The same, and nothing limits it.
    HangUnlimited,
    /// Tells the service when the token is cancelled, and until then no step is recorded.
    RecordLate,
}

pub(crate) fn main(probe: Probe) -> ExitCode {
    function_main(Builder::new_current_thread(), run(probe))
}

async fn run(probe: Probe) -> Result<(), Error> {
    if matches!(probe, Probe::OwnSubscriber) {
        tracing_subscriber::registry().with(Lifecycle::tracing_layer()).with(Lifecycle::log_layer()).init();
    }
    let life = Lifecycle::from_env();
    match probe {
        Probe::Caller => return caller(life).await,
        Probe::Callee => return life.run(service_fn(callee)).await,
        Probe::Default | Probe::OwnSubscriber => {}
    }
    let options = Options::builder().sdk_config(aws_sdk::config().await).build()?;
    let handler = durable::wrap(handle, options);
    if std::env::var_os("AWS_LAMBDA_MAX_CONCURRENCY").is_some() {
        let handler = std::sync::Arc::new(handler);
        return life.run_concurrent(service_fn(move |event| handler(event))).await;
    }
    life.run(service_fn(handler)).await
}

async fn caller(life: Lifecycle) -> Result<(), Error> {
    let config = aws_sdk_lambda::config::Builder::from(&aws_sdk::config().await).interceptor(TraceInterceptor::new()).build();
    let client = aws_sdk_lambda::Client::from_conf(config);
    let call = async |_: LambdaEvent<Value>| {
        tracing::info!("calls");
        // The base64 of {"custom":{"plan":"gold"}}.
        let context = "eyJjdXN0b20iOnsicGxhbiI6ImdvbGQifX0=";
        let called = client.invoke().function_name("callee").client_context(context).send().await?;
        let payload = called.payload.ok_or("no payload")?;
        Ok::<Value, Error>(serde_json::from_slice(payload.as_ref())?)
    };
    life.run(service_fn(call)).await
}

async fn callee(event: LambdaEvent<Value>) -> Result<Value, Error> {
    tracing::info!("is called");
    Ok(serde_json::to_value(event.context.client_context.ok_or("no client context")?.custom)?)
}

async fn handle(plan: Plan, execution: DurableContext) -> Result<String, BoxError> {
    let invocation = Invocation::current();
    match plan {
        Plan::Everything => everything(execution).await,
        Plan::Fail => {
            execution.step(|_| async { Ok(1) }).name("first").await?;
            Err("no stock".into())
        }
        Plan::Hang => {
            let step = execution.step(move |step| async move {
                if step.attempt() == 1 {
                    invocation.within(std::future::pending::<()>()).await?;
                }
                Ok(step.attempt())
            });
            Ok(step.name("hangs").await?.to_string())
        }
        Plan::RecordLate => {
            let token = invocation.cancellation_token();
            let told = tokio::spawn(async move {
                token.cancelled().await;
                tell_service().await
            });
            let step = execution.step(|_| async { Ok(7) }).name("late").await?;
            told.await??;
            Ok(step.to_string())
        }
        Plan::HangUnlimited => {
            let step = execution.step(|_| async { Ok(std::future::pending::<u32>().await) });
            Ok(step.name("hangs").await?.to_string())
        }
    }
}

/// A request to the service, without a client.
async fn tell_service() -> std::io::Result<()> {
    let endpoint = std::env::var("AWS_ENDPOINT_URL_LAMBDA").unwrap_or_default();
    let mut service = TcpStream::connect(endpoint.trim_start_matches("http://")).await?;
    service.write_all(b"GET /cancelled HTTP/1.1\r\nhost: service\r\nconnection: close\r\n\r\n").await?;
    service.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn everything(execution: DurableContext) -> Result<String, BoxError> {
    tracing::info!("handler begins");
    // Replayed with each invocation.
    reckon("before").await;
    let first = execution.step(|_| named("first")).name("first").await?;
    // An error of the past is no fault of a later invocation.
    tracing::error!("noted once");
    execution.wait(Duration::from_secs(60)).name("wait").await?;
    tracing::info!("handler resumed");
    reckon("between").await;
    let child = execution.run_in_child_context(|child| async move {
        tracing::info!("child begins");
        let before = child.step(|_| named("child before")).name("child before").await?;
        child.wait(Duration::from_secs(60)).name("child wait").await?;
        tracing::info!("child resumed");
        let after = child.step(|_| named("child after")).name("child after").await?;
        Ok(format!("{before}, {after}"))
    });
    let child = child.name("child").await?;
    let items = execution.map(vec![1, 2, 3], |branch, item, _| async move {
        tracing::info!(item, "branch begins");
        Ok(branch.step(move |_| named("branch")).name("branch").await?)
    });
    items.name("items").await?;
    let spawned = execution.step(|_| named("spawned")).name("spawned").spawn();
    let spawned = spawned.await?;
    execution.wait(Duration::from_secs(60)).name("last wait").await?;
    let last = execution.step(|_| named("last")).name("last").await?;
    tracing::info!("handler ends");
    Ok(format!("{first}, {child}, {spawned}, {last}"))
}

/// The body of a step, in a span with its name and with a line.
async fn named(name: &'static str) -> Result<String, BoxError> {
    step_body(name).await;
    Ok(name.to_owned())
}

#[tracing::instrument]
async fn step_body(step: &str) {
    tracing::info!("step runs");
}

/// Work outside of any step.
#[tracing::instrument]
async fn reckon(what: &str) {
    tracing::info!("reckoned");
    aside().await;
}

#[tracing::instrument]
async fn aside() {}
