//! The trace header, from a call to the received message: every way to send, with and without the header in the environment, one
//! at a time and concurrently.

use crate::{
    function::{Call, Inside, Probe, Sending},
    runtime_api::ManagedFunction,
    services::{Services, invoke, invoke_event},
    support::{Gate, Tested, ensure, test, within},
};
use lambda_lifecycle::xray::{Sampled, TraceHeader};
use lambda_lifecycle_sandbox::{
    Event, Invoke,
    function::{FunctionBuilder, TraceMode},
    sqs::{Queue, StoredMessage},
    xray::{Document, TraceStore},
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::time::Duration;

/// Two producers with separate traces.
const MIXED: [&str; 2] = [
    "Root=1-11111111-bd862e3fe1be46a994272793;Parent=1111111111111111;Sampled=1",
    "Root=1-22222222-bd862e3fe1be46a994272793;Parent=2222222222222222;Sampled=0;Lineage=a87bd80c:1",
];

/// A way to send.
struct Way {
    name: &'static str,
    /// The AWS operation.
    operation: &'static str,
    send: fn(Vec<String>) -> Sending,
    mixed: bool,
    /// X-Ray's name for the service.
    service: &'static str,
    /// The queues that receive the message.
    arrives: fn(&Services) -> Vec<&Queue>,
    messages: usize,
}

const WAYS: [Way; 7] = [
    Way {
        name: "SendMessage",
        operation: "SendMessage",
        send: |_| Sending::Message,
        mixed: false,
        service: "SQS",
        arrives: |stage| vec![&stage.direct],
        messages: 1,
    },
    Way {
        name: "SendMessageBatch",
        operation: "SendMessageBatch",
        send: |headers| Sending::MessageBatch { headers },
        mixed: false,
        service: "SQS",
        arrives: |stage| vec![&stage.direct],
        messages: 2,
    },
    Way {
        name: "SendMessageBatch of mixed traces",
        operation: "SendMessageBatch",
        send: |headers| Sending::MessageBatch { headers },
        mixed: true,
        service: "SQS",
        arrives: |stage| vec![&stage.direct],
        messages: 2,
    },
    Way {
        name: "SNS → SQS",
        operation: "Publish",
        send: |_| Sending::Publish,
        mixed: false,
        service: "SNS",
        arrives: |stage| vec![&stage.raw, &stage.wrapped],
        messages: 1,
    },
    Way {
        name: "SNS batch → SQS",
        operation: "PublishBatch",
        send: |_| Sending::PublishBatch,
        mixed: false,
        service: "SNS",
        arrives: |stage| vec![&stage.raw, &stage.wrapped],
        messages: 2,
    },
    Way {
        name: "EventBridge",
        operation: "PutEvents",
        send: |headers| Sending::Events { headers },
        mixed: false,
        service: "EventBridge",
        arrives: |stage| vec![&stage.events],
        messages: 2,
    },
    Way {
        name: "EventBridge of mixed traces",
        operation: "PutEvents",
        send: |headers| Sending::Events { headers },
        mixed: true,
        service: "EventBridge",
        arrives: |stage| vec![&stage.events],
        messages: 2,
    },
];

pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for way in &WAYS {
        for client in [Probe::Interceptor, Probe::Traced] {
            tests.push(test(format!("{} × {client:?} × sequential, header in the environment", way.name), move || {
                sequential(way, client)
            }));
            tests.push(test(format!("{} × {client:?} × concurrent, none in the environment", way.name), move || {
                concurrent(way, client)
            }));
        }
        tests.push(test(format!("{} × not sampled: sent on unchanged", way.name), move || not_sampled(way)));
    }
    for client in [Probe::Interceptor, Probe::Traced] {
        tests.push(test(format!("{client:?}: beyond the limit calls that send are not sampled, and are counted"), move || {
            limited(client)
        }));
    }
    tests.push(test("by default a hundred calls that send are sampled", limited_by_default));
    tests.push(test("a refused call is an error with the service's code, in both protocols", refused));
    tests.push(test("a call may take no longer than its invocation has", bounded));
    tests.push(test("an attempt of a shared HTTP client may take no longer than its invocation has", attempts_bounded));
    tests.push(test("a call of work that outlived its invocation has the time that it asks for", outlived));
    tests.push(test("a client with two interceptors has one span of a call", two_interceptors));
    tests.push(test("a dropped call ends as cancelled", dropped));
    tests.push(test("plain HTTP: a call inside a span of the handler's is below it, a root to tracing or not", inside_a_span));
    tests.push(test("plain HTTP: the layer's span and headers, and the headers alone", plain_http));
    tests
}

