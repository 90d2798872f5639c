//! The consumers: how they record the messages, notifications and events that they receive.

use crate::{
    function::{Do, Probe, Sending},
    services::{Services, invoke},
    support::{Tested, ensure, test, within},
};
use lambda_lifecycle::xray::{TraceHeader, format_trace_id};
use lambda_lifecycle_sandbox::{
    Event, Invoke,
    function::{Function, FunctionBuilder, TraceMode},
    xray::Document,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::sync::Arc;

const PRODUCER: &str = "1-5759e988-bd862e3fe1be46a994272793";
const CALL: &str = "53995c3f42cd8ad8";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const W3C_TRACE: &str = "1-4bf92f35-77b34da6a3ce929d0e0e4736";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("SQS: a message names and links its producer, and records its age and its receive count", message),
        test("SQS: a W3C traceparent among the attributes is a link too, if it is enabled", w3c),
        test("SQS: a batch has a link for each distinct producer, twenty at most", links),
        test("SQS: a message that is not sampled adds no document, and its header is sent on", not_sampled),
        test("SQS: over the budget only failures have spans, and no child is left without a parent", budget),
        test("SQS: continued, the work is a segment in the producer's trace", continued),
        test("SQS: from SNS the body is the published message", from_sns),
        test("SQS: raw bodies are unchanged", raw),
        test("SQS: an event of another source is refused by name", foreign_event),
        test("SNS: the function's work is in the publisher's trace", sns),
        test("SNS and EventBridge: a panic of the handler is reported as a panic", panicking),
        test("EventBridge: the function's work is in the sender's trace", event_bridge),
    ]
}

fn record(id: &str, body: &Value, header: Option<&str>) -> Value {
    let sent = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis() - 1_000;
    let mut attributes = json!({ "ApproximateReceiveCount": "3", "SentTimestamp": sent.to_string() });
    if let Some(header) = header {
        attributes["AWSTraceHeader"] = json!(header);
    }
    let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    json!({
        "messageId": id, "receiptHandle": "r", "body": body, "attributes": attributes, "messageAttributes": {},
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:orders", "awsRegion": "us-east-1",
    })
}

fn sampled() -> String {
    format!("Root={PRODUCER};Parent={CALL};Sampled=1")
}

struct Ran {
    stage: Services,
    function: Function,
    answer: Value,
    trace_id: String,
}

async fn worker(probe: Probe, records: Vec<Value>) -> Result<Ran, Failed> {
    worker_with(probe, records, |function| function).await
}

/// A worker that links to W3C's callers.
async fn linking(probe: Probe, records: Vec<Value>) -> Result<Ran, Failed> {
    worker_with(probe, records, |function| {
        function.env("OTEL_PROPAGATORS", "xray,tracecontext").env("LAMBDA_LIFECYCLE_TRACE_PARENT", "link")
    })
    .await
}

async fn worker_with(
    probe: Probe,
    records: Vec<Value>,
    change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
) -> Result<Ran, Failed> {
    let stage = Services::new().await?;
    let call = json!({
        "name": "producer", "id": CALL, "trace_id": PRODUCER, "start_time": 1_478_293_361.0, "end_time": 1_478_293_362.0,
    });
    stage.traces.put_platform_segment(call);
    let function = stage.function(probe, TraceMode::Active, change).await;
    let answer = invoke(&function, json!({ "Records": records })).await?;
    stage.settle(&function).await?;
    let trace_id = answer.trace_id.clone();
    let answer = serde_json::from_slice(answer.result.as_ref().map_err(ToString::to_string)?)?;
    Ok(Ran { stage, function, answer, trace_id })
}

impl Ran {
    fn of_message(&self, id: &str) -> Result<Arc<Document>, Failed> {
        self.stage.only("the message", |document| document.annotation("message_id") == Some(id))
    }

    fn handled(&self, id: &str) -> Result<Value, Failed> {
        let lines = self.function.logs().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line.text).ok());
        let mut lines = lines.filter(|line| line["handled"] == id);
        Ok(lines.next().ok_or("the message was not handled")?)
    }
}

