//! One order, two functions, linked traces: starts the sandbox, the two functions and the queue between them, sends a handful of
//! orders, and shows what happened.
//!
//! `--json` prints the documents X-Ray received; `--check` exits with status 1 unless everything that must be there is there. `--console`
//! shows it all in the browser instead, and runs until Ctrl-C; `--open` opens the browser.

mod checks;
mod client;
mod show;

use lambda_lifecycle_sandbox::{
    console::{self, Console},
    function::Function,
    sns::Sns,
    sqs::{DeadLetter, EventSourceMapping, Queue, QueueOptions, Sqs},
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

const ARGUMENTS: [&str; 4] = ["--json", "--check", "--console", "--open"];

/// The services that run before the first order is placed.
struct System {
    daemon: Daemon,
    /// The endpoints end when they are dropped.
    _endpoints: (Sqs, Sns),
    queue: Queue,
    dead_letters: Queue,
    api: Function,
    worker: Function,
    url: FunctionUrl,
}

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
    if let Some(unknown) = arguments.iter().find(|argument| !ARGUMENTS.contains(&argument.as_str())) {
        eprintln!("order_pipeline: unknown argument {unknown}; there are {}", ARGUMENTS.join(", "));
        return Ok(ExitCode::from(2));
    }
    let is_set = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    let system = start(build_functions()?).await?;
    if is_set("--console") || is_set("--open") {
        return watch(&system, is_set("--open")).await;
    }
    let run = place_orders(&system).await?;
    if is_set("--json") {
        show::documents(&run);
    } else {
        show::run(&run);
    }
    let failed = checks::report(&run);
    run.api.shutdown().await;
    run.worker.shutdown().await;
    eprintln!("\nSee it in the browser: cargo run --example order_pipeline -- --console");
    Ok(if is_set("--check") && failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Shows the run in the browser, until Ctrl-C.
async fn watch(system: &System, open: bool) -> Result<ExitCode, Box<dyn Error>> {
    let mut console = Console::builder()
        .daemon(&system.daemon)
        .function(&system.api)
        .function(&system.worker)
        .queue(&system.queue)
        .queue(&system.dead_letters);
    for (title, sku) in [("Order a tea", "tea"), ("Order a kettle, which is out of stock at first", "kettle")] {
        let order = format!(r#"{{"sku":"{sku}","quantity":1,"card":"4242"}}"#);
        console = console.sample("order-api", title, client::event(&order)).sample("orders", title, order);
    }
    let console = console.start().await?;
    println!("  console       {}", console.url());
    println!("  order API     {}orders", system.url.url());
    if open && let Err(error) = console::open(&console.url()) {
        eprintln!("no browser was opened: {error}; open the console's address yourself");
    }
    let run = place_orders(system).await?;
    println!("{} orders are placed. Ctrl-C ends everything.", run.orders.len());
    tokio::signal::ctrl_c().await?;
    drop(run.mapping);
    run.api.shutdown().await;
    run.worker.shutdown().await;
    Ok(ExitCode::SUCCESS)
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

async fn start([api, worker]: [PathBuf; 2]) -> Result<System, Box<dyn Error>> {
    eprintln!("starting the sandbox: X-Ray daemon, SQS, SNS, Lambda …");
    let daemon = Daemon::start().await?;
    let (sqs, sns) = (Sqs::start().await?, Sns::start().await?);
    let shipped = sns.create_topic("shipped");
    let dead_letters = sqs.create_queue("orders-dead", QueueOptions::default()).await?;
    let dead_letter = Some(DeadLetter { arn: dead_letters.arn.clone(), max_receive_count: 3 });
    let queue = sqs.create_queue("orders", QueueOptions { dead_letter, ..QueueOptions::default() }).await?;
    let function = |name: &str, program: PathBuf| {
        Function::builder(name, program).xray(daemon.address()).trace_store(daemon.store()).log_format("JSON")
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
    Ok(System { daemon, _endpoints: (sqs, sns), queue, dead_letters, api, worker, url })
}

async fn place_orders(system: &System) -> Result<Run, Box<dyn Error>> {
    let System { daemon, queue, api, worker, url, .. } = system;
    eprintln!("placing orders at {} …\n", url.url());
    let mut orders = Vec::new();
    for (title, body) in [
        ("two teas", format!(r#"{{"sku":"tea","quantity":2,"card":"{CARD}"}}"#)),
        ("a kettle, which is out of stock at first", r#"{"sku":"kettle","quantity":1,"card":"5555"}"#.to_owned()),
        ("a teapot", r#"{"sku":"teapot","quantity":1,"card":"3782"}"#.to_owned()),
        ("a malformed order", r#"{"sku":"tea","quantity":"plenty"}"#.to_owned()),
    ] {
        orders.push(client::post(url, title, body).await?);
    }
    // The worker is switched on when all orders wait, so that they share a batch.
    let mapping = switch_on(queue, worker)?;
    tokio::time::timeout(Duration::from_secs(60), mapping.wait_idle()).await?;
    for function in [api, worker] {
        tokio::time::timeout(Duration::from_secs(10), function.wait_frozen()).await?;
    }
    daemon.settle().await?;
    Ok(Run { api: api.clone(), worker: worker.clone(), mapping, traces: daemon.store(), orders })
}

fn switch_on(queue: &Queue, worker: &Function) -> Result<EventSourceMapping, Box<dyn Error>> {
    let mapping = EventSourceMapping::builder(queue, Arc::new(worker.clone()))
        .batch_size(10)
        .report_batch_item_failures(true)
        .redelivery_delay(Duration::from_secs(1))
        .start()?;
    Ok(mapping)
}