fn event(way: &Way) -> Sending {
    let headers: &[&str] = if way.mixed { &MIXED } else { &[] };
    (way.send)(headers.iter().map(ToString::to_string).collect())
}

fn headers(queue: &Queue) -> Vec<String> {
    queue.peek().into_iter().map(|StoredMessage { trace_header, .. }| trace_header.unwrap_or_default()).collect()
}

/// The call of this trace has a span, and every received message names it.
fn arrived_from_the_call(stage: &Services, traces: &TraceStore, way: &Way, trace_id: &str) -> Tested {
    let call = stage.only("the call", |document| document.name == way.service && document.trace_id == trace_id)?;
    ensure(call.namespace.as_deref() == Some("aws"), "its namespace is not aws")?;
    ensure(call.aws["operation"] == way.operation, format!("its operation is {}", call.aws["operation"]))?;
    ensure(call.aws["region"] == "us-east-1" && call.aws["request_id"].is_string(), format!("{:?}", call.aws))?;
    let named = match way.service {
        "SQS" => call.aws.get("queue_url") == Some(&json!(stage.direct.url)),
        "SNS" => call.aws.get("topic_arn") == Some(&json!(stage.topic.arn)),
        _ => true,
    };
    ensure(named, format!("the resource is not named: {:?}", call.aws))?;
    let parent = traces.find(|document| Some(&document.id) == call.parent_id.as_ref());
    ensure(parent.len() == 1, "it hangs nowhere")?;
    for queue in (way.arrives)(stage) {
        let ours: Vec<String> = headers(queue).into_iter().filter(|header| way.mixed || header.contains(trace_id)).collect();
        ensure(ours.len() == way.messages, format!("{} messages of the call in {}: {ours:?}", ours.len(), queue.arn))?;
        for (at, header) in ours.iter().enumerate() {
            if way.mixed {
                ensure(header == MIXED[at], format!("message {at} has {header}"))?;
                continue;
            }
            let header = TraceHeader::parse(header);
            let parent = header.parent().map(|parent| parent.to_string());
            ensure(parent.as_deref() == Some(call.id.as_str()), format!("{header} is not of the call {}", call.id))?;
        }
    }
    Ok(())
}

async fn sequential(way: &'static Way, client: Probe) -> Tested {
    let stage = Services::new().await?;
    let function = stage.function(client, TraceMode::Active, |function| function).await;
    let answer = invoke(&function, event(way)).await?;
    stage.settle(&function).await?;
    arrived_from_the_call(&stage, &stage.traces, way, &answer.trace_id)
}

async fn concurrent(way: &'static Way, client: Probe) -> Tested {
    let stage = Services::new().await?;
    let function = ManagedFunction::start(&stage, client).await?;
    let traces: Vec<String> =
        (1..=if way.mixed { 1 } else { 4 }).map(|number| format!("1-6553f1{number:02}-{number:024x}")).collect();
    let payload = Value::from(event(way));
    let invocations = traces.iter().map(|trace| {
        let header = format!("Root={trace};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1");
        let (function, payload) = (&function, &payload);
        async move { function.invoke(trace, &header, payload).await }
    });
    for answered in futures_util::future::join_all(invocations).await {
        answered?;
    }
    // Documents are sent after the responses.
    let ended = |document: &Document| document.annotation("outcome").is_some() && !document.in_progress;
    stage.traces.wait_for(traces.len(), ended).await?;
    for trace in &traces {
        arrived_from_the_call(&stage, &stage.traces, way, trace)?;
    }
    Ok(())
}

