//! Managed Instances that reject what comes while all their workers are busy.

use crate::{
    managed::{count, held_at, managed},
    raw::{Reply, request, send},
    support::{Gate, Held, Outcome, echo, ensure, ensure_eq, event, futures_pending, invoke, printed, trial, value},
};
use lambda_lifecycle_sandbox::{
    Event, Failure, FunctionResponse, Invoke,
    event_bridge::EventBridge,
    function::{EventKind, Function},
    sns::Sns,
    sqs::{EventSourceMapping, QueueOptions, Sqs},
    streams::{Stream, StreamMapping},
    url::FunctionUrl,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{future::Future, pin::Pin, sync::Arc};
use tokio::{sync::watch, task::JoinHandle};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        trial("managed_a_call_that_finds_all_workers_busy_is_rejected", rejected),
        trial("managed_the_invoke_api_and_the_url_answer_429_to_what_is_rejected", rejected_over_http),
        trial(
            "managed_asynchronous_invocations_of_sns_eventbridge_and_callers_that_are_rejected_run_when_there_is_room",
            asynchronous,
        ),
        trial("managed_a_mapping_that_is_rejected_loses_no_record_and_no_retry", mappings),
    ]
}

/// Both workers are busy until what is held is dropped.
async fn busy(function: &Function) -> Result<(Vec<JoinHandle<FunctionResponse>>, Vec<Held>), Failed> {
    let gate = Gate::new().await?;
    let task = json!({ "gate": gate.address()?, "answer": "held" });
    let call = || {
        let (function, event) = (function.clone(), event(&task));
        tokio::spawn(async move { function.invoke(event).await })
    };
    let calls = vec![call(), call()];
    Ok((calls, held_at(&gate, 2).await?))
}

async fn rejected() -> Outcome {
    let function = managed("", 2).await?;
    let (calls, mut held) = busy(&function).await?;
    // Both hold on, so this response needs neither.
    ensure_eq(invoke(&function, echo("third")).await.result, Err(Failure::Throttled))?;
    ensure_eq(count(&function.timeline(), "EventOut"), 2)?;
    let mut room = function.wait_for_room();
    ensure(futures_pending(room.as_mut()).await, "there is no room")?;
    held.pop().ok_or("two are held")?.release();
    room.await;
    ensure_eq(value(&invoke(&function, echo("third")).await)?, json!("third"))?;
    drop(held);
    for call in calls {
        ensure_eq(value(&call.await?)?, json!("held"))?;
    }
    Ok(())
}

async fn exchange(url: &FunctionUrl, request: Vec<u8>) -> Result<Reply, Failed> {
    send_to(&format!("http://{}", url.address()), request).await
}

async fn send_to(endpoint: &str, request: Vec<u8>) -> Result<Reply, Failed> {
    let address = endpoint.trim_start_matches("http://").to_owned();
    Ok(tokio::task::spawn_blocking(move || send(&address, &request)).await??)
}

const INVOKE: &str = "/2015-03-31/functions/probe/invocations";

async fn rejected_over_http() -> Outcome {
    let function = managed("", 2).await?;
    let url = FunctionUrl::start(function.clone()).await?;
    let (calls, held) = busy(&function).await?;
    let reply = exchange(&url, request("POST", INVOKE, &[], b"{}")).await?;
    let body: Value = serde_json::from_str(&reply.body)?;
    ensure_eq((reply.status, reply.header("x-amzn-errortype")), (429, Some("TooManyRequestsException")))?;
    ensure_eq(body["Reason"].as_str(), Some("ConcurrentInvocationLimitExceeded"))?;
    ensure_eq(reply.header("x-amz-function-error"), None)?;
    ensure_eq(exchange(&url, request("GET", "/", &[], b"")).await?.status, 429)?;
    drop(held);
    for call in calls {
        value(&call.await?)?;
    }
    Ok(())
}