fn linked(document: &Document) -> Vec<(&str, &str)> {
    document.links.iter().map(|link| (&*link.trace_id, &*link.id)).collect()
}

async fn message() -> Tested {
    let ran = worker(Probe::Worker, vec![record("m1", &json!({}), Some(&sampled())), record("m2", &json!({}), None)]).await?;
    let document = ran.of_message("m1")?;
    ensure(linked(&document) == [(PRODUCER, CALL)], format!("{:?}", document.links))?;
    ensure(document.annotation("producer_trace_id") == Some(PRODUCER), format!("{:?}", document.annotations))?;
    let metadata = &document.metadata["default"];
    ensure(metadata["messaging.message.receive_count"] == 3, metadata.to_string())?;
    ensure(metadata["messaging.message.age_ms"].as_u64().is_some_and(|age| age >= 1_000), metadata.to_string())?;
    let plain = ran.of_message("m2")?;
    ensure(plain.links.is_empty() && plain.annotation("producer_trace_id").is_none(), "a producer was made up")?;
    let batch = ran.stage.only("the batch", |document| document.name == "process orders")?;
    ensure([&document, &plain].iter().all(|message| message.parent_id.as_ref() == Some(&batch.id)), "they hang elsewhere")?;
    let children = ran.stage.traces.find(|child| child.name == "work" && child.parent_id.as_ref() == Some(&document.id));
    ensure(children.len() == 1, "the user's span is not a child of its message's")
}

async fn w3c() -> Tested {
    let mut both = record("m1", &json!({}), Some(&sampled()));
    both["messageAttributes"] = json!({ "traceparent": { "stringValue": TRACEPARENT, "dataType": "String" } });
    let mut alone = record("m2", &json!({}), None);
    alone["messageAttributes"] = both["messageAttributes"].clone();
    let ran = linking(Probe::Worker, vec![both.clone(), alone]).await?;
    let w3c = (W3C_TRACE, "00f067aa0ba902b7");
    ensure(linked(&*ran.of_message("m1")?) == [(PRODUCER, CALL), w3c], "not both are linked")?;
    let alone = ran.of_message("m2")?;
    ensure(linked(&alone) == [w3c] && alone.annotation("producer_trace_id") == Some(W3C_TRACE), "the W3C parent is not linked")?;
    let ran = worker(Probe::Worker, vec![both]).await?;
    ensure(linked(&*ran.of_message("m1")?) == [(PRODUCER, CALL)], "it is linked although this is not enabled")
}

async fn links() -> Tested {
    let header = |producer: usize| format!("Root=1-5759e988-{producer:024x};Parent={CALL};Sampled=1");
    let few = (0..6).map(|number| record(&format!("m{number}"), &json!({}), Some(&header(1 + number % 3)))).collect();
    let ran = worker(Probe::Worker, few).await?;
    let batch = ran.stage.only("the batch", |document| document.name == "process orders")?;
    ensure(batch.links.len() == 3, format!("{} links for three producers", batch.links.len()))?;
    let many = (0..30).map(|number| record(&format!("m{number}"), &json!({}), Some(&header(1 + number)))).collect();
    let ran = worker(Probe::Worker, many).await?;
    let batch = ran.stage.only("the batch", |document| document.name == "process orders")?;
    ensure(batch.links.len() == 20, format!("{} links for thirty producers", batch.links.len()))
}

async fn not_sampled() -> Tested {
    let header = format!("Root={PRODUCER};Parent={CALL};Sampled=0;Lineage=a87bd80c:1");
    let failing = Do::Fail.body();
    let ran = worker(Probe::Worker, vec![record("m1", &json!({}), Some(&header)), record("m2", &failing, Some(&header))]).await?;
    ensure(ran.answer == json!({ "batchItemFailures": [{ "itemIdentifier": "m2" }] }), ran.answer.to_string())?;
    let messages = ran.stage.traces.find(|document| document.annotation("message_id").is_some() || document.name == "work");
    ensure(messages.is_empty(), format!("{} documents", messages.len()))?;
    let line = ran.handled("m1")?;
    ensure(line["header"] == header, format!("not sent on: {line}"))
}

