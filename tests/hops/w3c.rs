//! A request of another service with `traceparent`, and its spans in the user's exporters on the way through API, queue and
//! worker.

use crate::{
    function::{Clients, Probe},
    services::{Services, invoke},
    support::{Tested, ensure, test, within},
};
use axum::{Router, extract::State, http::StatusCode, routing::any};
use lambda_lifecycle::{Error, Lifecycle, sqs, sqs::Message};
use lambda_lifecycle_sandbox::{
    function::{Function, FunctionBuilder, TraceMode},
    sqs::EventSourceMapping,
};
use libtest_mimic::{Failed, Trial};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use serde_json::{Value, json};
use std::sync::Arc;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a caller's traceparent makes one trace through API, queue and worker", continued),
        test("by default a message links to its sender, and X-Ray shows it below its batch", by_default),
        test("where callers are linked, each function has a separate trace with a link", linked),
    ]
}

/// Writes the spans of each call in one line.
#[derive(Debug)]
struct Listing;

impl SpanExporter for Listing {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        println!("{}", json!({ "exported": batch.iter().map(listed).collect::<Vec<_>>() }));
        Ok(())
    }
}

fn listed(span: &SpanData) -> Value {
    json!({
        "name": span.name,
        "trace": span.span_context.trace_id().to_string(),
        "span": span.span_context.span_id().to_string(),
        "parent": span.parent_span_id.to_string(),
        "links": span.links.iter().map(|link| link.span_context.span_id().to_string()).collect::<Vec<_>>(),
    })
}

pub(crate) fn lifecycle() -> Lifecycle {
    Lifecycle::builder().exporter(Listing).build()
}

pub(crate) async fn api(life: Lifecycle) -> Result<(), Error> {
    let place = async |State(clients): State<Clients>| match clients.send_order().await {
        Ok(()) => {
            tracing::info!("ordered");
            StatusCode::ACCEPTED
        }
        Err(_) => StatusCode::BAD_GATEWAY,
    };
    let clients = Clients::connect(Probe::Interceptor).await;
    life.serve(Router::new().route("/orders", any(place)).with_state(clients)).await
}

pub(crate) async fn worker(life: Lifecycle) -> Result<(), Error> {
    let fulfill = async |_: Message<Value>| {
        tracing::info_span!("work").in_scope(|| tracing::info!("fulfilled"));
        Ok::<_, Error>(())
    };
    life.run_concurrent(sqs::batch(fulfill)).await
}

/// The spans that the API and the worker export for one request, with X-Ray disabled.
async fn exported(parent: &'static str) -> Result<(Vec<Value>, Vec<Value>), Failed> {
    let services = Services::new().await?;
    let change = |function: FunctionBuilder| {
        function.env("LAMBDA_LIFECYCLE_TRACE_EXPORT", "none").env("LAMBDA_LIFECYCLE_TRACE_PARENT", parent)
    };
    let api = services.function(Probe::W3cApi, TraceMode::Absent, change).await;
    let worker = services.function(Probe::W3cWorker, TraceMode::Absent, change).await;
    let mapping = EventSourceMapping::builder(&services.direct, Arc::new(worker.clone())).report_batch_item_failures(true);
    let _mapping = mapping.start()?;
    let request = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/orders", "rawQueryString": "",
        "headers": { "host": "example.com", "traceparent": format!("00-{TRACE}-{CALLER}-01") },
        "requestContext": { "http": { "method": "POST", "path": "/orders" }, "domainName": "example.com", "stage": "$default" },
        "isBase64Encoded": false,
    });
    let answer = invoke(&api, request).await?;
    let response: Value = serde_json::from_slice(answer.result.as_deref().unwrap_or_default())?;
    ensure(response["statusCode"] == 202, response.to_string())?;
    Ok((spans(&api, "POST /orders").await?, spans(&worker, "work").await?))
}

/// The exporter's call that has a span of this name.
async fn spans(function: &Function, name: &str) -> Result<Vec<Value>, Failed> {
    let mut logs = function.subscribe_logs().from_start();
    let name = format!("\"name\":\"{name}\"");
    let line = logs.find(|line| line.text.starts_with("{\"exported\"") && line.text.contains(&name));
    let line: Value = serde_json::from_str(&within("the exported spans", line).await?.text)?;
    Ok(line["exported"].as_array().cloned().unwrap_or_default())
}

fn named<'s>(spans: &'s [Value], name: &str) -> Result<&'s Value, Failed> {
    Ok(spans.iter().find(|span| span["name"] == name).ok_or_else(|| format!("no {name} in {spans:?}"))?)
}

async fn continued() -> Tested {
    let (api, worker) = exported("continue").await?;
    let server = named(&api, "POST /orders")?;
    ensure(server["parent"] == CALLER && api.iter().all(|span| span["trace"] == TRACE), format!("{api:?}"))?;
    let work = named(&worker, "work")?;
    let message = worker.iter().find(|span| span["span"] == work["parent"]).ok_or_else(|| format!("{worker:?}"))?;
    ensure(work["trace"] == TRACE && message["trace"] == TRACE, format!("{worker:?}"))?;
    // Below the call that sent the message.
    let call = api.iter().find(|span| span["span"] == message["parent"]);
    ensure(call.is_some_and(|call| call["parent"] == server["span"]), format!("{message} is not below a call of {api:?}"))
}

async fn by_default() -> Tested {
    let (api, worker) = exported("").await?;
    let server = named(&api, "POST /orders")?;
    ensure(server["parent"] == CALLER && api.iter().all(|span| span["trace"] == TRACE), format!("{api:?}"))?;
    let work = named(&worker, "work")?;
    let message = worker.iter().find(|span| span["span"] == work["parent"]).ok_or_else(|| format!("{worker:?}"))?;
    let batch = worker.iter().find(|span| span["span"] == message["parent"]).ok_or_else(|| format!("{worker:?}"))?;
    ensure(message["trace"] == batch["trace"] && message["trace"] != TRACE, format!("{worker:?}"))?;
    let calls: Vec<&Value> = api.iter().filter(|span| span["parent"] == server["span"]).map(|span| &span["span"]).collect();
    let links = message["links"].as_array().cloned().unwrap_or_default();
    ensure(links.iter().any(|link| calls.contains(&link)), format!("{message} has no link to {calls:?}"))
}

async fn linked() -> Tested {
    let (api, worker) = exported("link").await?;
    let server = named(&api, "POST /orders")?;
    ensure(server["links"] == json!([CALLER]) && server["trace"] != TRACE, format!("{api:?}"))?;
    let work = named(&worker, "work")?;
    let message = worker.iter().find(|span| span["span"] == work["parent"]).ok_or_else(|| format!("{worker:?}"))?;
    ensure(message["trace"] != server["trace"] && message["trace"] != TRACE, format!("{worker:?}"))?;
    let calls: Vec<&Value> = api.iter().filter(|span| span["parent"] == server["span"]).map(|span| &span["span"]).collect();
    let links = message["links"].as_array().cloned().unwrap_or_default();
    ensure(links.iter().any(|link| calls.contains(&link)), format!("{message} has no link to {calls:?}"))
}