async fn not_sampled(way: &'static Way) -> Tested {
    let came = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a87bd80c:1|68fd508a:5";
    for client in [Probe::Interceptor, Probe::Traced] {
        let stage = Services::new().await?;
        let function = stage.function(client, TraceMode::Raw(came.to_owned()), |function| function).await;
        invoke(&function, event(way)).await?;
        stage.settle(&function).await?;
        ensure(stage.traces.datagrams().is_empty(), "documents were sent")?;
        for queue in (way.arrives)(&stage) {
            let expected: Vec<&str> = if way.mixed { MIXED.to_vec() } else { vec![came; way.messages] };
            ensure(headers(queue) == expected, format!("{client:?}: {:?}", headers(queue)))?;
        }
    }
    Ok(())
}

/// How many messages in the queue are sampled, and how many are not; each names a call of its own in this trace.
fn sampled(stage: &Services, trace_id: &str) -> Result<(usize, usize), Failed> {
    let ours: Vec<TraceHeader> = headers(&stage.direct)
        .iter()
        .filter(|header| header.contains(trace_id))
        .map(|header| TraceHeader::parse(header))
        .collect();
    let calls = stage.traces.find(|document| document.name == "SQS" && document.trace_id == trace_id);
    for header in &ours {
        let parent = header.parent().map(|parent| parent.to_string());
        ensure(calls.iter().filter(|call| Some(&call.id) == parent.as_ref()).count() == 1, format!("{header} is of no call"))?;
    }
    let yes = ours.iter().filter(|header| header.sampled() == Sampled::Yes).count();
    let no = ours.iter().filter(|header| header.sampled() == Sampled::No).count();
    ensure(yes + no == ours.len(), format!("{ours:?}"))?;
    Ok((yes, no))
}

async fn limited(client: Probe) -> Tested {
    let stage = Services::new().await?;
    let limit = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_TRACE_SENDS", "3");
    let function = stage.function(client, TraceMode::Active, limit).await;
    let mut seen = Vec::new();
    for count in [5, 1] {
        let answer = invoke(&function, Sending::Messages { count }).await?;
        stage.settle(&function).await?;
        let of_trace = |document: &Document| document.trace_id == answer.trace_id;
        let counts = stage.traces.find(|document| of_trace(document) && document.annotations.contains_key("sends_not_sampled"));
        let counts: Vec<u64> = counts.iter().filter_map(|document| document.annotations["sends_not_sampled"].as_u64()).collect();
        seen.push((sampled(&stage, &answer.trace_id)?, counts));
    }
    // Two during the first invocation, and one in the work after its response. The second one begins anew.
    ensure(seen == [((3, 3), vec![2, 1]), ((2, 0), vec![])], format!("{seen:?}"))?;
    let told = function.logs().iter().filter(|line| line.text.contains("\"sends_not_sampled\"")).count();
    ensure(told == 1, format!("told {told} times"))
}

async fn limited_by_default() -> Tested {
    let stage = Services::new().await?;
    let function = stage.function(Probe::Interceptor, TraceMode::Active, |function| function).await;
    let answer = invoke(&function, Sending::Messages { count: 102 }).await?;
    stage.settle(&function).await?;
    ensure(sampled(&stage, &answer.trace_id)? == (100, 3), format!("{:?}", sampled(&stage, &answer.trace_id)))
}