async fn budget() -> Tested {
    let body = |number: usize| if number == 7 { Do::Fail.body() } else { json!({}) };
    let records = (0..10).map(|number| record(&format!("m{number}"), &body(number), Some(&sampled()))).collect();
    let ran = worker(Probe::WorkerBudget, records).await?;
    let names = |name: &str| ran.stage.traces.find(|document| document.name == name);
    let mut messages: Vec<String> =
        names("process").iter().filter_map(|document| document.annotation("message_id").map(str::to_owned)).collect();
    messages.sort_unstable();
    ensure(messages == ["m0", "m1", "m7"], format!("{messages:?}"))?;
    ensure(ran.of_message("m7")?.fault, "the failure is not marked as a fault")?;
    ensure(names("work").len() == 2, format!("{} spans of the user", names("work").len()))?;
    let batch = ran.stage.only("the batch", |document| document.name == "process orders")?;
    ensure(batch.metadata["default"]["messaging.batch.recorded_if_failed"] == 8, format!("{:?}", batch.metadata))?;
    // A call made without a message's span belongs to the batch's span.
    let line = ran.handled("m5")?;
    let header = TraceHeader::parse(line["header"].as_str().unwrap_or_default());
    let (root, parent) = (header.root().map(format_trace_id), header.parent().map(|parent| parent.to_string()));
    ensure((root, parent) == (Some(ran.trace_id), Some(batch.id.clone())), line.to_string())
}

async fn continued() -> Tested {
    let ran = worker(Probe::WorkerContinues, vec![record("m1", &Do::Fail.body(), Some(&sampled()))]).await?;
    let message = ran.of_message("m1")?;
    ensure(message.trace_id == PRODUCER && message.parent_id.as_deref() == Some(CALL), format!("{}", message.raw))?;
    ensure(message.raw.get("type").is_none() && message.fault, format!("no segment: {}", message.raw))?;
    let batch = ran.stage.only("the batch", |document| document.name == "process orders")?;
    ensure(linked(&message) == [(&*ran.trace_id, &*batch.id)], "it does not link back to its batch")?;
    let work = ran.stage.only("the work", |document| document.name == "work")?;
    ensure(work.trace_id == PRODUCER && work.parent_id.as_ref() == Some(&message.id), "the work is not in the producer's trace")?;
    let line = ran.handled("m1")?;
    let header = format!("Root={PRODUCER};Parent={};Sampled=1", message.id);
    ensure(line["header"] == header, line.to_string())
}

async fn from_sns() -> Tested {
    let wrapped = json!({
        "Type": "Notification", "MessageId": "n1", "TopicArn": "arn:aws:sns:us-east-1:000000000000:placed",
        "Message": Do::Fail.body().to_string(), "Timestamp": "2026-11-01T00:00:00.000Z", "SignatureVersion": "1",
        "MessageAttributes": { "traceparent": { "Type": "String", "Value": TRACEPARENT } },
    });
    let ran = linking(Probe::WorkerSns, vec![record("m1", &wrapped, Some(&sampled())), record("m2", &Do::Succeed.body(), None)])
        .await?;
    let back = json!({ "batchItemFailures": [{ "itemIdentifier": "m1" }, { "itemIdentifier": "m2" }] });
    ensure(ran.answer == back, ran.answer.to_string())?;
    let message = ran.of_message("m1")?;
    ensure(linked(&message) == [(PRODUCER, CALL), (W3C_TRACE, "00f067aa0ba902b7")], format!("{:?}", message.links))?;
    let line = ran.handled("m1")?;
    ensure(line["topic"] == "placed", line.to_string())?;
    let bare = ran.of_message("m2")?;
    let told = bare
        .exceptions()
        .iter()
        .any(|exception| exception.message.as_deref().is_some_and(|message| message.contains("raw message delivery")));
    ensure(told, format!("{:?}", bare.exceptions()))
}