async fn asynchronous() -> Outcome {
    let function = managed("", 2).await?;
    let rejections = Arc::new(Counted { function: function.clone(), rejections: watch::Sender::new(0) });
    let (url, sns, bus) = (FunctionUrl::start(rejections.clone()).await?, Sns::start().await?, EventBridge::start().await?);
    let topic = sns.create_topic("news");
    topic.subscribe_function(rejections.clone());
    bus.target_function(rejections.clone());
    let (calls, held) = busy(&function).await?;
    let (asynchronous, put) = ([("x-amz-invocation-type", "Event")], [("x-amz-target", "AWSEvents.PutEvents")]);
    let reply = exchange(&url, request("POST", INVOKE, &asynchronous, br#"{"print":"asynchronous"}"#)).await?;
    ensure_eq(reply.status, 202)?;
    let publish = format!("Action=Publish&TopicArn={}&Message=news", topic.arn);
    let reply = send_to(&sns.endpoint(), request("POST", "/", &[], publish.as_bytes())).await?;
    ensure_eq((reply.status, reply.body.contains("<MessageId>")), (200, true))?;
    let entries = json!({ "Entries": [{ "Source": "shop", "DetailType": "placed", "Detail": "{}" }] }).to_string();
    ensure_eq(send_to(&bus.endpoint(), request("POST", "/", &put, entries.as_bytes())).await?.status, 200)?;
    // Each has been tried once.
    rejections.rejections.subscribe().wait_for(|&count| count >= 3).await?;
    ensure_eq(count(&function.timeline(), "EventOut"), 2)?;
    drop(held);
    for call in calls {
        value(&call.await?)?;
    }
    printed(&function, "asynchronous").await;
    let mut events = function.subscribe().from_start();
    for _ in 0..5 {
        events.find(|event| matches!(event.kind, EventKind::EventOut { .. })).await;
    }
    function.wait_idle().await;
    ensure_eq(count(&function.timeline(), "EventOut"), 5)
}

async fn mappings() -> Outcome {
    let sqs = Sqs::start().await?;
    let (queue, stream) = (sqs.create_queue("orders", QueueOptions::default()).await?, Stream::kinesis("readings", 1));
    let function = managed("", 2).await?;
    let (calls, held) = busy(&function).await?;
    let rejections = Arc::new(Counted { function: function.clone(), rejections: watch::Sender::new(0) });
    let of_queue = EventSourceMapping::builder(&queue, rejections.clone()).start()?;
    let of_stream = StreamMapping::builder(&stream, rejections.clone()).max_retries(0).start()?;
    queue.send(json!({ "MessageBody": "1" })).await?;
    stream.put("k", "1");
    // Each has tried once, and waits.
    rejections.rejections.subscribe().wait_for(|&count| count >= 2).await?;
    ensure_eq((of_queue.batches().len(), of_stream.batches().len()), (0, 0))?;
    drop(held);
    for call in calls {
        value(&call.await?)?;
    }
    of_queue.wait_idle().await;
    of_stream.wait_idle().await;
    ensure_eq(of_stream.discarded(), [])?;
    let (queued, streamed) = (of_queue.batches(), of_stream.batches());
    ensure_eq((queued.len(), queued[0].deleted.len(), queued[0].response.result.is_ok()), (1, 1, true))?;
    ensure_eq((streamed.len(), streamed[0].done), (1, Some(1)))
}

/// A function that counts what it rejects.
struct Counted {
    function: Function,
    rejections: watch::Sender<usize>,
}

impl Invoke for Counted {
    fn invoke(&self, event: Event) -> Pin<Box<dyn Future<Output = FunctionResponse> + Send + '_>> {
        Box::pin(async move {
            let answer = self.function.invoke(event).await;
            if answer.result == Err(Failure::Throttled) {
                self.rejections.send_modify(|count| *count += 1);
            }
            answer
        })
    }

    fn wait_for_room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.function.wait_for_room()
    }
}