async fn refused() -> Tested {
    for client in [Probe::Interceptor, Probe::Traced] {
        let stage = Services::new().await?;
        let function = stage.function(client, TraceMode::Active, |function| function).await;
        for (send, service, part) in
            [(Sending::ToUnknownQueue, "SQS", "NonExistentQueue"), (Sending::ToUnknownTopic, "SNS", "NotFound")]
        {
            let answer = invoke(&function, send).await?;
            ensure(answer.result.as_deref() == Ok(&b"true"[..]), "the call was not refused")?;
            stage.settle(&function).await?;
            let call = stage.only("the call", |document| document.name == service)?;
            ensure(call.error && !call.fault, format!("error {}, fault {}", call.error, call.fault))?;
            if client == Probe::Traced {
                // The function sees only the head of the response, and the sandbox's queue puts its error code into the body.
                continue;
            }
            let exceptions = call.exceptions();
            let kind = exceptions.first().and_then(|exception| exception.kind.as_deref()).unwrap_or_default();
            ensure(kind.contains(part), format!("{service}: {exceptions:?}"))?;
        }
    }
    Ok(())
}

async fn bounded() -> Tested {
    let stage = Services::new().await?;
    // The soft deadline bounds the call: after it, there is plenty of time for the response.
    let grace = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "9000");
    let function = stage.function(Probe::Interceptor, TraceMode::Active, grace).await;
    let payload = Value::from(Sending::LongPoll).to_string().into();
    let event = Event { payload, timeout: Some(Duration::from_secs(10)), ..Event::default() };
    let answer = invoke_event(&function, event).await?;
    ensure(answer.result.as_deref() == Ok(&br#""timeout""#[..]), format!("no timeout: {:?}", answer.result))?;
    stage.settle(&function).await?;
    let call = stage.only("the call", |document| document.name == "SQS")?;
    let kind = call.exceptions().first().and_then(|exception| exception.kind.clone());
    ensure(call.fault && kind.as_deref() == Some("TimeoutError"), format!("{:?}", call.exceptions()))
}

/// The HTTP client limits each attempt and makes no further one, and its error is the deadline's.
async fn attempts_bounded() -> Tested {
    let stage = Services::new().await?;
    let grace = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "9000");
    let function = stage.function(Probe::Traced, TraceMode::Active, grace).await;
    let payload = Value::from(Sending::LongPoll).to_string().into();
    let event = Event { payload, timeout: Some(Duration::from_secs(10)), ..Event::default() };
    let answer = within("the answer", function.invoke(event)).await?;
    ensure(answer.result.is_err(), format!("no error: {:?}", answer.result))?;
    stage.settle(&function).await?;
    let call = stage.only("the attempt", |document| document.name == "SQS")?;
    let kind = call.exceptions().first().and_then(|exception| exception.kind.clone());
    ensure(call.fault && kind.as_deref() == Some("DispatchFailure"), format!("{:?}", call.exceptions()))?;
    let outcome = stage.only("the invocation", |document| document.annotations.contains_key("outcome"))?;
    ensure(outcome.annotations["outcome"] == "deadline_exceeded", format!("{:?}", outcome.annotations))
}

async fn outlived() -> Tested {
    let stage = Services::new().await?;
    let change = |function: FunctionBuilder| function.env("LAMBDA_LIFECYCLE_AFTER_RESPONSE", "freeze");
    let function = stage.function(Probe::Interceptor, TraceMode::Active, change).await;
    let payload = Value::from(Sending::LongPollInFrozenWork).to_string().into();
    invoke_event(&function, Event { payload, timeout: Some(Duration::from_secs(4)), ..Event::default() }).await?;
    // The work continues in the next invocation, after its own invocation's deadline.
    let gate = Gate::new().await?;
    let waiting = Sending::NothingUntil { gate: gate.address()? };
    let told = async {
        let held = gate.held().await?;
        let mut lines = function.subscribe_logs().from_start();
        let succeeded = |text: &str| serde_json::from_str::<Value>(text).ok()?["frozen_call_succeeded"].as_bool();
        let line = within("the end of the call", lines.find(|line| succeeded(&line.text).is_some())).await?;
        held.release();
        Ok((succeeded(&line.text), line.text))
    };
    let (_, told) = tokio::try_join!(invoke(&function, waiting), told)?;
    ensure(told.0 == Some(true), told.1)
}

