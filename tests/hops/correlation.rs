//! The correlation id of a request, on its way through API, queue and worker.

use crate::{
    function::{Call, Inside, Probe, Sending},
    services::{Services, invoke, invoke_event},
    support::{Tested, ensure, test, within},
};
use lambda_lifecycle_sandbox::{
    Event,
    function::{Function, FunctionBuilder, TraceMode},
    sqs::EventSourceMapping,
    url::FunctionUrl,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) fn tests() -> Vec<Trial> {
    let handed_on =
        [("xray", TraceMode::Active), ("xray,tracecontext,baggage", TraceMode::NotSampled)].map(|(propagators, mode)| {
            test(format!("a correlation id comes with a message to the worker, {propagators}"), move || {
                handed_on(propagators, mode)
            })
        });
    let own = test("each message has a correlation id of its own", of_messages);
    let direct = [
        test("a correlation id comes with an HTTP call to the function behind it", over_http),
        test("a correlation id comes with a notification to the function that gets it", with_notification),
        test("an event of EventBridge has its id as the correlation id of the function that gets it", with_event),
    ];
    handed_on.into_iter().chain([own]).chain(direct).collect()
}

/// The line of a function with this message.
async fn line(function: &Function, message: &str) -> Result<Value, Failed> {
    let mut logs = function.subscribe_logs().from_start();
    let words = format!("\"message\":\"{message}\"");
    let line = within(format!("the line {message:?}"), logs.find(|line| line.text.contains(&words))).await?;
    Ok(serde_json::from_str(&line.text)?)
}

async fn handed_on(propagators: &'static str, mode: TraceMode) -> Tested {
    let services = Services::new().await?;
    let change = |place: &'static str| {
        move |function: FunctionBuilder| {
            function.env("OTEL_PROPAGATORS", propagators).env("LAMBDA_LIFECYCLE_CORRELATION_ID", place)
        }
    };
    let api = services.function(Probe::W3cApi, mode.clone(), change("api_gateway")).await;
    let worker = services.function(Probe::W3cWorker, mode.clone(), change("sqs")).await;
    let mapping = EventSourceMapping::builder(&services.direct, Arc::new(worker.clone())).report_batch_item_failures(true);
    let _mapping = mapping.start()?;
    let request = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/orders", "rawQueryString": "", "headers": { "host": "example.com" },
        "requestContext": {
            "http": { "method": "POST", "path": "/orders" }, "domainName": "example.com", "stage": "$default", "requestId": "r-42",
        },
        "isBase64Encoded": false,
    });
    invoke(&api, request).await?;
    for (function, message) in [(&api, "ordered"), (&worker, "fulfilled")] {
        let line = line(function, message).await?;
        ensure(line["correlationId"] == "r-42", line.to_string())?;
    }
    within("the API to be frozen", api.wait_frozen()).await?;
    services.settle(&worker).await?;
    if mode == TraceMode::Active {
        let found = services.xray.traces.find(|document| document.annotation("correlation_id") == Some("r-42"));
        // The API's invocation and the worker's message.
        ensure(found.iter().filter(|document| !document.in_progress).count() == 2, format!("{found:#?}"))?;
    }
    Ok(())
}

/// The request of a caller that names the id.
fn from_caller(payload: impl Into<Value>) -> Event {
    let context = json!({ "custom": { "x-correlation-id": "r-43" } }).to_string();
    Event { payload: payload.into().to_string().into(), client_context: Some(context), ..Event::default() }
}

fn reads_header(function: FunctionBuilder) -> FunctionBuilder {
    function.env("LAMBDA_LIFECYCLE_CORRELATION_ID", "header:x-request-id")
}

async fn over_http() -> Tested {
    let services = Services::new().await?;
    let caller = services.function(Probe::Http, TraceMode::Active, reads_header).await;
    let api = services.function(Probe::W3cApi, TraceMode::Active, reads_header).await;
    let url = FunctionUrl::start(api.clone()).await?;
    let call = Call { url: format!("{}orders", url.url()), inside: Inside::Nothing };
    invoke_event(&caller, from_caller(json!(call))).await?;
    let line = line(&api, "ordered").await?;
    ensure(line["correlationId"] == "r-43", line.to_string())?;
    within("the API to be frozen", api.wait_frozen()).await?;
    services.settle(&caller).await?;
    let found = services.xray.traces.find(|document| document.annotation("correlation_id") == Some("r-43"));
    ensure(found.iter().filter(|document| !document.in_progress).count() == 2, format!("{found:#?}"))
}

async fn with_notification() -> Tested {
    let services = Services::new().await?;
    let publisher = services.function(Probe::Interceptor, TraceMode::Active, reads_header).await;
    let subscriber = services.function(Probe::Sns, TraceMode::Active, reads_header).await;
    services.topic.subscribe_function(Arc::new(subscriber.clone()));
    invoke_event(&publisher, from_caller(Sending::Publish)).await?;
    let line = line(&subscriber, "notified").await?;
    ensure(line["correlationId"] == "r-43", line.to_string())
}

/// `PutEvents` has no place for the caller's id beside the user's data.
async fn with_event() -> Tested {
    let services = Services::new().await?;
    let of_event = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_CORRELATION_ID", "event_bridge");
    let sender = services.function(Probe::Interceptor, TraceMode::Active, reads_header).await;
    let target = services.function(Probe::Bus, TraceMode::Active, of_event).await;
    services.bus.target_function(Arc::new(target.clone()));
    invoke_event(&sender, from_caller(Sending::Events { headers: Vec::new() })).await?;
    let line = line(&target, "happened").await?;
    ensure(line["correlationId"].is_string() && line["correlationId"] == line["event"], line.to_string())
}

async fn of_messages() -> Tested {
    let services = Services::new().await?;
    let place = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_CORRELATION_ID", "sqs");
    let worker = services.function(Probe::W3cWorker, TraceMode::NotSampled, place).await;
    let record = |id: &str| {
        json!({
            "messageId": id, "receiptHandle": "r", "body": "{}", "attributes": {}, "messageAttributes": {},
            "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders", "awsRegion": "eu-west-1",
        })
    };
    invoke(&worker, json!({ "Records": [record("m-1"), record("m-2")] })).await?;
    services.settle(&worker).await?;
    let lines = worker.logs().into_iter().filter(|line| line.text.contains("\"message\":\"fulfilled\""));
    let mut ids = lines
        .map(|line| Ok(serde_json::from_str::<Value>(&line.text)?["correlationId"].clone()))
        .collect::<Result<Vec<_>, Failed>>()?;
    ids.sort_by_key(Value::to_string);
    ensure(ids == ["m-1", "m-2"], format!("{ids:?}"))
}
