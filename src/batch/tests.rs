//! The options of all batches, with messages of SQS.

use super::{DeadLetter, Failure, permanent};
use crate::{
    Error, LambdaEvent,
    sqs::{self, Backoff, Message, SqsEvent, SqsRecord, VisibilityChange},
};
use serde_json::{Value, json};
use std::{
    future::Future,
    pin::Pin,
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

#[tokio::test]
async fn records_that_never_wait_let_other_tasks_run_even_if_they_have_an_order() {
    let bodies = vec!["done"; 1_000];
    let handled = Arc::new(Mutex::new(0));
    let count = Arc::clone(&handled);
    let service = sqs::batch_raw(move |_: Message<String>| {
        *count.lock().expect("not poisoned") += 1;
        std::future::ready(Ok::<(), Error>(()))
    });
    let other = tokio::spawn(async move { *handled.lock().expect("not poisoned") });
    assert!(retried(service, &fifo(&bodies)).await.is_empty());
    assert!(other.await.expect("it does not panic") < 1_000, "the other task ran after the batch");
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

/// A hook that notes the requested visibility timeouts, and fails for the message `refused`.
fn changes(seen: &Seen, refused: &'static str) -> impl Fn(VisibilityChange) -> Changing + Send + Sync + use<> {
    let seen = Arc::clone(seen);
    move |change| {
        let seen = Arc::clone(&seen);
        Box::pin(async move {
            tokio::task::yield_now().await;
            seen.lock().expect("not poisoned").push(format!("{} {}", change.message_id, change.visibility_timeout));
            assert_ne!(change.message_id, "m9", "planned");
            if change.message_id == refused { Err("no permission".into()) } else { Ok(()) }
        })
    }
}

type Changing = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The same messages with receipts, each received so often.
fn received(mut event: Value, times: &[u32]) -> Value {
    for (record, times) in event["Records"].as_array_mut().expect("a list").iter_mut().zip(times) {
        record["receiptHandle"] = json!("handle");
        record["attributes"]["ApproximateReceiveCount"] = json!(times.to_string());
    }
    event
}

fn standard(mut event: Value) -> Value {
    for record in event["Records"].as_array_mut().expect("a list") {
        record["eventSourceARN"] = json!("arn:aws:sqs:us-east-1:000000000000:orders");
    }
    event
}

#[tokio::test(start_paused = true)]
async fn a_message_that_keeps_failing_waits_twice_as_long_each_time() {
    let seen = Seen::default();
    let backoff = Backoff::exponential(Duration::from_secs(30), Duration::from_secs(3600)).without_jitter();
    let service = sqs::batch_raw(handle).concurrency(1).backoff(backoff, changes(&seen, ""));
    let bodies = ["fail", "done", "fail", "permanent", "fail", "fail", "fail"];
    let event = received(standard(fifo(&bodies)), &[1, 1, 2, 1, 7, 8, u32::MAX]);
    assert_eq!(retried(service, &event).await, ["m0", "m2", "m4", "m5", "m6"]);
    assert_eq!(take(&seen), ["m0 30", "m2 60", "m4 1920", "m5 3600", "m6 3600"]);
}

#[tokio::test(start_paused = true)]
async fn messages_that_fail_together_come_again_at_different_times_and_the_same_in_each_run() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let seen = Seen::default();
        let backoff = Backoff::exponential(Duration::from_secs(60), Duration::from_secs(3600));
        let service = sqs::batch_raw(handle).backoff(backoff, changes(&seen, ""));
        let event = received(standard(fifo(&["fail"; 8])), &[1; 8]);
        assert_eq!(retried(service, &event).await.len(), 8);
        let mut requested = take(&seen);
        requested.sort();
        runs.push(requested);
    }
    assert_eq!(runs[0], runs[1]);
    let seconds: Vec<u32> =
        runs[0].iter().filter_map(|change| change.split_once(' ')?.1.parse().ok()).filter(|at| (30..=60).contains(at)).collect();
    assert_eq!(seconds.len(), 8, "in the second half: {:?}", runs[0]);
    assert!(seconds.iter().any(|at| *at != seconds[0]), "{seconds:?}");
}

#[tokio::test(start_paused = true)]
async fn in_a_fifo_queue_the_later_messages_of_the_group_wait_with_the_one_that_failed() {
    let seen = Seen::default();
    let backoff = Backoff::from_fn(|message| (message.receive_count < 5).then_some(Duration::from_millis(1_500)));
    let service = sqs::batch_raw(handle).backoff(backoff.clone(), changes(&seen, ""));
    let mut event = received(fifo(&["done", "fail", "done", "done", "done"]), &[1; 5]);
    event["Records"][3]["attributes"]["MessageGroupId"] = json!("another");
    assert_eq!(retried(service, &event).await, ["m1", "m2", "m4"]);
    assert_eq!(take(&seen), ["m1 2", "m2 2", "m4 2"]);

    let service = sqs::batch_raw(handle).backoff(backoff, changes(&seen, ""));
    assert_eq!(retried(service, &received(fifo(&["fail", "done"]), &[5, 1])).await, ["m0", "m1"]);
    assert_eq!(take(&seen), Vec::<String>::new(), "the policy leaves it to the queue");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_or_panics_costs_no_message() {
    let seen = Seen::default();
    let backoff = Backoff::exponential(Duration::from_secs(30), Duration::MAX).without_jitter();
    let service = sqs::batch_raw(handle).concurrency(1).backoff(backoff.clone(), changes(&seen, "m0"));
    assert_eq!(retried(service, &received(fifo(&["fail", "done"]), &[1, 1])).await, ["m0", "m1"]);
    assert_eq!(take(&seen), ["m0 30"], "the later call would fail for the same reason");

    let service = sqs::batch_raw(handle).concurrency(1).backoff(backoff, changes(&seen, ""));
    let mut event = received(standard(fifo(&["fail", "fail", "done", "fail"])), &[1, u32::MAX, 1, 1]);
    event["Records"][0]["messageId"] = json!("m9");
    // Its receipt is lost.
    event["Records"][3]["receiptHandle"] = json!(7);
    assert_eq!(retried(service, &event).await, ["m9", "m1", "m3"]);
    assert_eq!(take(&seen), ["m9 30", "m1 39600"]);

    let panics = Backoff::from_fn(|_| panic!("planned"));
    let service = sqs::batch_raw(handle).backoff(panics, changes(&seen, ""));
    assert_eq!(retried(service, &received(fifo(&["fail", "done"]), &[1, 1])).await, ["m0", "m1"]);
    assert_eq!(take(&seen), Vec::<String>::new());
}