async fn raw() -> Tested {
    let ran = worker(Probe::WorkerRaw, vec![record("m1", &json!("plain text"), None), record("m2", &json!("{"), None)]).await?;
    ensure(ran.answer == json!({ "batchItemFailures": [{ "itemIdentifier": "m2" }] }), ran.answer.to_string())
}

async fn foreign_event() -> Tested {
    let stage = Services::new().await?;
    let function = stage.function(Probe::Worker, TraceMode::Active, |function| function).await;
    for (event, part) in [
        (json!({ "Records": [{ "eventSource": "aws:s3", "s3": {} }] }), "NotAnSqsEvent"),
        (json!({ "order": 1 }), "missing field `Records`"),
    ] {
        let answer =
            within("the answer", function.invoke(Event { payload: event.to_string().into(), ..Event::default() })).await?;
        let error = format!("{:?}", answer.result);
        ensure(answer.result.is_err() && error.contains(part), error)?;
    }
    Ok(())
}

async fn sns() -> Tested {
    let stage = Services::new().await?;
    let consumer = stage.function(Probe::Sns, TraceMode::Active, |function| function).await;
    stage.topic.subscribe_function(Arc::new(consumer.clone()));
    let id = publish(&stage, Sending::Publish, 1, &consumer).await?;
    let span = stage.only("the notification", |document| document.name == "process orders")?;
    ensure(span.trace_id == id, format!("in trace {} and not {id}", span.trace_id))?;
    let work = stage.only("the work", |document| document.name == "work")?;
    ensure(work.parent_id.as_ref() == Some(&span.id), "the work has another parent")
}

async fn event_bridge() -> Tested {
    let stage = Services::new().await?;
    let consumer = stage.function(Probe::Bus, TraceMode::Active, |function| function).await;
    stage.bus.target_function(Arc::new(consumer.clone()));
    let id = publish(&stage, Sending::Events { headers: Vec::new() }, 2, &consumer).await?;
    let spans = stage.traces.find(|document| document.name == "process placed");
    ensure(spans.len() == 2 && spans.iter().all(|span| span.trace_id == id), format!("{spans:?}"))?;
    ensure(spans.iter().all(|span| span.annotation("detail_type") == Some("placed")), "the kind of event is not annotated")
}

async fn panicking() -> Tested {
    let order = Do::Panic.body();
    let sns = json!({ "Message": order.to_string(), "MessageId": "m1", "TopicArn": "arn:aws:sns:us-east-1:000000000000:orders" });
    for (probe, event) in [
        (Probe::Sns, json!({ "Records": [{ "EventSource": "aws:sns", "Sns": sns }] })),
        (Probe::Bus, json!({ "source": "shop", "detail-type": "placed", "detail": order })),
    ] {
        let stage = Services::new().await?;
        let function = stage.function(probe, TraceMode::Active, |function| function).await;
        let answer =
            within("the answer", function.invoke(Event { payload: event.to_string().into(), ..Event::default() })).await?;
        ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
        stage.settle(&function).await?;
        let span = stage.only("the hop", |document| document.name.starts_with("process "))?;
        let exceptions = span.exceptions();
        let kinds: Vec<_> = exceptions.iter().filter_map(|exception| exception.kind.as_deref()).collect();
        ensure(span.fault && kinds == ["Lifecycle.Panic"], format!("{probe:?}: {exceptions:?}"))?;
    }
    Ok(())
}

/// Invokes a function that sends, and waits until the consumer has handled this number of messages.
async fn publish(stage: &Services, sending: Sending, wanted: usize, consumer: &Function) -> Result<String, Failed> {
    let producer = stage.function(Probe::Interceptor, TraceMode::Active, |function| function).await;
    let answer = invoke(&producer, sending).await?;
    stage.traces.wait_for(wanted, |document| document.name.starts_with("process ") && document.end.is_some()).await?;
    within("the producer to be frozen", producer.wait_frozen()).await?;
    stage.settle(consumer).await?;
    Ok(answer.trace_id)
}
