//! One order, two functions, linked traces: starts the sandbox, the two functions and the queue between them, sends a handful of
//! orders, and shows what happened.
//!
//! `--json` prints the documents X-Ray received; `--check` exits with status 1 unless everything that must be there is there.

mod checks;
mod client;
mod show;

use lambda_lifecycle_sandbox::{
    function::Function,
    sns::Sns,
    sqs::{EventSourceMapping, Queue, QueueOptions, Sqs},
    url::FunctionUrl,
    xray::{Daemon, TraceStore},
};
use std::{
    error::Error,
    path::PathBuf,
    process::{Command, ExitCode},
    sync::Arc,
    time::Duration,
};

/// The card number of one of the orders. It must never leave the two functions.
pub(crate) const CARD: &str = "4242-SECRET-CARD-4242";

/// Everything a run leaves behind.
pub(crate) struct Run {
    pub(crate) api: Function,
    pub(crate) worker: Function,
    pub(crate) mapping: EventSourceMapping,
    pub(crate) traces: TraceStore,
    pub(crate) orders: Vec<Placed>,
}

/// An order and its caller's response.
pub(crate) struct Placed {
    pub(crate) title: &'static str,
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) trace_id: String,
}

impl Placed {
    /// The id of the queued message, where one was queued.
    pub(crate) fn message_id(&self) -> Option<String> {
        serde_json::from_str::<serde_json::Value>(&self.body).ok()?["message_id"].as_str().map(str::to_owned)
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = arguments.iter().find(|argument| !["--json", "--check"].contains(&argument.as_str())) {
        eprintln!("order_pipeline: unknown argument {unknown}; there are --json and --check");
        return Ok(ExitCode::from(2));
    }
    let run = place_orders(build_functions()?).await?;
    if arguments.iter().any(|argument| argument == "--json") {
        show::documents(&run);
    } else {
        show::run(&run);
    }
    let failed = checks::report(&run);
    run.api.shutdown().await;
    run.worker.shutdown().await;
    let checked = arguments.iter().any(|argument| argument == "--check");
    Ok(if checked && failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Builds both functions as separate programs, and returns their paths.
fn build_functions() -> Result<[PathBuf; 2], Box<dyn Error>> {
    eprintln!("building the two functions, order_api and order_worker …");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--example", "order_api", "--example", "order_worker"]);
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    // Cargo sets variables for a program that it runs, which would make it build some dependencies again.
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|key| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_")) {
            build.env_remove(key);
        }
    }
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    if !build.status()?.success() {
        return Err("the functions did not build".into());
    }
    let beside = std::env::current_exe()?;
    Ok(["order_api", "order_worker"].map(|name| beside.with_file_name(name)))
}

async fn place_orders([api, worker]: [PathBuf; 2]) -> Result<Run, Box<dyn Error>> {
    eprintln!("starting the sandbox: X-Ray daemon, SQS, SNS, Lambda …");
    let daemon = Daemon::start().await?;
    let (sqs, sns) = (Sqs::start().await?, Sns::start().await?);
    let queue = sqs.create_queue("orders", QueueOptions::default()).await?;
    let shipped = sns.create_topic("shipped");
    let traces = daemon.store();
    let function = |name: &str, program: PathBuf| {
        Function::builder(name, program).xray(daemon.address()).trace_store(traces.clone()).log_format("JSON")
    };
    let api = function("order-api", api)
        .env("QUEUE_URL", &queue.url)
        .env("AWS_ENDPOINT_URL_SQS", sqs.endpoint())
        .timeout(Duration::from_secs(5))
        .build()
        .await;
    let worker = function("order-worker", worker)
        .env("TOPIC_ARN", &shipped.arn)
        .env("AWS_ENDPOINT_URL_SNS", sns.endpoint())
        .timeout(Duration::from_secs(5))
        .build()
        .await;
    let url = FunctionUrl::start(api.clone()).await?;

    eprintln!("placing orders at {} …\n", url.url());
    let mut orders = Vec::new();
    for (title, body) in [
        ("two teas", format!(r#"{{"sku":"tea","quantity":2,"card":"{CARD}"}}"#)),
        ("a kettle, which is out of stock at first", r#"{"sku":"kettle","quantity":1,"card":"5555"}"#.to_owned()),
        ("a teapot", r#"{"sku":"teapot","quantity":1,"card":"3782"}"#.to_owned()),
        ("a malformed order", r#"{"sku":"tea","quantity":"plenty"}"#.to_owned()),
    ] {
        orders.push(client::post(&url, title, body).await?);
    }
    // The worker is switched on when all orders wait, so that they share a batch.
    let mapping = switch_on(&queue, &worker)?;
    tokio::time::timeout(Duration::from_secs(60), mapping.wait_idle()).await?;
    for function in [&api, &worker] {
        tokio::time::timeout(Duration::from_secs(10), function.wait_frozen()).await?;
    }
    daemon.settle().await?;
    Ok(Run { api, worker, mapping, traces, orders })
}

fn switch_on(queue: &Queue, worker: &Function) -> Result<EventSourceMapping, Box<dyn Error>> {
    let mapping = EventSourceMapping::builder(queue, Arc::new(worker.clone()))
        .batch_size(10)
        .report_batch_item_failures(true)
        .redelivery_delay(Duration::from_secs(1))
        .start()?;
    Ok(mapping)
}
