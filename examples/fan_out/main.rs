//! One order in the sandbox: an API publishes it to an SNS topic, which sends it to two queues, one for invoices and one for
//! parcels.
//!
//! The invoices' spans stay in their function's trace and link to the producer. The parcels' spans are part of the producer's
//! trace. The example exits with status 1 unless both traces are there.

use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use lambda_lifecycle_sandbox::{
    function::Function,
    render,
    sns::{Delivery, Sns},
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

const FUNCTIONS: [&str; 3] = ["fan_out_api", "fan_out_invoices", "fan_out_parcels"];

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let [api, invoices, parcels] = build_functions()?;
    let (daemon, sqs, sns) = (Daemon::start().await?, Sqs::start().await?, Sns::start().await?);
    let traces = daemon.store();
    let function = |name: &str, program: PathBuf| {
        Function::builder(name, program).xray(daemon.address()).trace_store(traces.clone()).log_format("JSON")
    };

    let orders = sns.create_topic("orders");
    let invoice_queue = sqs.create_queue("invoices", QueueOptions::default()).await?;
    let parcel_queue = sqs.create_queue("parcels", QueueOptions::default()).await?;
    orders.subscribe_queue(&invoice_queue, Delivery::Raw);
    orders.subscribe_queue(&parcel_queue, Delivery::Wrapped);

    let api = function("api", api).env("TOPIC_ARN", &orders.arn).env("AWS_ENDPOINT_URL_SNS", sns.endpoint()).build().await;
    let invoices = function("invoices", invoices).build().await;
    let parcels = function("parcels", parcels).build().await;
    let mappings = [consume(&invoice_queue, &invoices)?, consume(&parcel_queue, &parcels)?];

    let url = FunctionUrl::start(api.clone()).await?;
    let trace_id = order(&url, r#"{"sku":"teapot","quantity":1}"#).await?;
    for mapping in &mappings {
        tokio::time::timeout(Duration::from_secs(30), mapping.wait_idle()).await?;
    }
    for function in [&api, &invoices, &parcels] {
        function.wait_frozen().await;
    }
    daemon.settle().await?;

    for trace in traces.traces() {
        println!("{}", render::waterfall(&trace));
    }
    let complete = is_complete(&traces, &trace_id);
    println!(
        "{}",
        if complete {
            "The parcel's work is in the order's trace, the invoice's is found by its producer's trace id."
        } else {
            "Something is missing."
        }
    );
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn consume(queue: &Queue, function: &Function) -> Result<EventSourceMapping, Box<dyn Error>> {
    Ok(EventSourceMapping::builder(queue, Arc::new(function.clone())).report_batch_item_failures(true).start()?)
}

/// Places an order; returns the id of its trace.
async fn order(url: &FunctionUrl, body: &'static str) -> Result<String, Box<dyn Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<bytes::Bytes>>();
    let request = http::Request::post(format!("{}orders", url.url())).header("content-type", "application/json");
    let response = client.request(request.body(Full::from(body))?).await?;
    let header = response.headers().get("x-amzn-trace-id").and_then(|header| header.to_str().ok()).unwrap_or_default();
    let trace_id = header.trim_start_matches("Root=").split(';').next().unwrap_or_default().to_owned();
    println!("{} {}\n", response.status(), String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()));
    Ok(trace_id)
}

fn is_complete(traces: &TraceStore, trace_id: &str) -> bool {
    let call = traces.find(|document| document.name == "SNS" && document.trace_id == trace_id);
    let messages = traces.find(|document| document.annotation("producer_trace_id") == Some(trace_id));
    let linked = messages.iter().filter(|message| message.trace_id != trace_id && message.links.len() == 1);
    let continued = messages.iter().filter(|message| message.trace_id == trace_id);
    let hangs = |id: &Option<String>| call.iter().any(|call| Some(&call.id) == id.as_ref());
    let work = traces.find(|document| document.name == "wrap" && document.trace_id == trace_id);
    call.len() == 1
        && linked.count() == 1
        && continued.filter(|message| hangs(&message.parent_id)).count() == 1
        && work.len() == 1
}

/// Builds the functions as separate programs, and returns their paths.
fn build_functions() -> Result<[PathBuf; 3], Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.arg("build").args(FUNCTIONS.iter().flat_map(|name| ["--example", name]));
    build.current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    if !build.status()?.success() {
        return Err("the functions did not build".into());
    }
    let beside = std::env::current_exe()?;
    Ok(FUNCTIONS.map(|name| beside.with_file_name(name)))
}