async fn dropped() -> Tested {
    for client in [Probe::Interceptor, Probe::Traced] {
        let stage = Services::new().await?;
        let function = stage.function(client, TraceMode::Active, |function| function).await;
        let answer = invoke(&function, Sending::DroppedPoll).await?;
        ensure(answer.result.as_deref() == Ok(&b"true"[..]), format!("it ended: {:?}", answer.result))?;
        stage.settle(&function).await?;
        let call = stage.only("the call", |document| document.name == "SQS")?;
        let told = call.exceptions().iter().any(|exception| exception.kind.as_deref() == Some("Cancelled"));
        ensure(call.fault && told, format!("{:?}", call.exceptions()))?;
    }
    Ok(())
}

async fn two_interceptors() -> Tested {
    let stage = Services::new().await?;
    let function = stage.function(Probe::TwoInterceptors, TraceMode::Active, |function| function).await;
    invoke(&function, Sending::Message).await?;
    stage.settle(&function).await?;
    let call = stage.only("the call", |document| document.name == "SQS")?;
    ensure(!call.fault && !call.error, format!("{:?}", call.exceptions()))
}

async fn inside_a_span() -> Tested {
    let server = axum::Router::new().fallback(async || "here");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, server).await });
    for inside in [Inside::Span, Inside::Root] {
        let stage = Services::new().await?;
        let function = stage.function(Probe::Http, TraceMode::Active, |function| function).await;
        invoke(&function, json!(Call { url: url.clone(), inside })).await?;
        stage.settle(&function).await?;
        let (outer, call) = (
            stage.only("the span", |document| document.name == "outer")?,
            stage.only("the call", |document| document.name == "127.0.0.1")?,
        );
        ensure(call.parent_id.as_ref() == Some(&outer.id), format!("inside {inside:?} the call has another parent"))?;
    }
    Ok(())
}

async fn plain_http() -> Tested {
    let (seen, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let server = axum::Router::new().fallback(move |headers: axum::http::HeaderMap| {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let _ = seen.send((header("x-amzn-trace-id"), header("traceparent")));
        async { axum::http::StatusCode::SERVICE_UNAVAILABLE }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/orders?secret=1", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, server).await });

    let stage = Services::new().await?;
    let w3c = |function: FunctionBuilder| function.env("OTEL_PROPAGATORS", "xray,tracecontext");
    let function = stage.function(Probe::Http, TraceMode::Active, w3c).await;
    let answer = invoke(&function, json!(Call { url, inside: Inside::Nothing })).await?;
    stage.settle(&function).await?;
    let call = stage.only("the call", |document| document.name == "127.0.0.1")?;
    let (xray, w3c) = heard.recv().await.ok_or("no request came")?;
    let parent = |header: Option<TraceHeader>| header.and_then(|header| header.parent()).map(|parent| parent.to_string());
    ensure(parent(xray.as_deref().map(TraceHeader::parse)).as_ref() == Some(&call.id), format!("{xray:?}"))?;
    ensure(parent(w3c.as_deref().and_then(TraceHeader::from_traceparent)).as_ref() == Some(&call.id), format!("{w3c:?}"))?;
    let http = call.http.clone().unwrap_or_default();
    ensure(call.fault && http.status == Some(503), format!("{http:?}"))?;
    ensure(http.url.is_some_and(|url| url.ends_with("/orders")), "the query is in the document")?;

    let body: Value = serde_json::from_slice(answer.result.as_ref().map_err(ToString::to_string)?)?;
    let plain = TraceHeader::parse(body["x-amzn-trace-id"].as_str().unwrap_or_default());
    let invocation = stage.only("the invocation", |document| document.annotation("outcome").is_some())?;
    ensure(parent(Some(plain.clone())).as_ref() == Some(&invocation.id), format!("{plain}"))?;
    let same: Result<_, Failed> = Ok(plain.to_traceparent() == body["traceparent"].as_str().map(str::to_owned));
    ensure(same?, "the two headers differ")
}
