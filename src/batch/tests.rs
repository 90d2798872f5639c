//! The options of all batches, with messages of SQS.

use super::{DeadLetter, Failure, permanent};
use crate::{
    Error, LambdaEvent,
    sqs::{self, Message, SqsEvent, SqsRecord},
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::Service;

const FIFO: &str = "arn:aws:sqs:us-east-1:000000000000:orders.fifo";

/// A batch of messages with these bodies, all in one group of a FIFO queue.
fn fifo(bodies: &[&str]) -> Value {
    let record = |(index, body): (usize, &&str)| json!({ "messageId": format!("m{index}"), "body": body, "eventSourceARN": FIFO, "attributes": { "MessageGroupId": "g" } });
    json!({ "Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>() })
}

/// The ids of the messages that are retried.
async fn retried<S>(mut service: S, event: &Value) -> Vec<String>
where
    S: Service<LambdaEvent<SqsEvent>, Response = sqs::BatchResponse, Error = sqs::NotAnSqsEvent>,
{
    let event = serde_json::from_value(event.clone()).expect("an event");
    let response = service.call(LambdaEvent::new(event, lambda_runtime::Context::default())).await.expect("a response");
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

async fn handle(message: Message<String>) -> Result<(), Error> {
    match &*message.body {
        "permanent" => Err(permanent("no such order")),
        "fail" => Err("no stock".into()),
        "hang" => std::future::pending().await,
        _ => Ok(()),
    }
}

async fn typed(message: Message<u64>) -> Result<(), Error> {
    if message.body == 0 { Err(permanent("no such order")) } else { Err("no stock".into()) }
}

type Seen = Arc<Mutex<Vec<String>>>;

fn take(seen: &Seen) -> Vec<String> {
    std::mem::take(&mut *seen.lock().expect("not poisoned"))
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_exceeds_the_time_limit_fails_alone() {
    let seen = Seen::default();
    let hook = Arc::clone(&seen);
    let service = sqs::batch_raw(handle).time_limit(Duration::from_secs(2)).on_failure(move |record| {
        let again: Vec<&str> = record.retried_with().collect();
        assert_eq!(*record.failure, Failure::TimedOut { limit: Duration::from_secs(2) });
        hook.lock().expect("not poisoned").push(format!("{} with {again:?}", record.id));
    });
    let began = tokio::time::Instant::now();
    assert_eq!(retried(service, &fifo(&["done", "hang", "done", "done"])).await, ["m1", "m2", "m3"]);
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    assert_eq!(take(&seen), [r#"m1 with ["m2", "m3"]"#]);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_not_retried_and_keeps_no_other_from_its_turn() {
    let seen = Seen::default();
    let hook = Arc::clone(&seen);
    let service = sqs::batch_raw(handle).on_failure(move |record| hook.lock().expect("not poisoned").push(record.id.to_owned()));
    assert_eq!(retried(service, &fifo(&["permanent", "done", "fail", "permanent"])).await, ["m2", "m3"]);
    assert_eq!(take(&seen), ["m2"], "a hook for retries is called for nothing else");
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_sent_before_they_are_done_with() {
    let seen = Seen::default();
    let hook = Arc::clone(&seen);
    let service = sqs::batch(typed).dead_letter(move |letter: DeadLetter<SqsRecord>| {
        let seen = Arc::clone(&hook);
        async move {
            tokio::task::yield_now().await;
            let body = &letter.record.body;
            seen.lock().expect("not poisoned").push(format!("{} {body} {}", letter.id, letter.failure.error_type()));
            match &**body {
                "\"refused\"" => Err("the queue is full"),
                "\"panic\"" => panic!("planned"),
                _ => Ok(()),
            }
        }
    });
    let mut event = fifo(&["0", "\"poison\"", "\"refused\"", "\"panic\"", "7", "lost"]);
    for (index, record) in event["Records"].as_array_mut().expect("a list").iter_mut().enumerate() {
        // Each of them in a group of its own.
        record["attributes"]["MessageGroupId"] = json!(format!("g{index}"));
    }
    // Nobody knows what it was.
    event["Records"][5]["body"] = json!(null);
    assert_eq!(retried(service, &event).await, ["m2", "m3", "m4", "m5"]);
    let mut seen = take(&seen);
    seen.sort();
    let undecodable = "Lifecycle.UndecodableMessage";
    let expected = [
        "m0 0 Error".to_owned(),
        format!("m1 \"poison\" {undecodable}"),
        format!("m2 \"refused\" {undecodable}"),
        format!("m3 \"panic\" {undecodable}"),
    ];
    assert_eq!(seen, expected);
}
