//! The event source mapping: the events of the function, and the effect of its responses on the messages.

mod sqs_support;

use aws_sdk_sqs::{primitives::Blob, types::MessageAttributeValue};

use lambda_lifecycle_sandbox::sqs::{
    BatchOutcome, Counts, DeadLetter, EventSourceMapping, MappingError, Queue, QueueOptions, Sqs,
};
use serde_json::json;
use sqs_support::{Manual, TRACE_HEADER, client, header, next, start, system_attribute, within};
use std::time::Duration;

async fn send(queue: &Queue, body: &str) {
    queue.send(json!({"MessageBody": body})).await.unwrap();
}

async fn send_fifo(queue: &Queue, bodies: &[&str]) {
    for body in bodies {
        queue.send(json!({"MessageBody": body, "MessageGroupId": body[..1]})).await.unwrap();
    }
}

async fn fifo(sqs: &Sqs) -> Queue {
    let options = QueueOptions { fifo: true, content_based_deduplication: true, ..QueueOptions::default() };
    sqs.create_queue("q.fifo", options).await.unwrap()
}

async fn standard(sqs: &Sqs) -> Queue {
    sqs.create_queue("q", QueueOptions::default()).await.unwrap()
}

#[tokio::test]
async fn the_event_is_lambdas() {
    let sqs = start().await;
    let client = client(&sqs);
    let queue = fifo(&sqs).await;
    let attribute = |kind: &str| MessageAttributeValue::builder().data_type(kind);
    let message = client
        .send_message()
        .queue_url(&queue.url)
        .message_body("hello")
        .message_group_id("g")
        .message_deduplication_id("d")
        .message_attributes("text", attribute("String").string_value("t").build().unwrap())
        .message_attributes("count", attribute("Number").string_value("7").build().unwrap())
        .message_attributes("bytes", attribute("Binary").binary_value(Blob::new("b")).build().unwrap())
        .message_system_attributes(TRACE_HEADER, system_attribute(&header('1')));
    let sent = within("sending", message.send()).await.unwrap();

    let (function, mut calls) = Manual::new();
    let _mapping = EventSourceMapping::builder(&queue, function).start().unwrap();
    let call = next(&mut calls).await;
    assert_eq!(call.event.trace_header, None);
    assert_eq!(call.event.linked, [header('1')]);
    let [record] = &call.records()[..] else { panic!("one record") };
    let mut record = record.clone();
    // These values differ between runs.
    for time in ["SentTimestamp", "ApproximateFirstReceiveTimestamp"] {
        let time = record["attributes"].as_object_mut().unwrap().remove(time).unwrap();
        assert!(time.as_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000_000, "milliseconds: {time}");
    }
    assert!(!record["receiptHandle"].as_str().unwrap().is_empty());
    assert_eq!(
        record,
        json!({
            "messageId": sent.message_id().unwrap(),
            "receiptHandle": record["receiptHandle"],
            "body": "hello",
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SenderId": "AIDA000000000000EXAMPLE",
                "AWSTraceHeader": header('1'),
                "MessageGroupId": "g",
                "MessageDeduplicationId": "d",
                "SequenceNumber": sent.sequence_number().unwrap(),
            },
            "messageAttributes": {
                "text": {"stringValue": "t", "stringListValues": [], "binaryListValues": [], "dataType": "String"},
                "count": {"stringValue": "7", "stringListValues": [], "binaryListValues": [], "dataType": "Number"},
                "bytes": {"binaryValue": "Yg==", "stringListValues": [], "binaryListValues": [], "dataType": "Binary"},
            },
            "md5OfBody": "5d41402abc4b2a76b9719d911017c592",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:q.fifo",
            "awsRegion": "us-east-1",
        })
    );
}

#[tokio::test]
async fn messages_reported_as_failed_come_again_and_the_others_are_deleted() {
    let sqs = start().await;
    let queue = standard(&sqs).await;
    for body in ["a", "b", "c"] {
        send(&queue, body).await;
    }
    let (function, mut calls) = Manual::new();
    let mapping = EventSourceMapping::builder(&queue, function)
        .report_batch_item_failures(true)
        .redelivery_delay(Duration::ZERO)
        .start()
        .unwrap();
    let mut batches = mapping.subscribe();
    let call = next(&mut calls).await;
    let ids = ["a", "b", "c"].map(|body| call.id_of(body));
    call.answer_failed(&["b"]);
    let call = next(&mut calls).await;
    assert_eq!(call.bodies(), ["b"]);
    assert_eq!(call.records()[0]["attributes"]["ApproximateReceiveCount"], "2");
    call.answer("{}");
    within("an empty queue", mapping.wait_idle()).await;

    let seen = [within("a batch", batches.recv()).await.unwrap(), within("a batch", batches.recv()).await.unwrap()];
    assert_eq!(mapping.batches().len(), 2);
    assert_eq!(seen[0].messages, ids);
    assert_eq!(seen[0].failed, [ids[1].clone()]);
    assert_eq!(seen[0].deleted, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(seen[0].outcome, BatchOutcome::Partial);
    assert_eq!(seen[1].outcome, BatchOutcome::Succeeded);
    assert_eq!(seen[1].deleted, [ids[1].clone()]);
}

/// The outcome of a batch of two, `a` and `b`, for a response in which `A` is the id of `a`.
async fn outcome(sqs: &Sqs, name: &str, report: bool, answer: &str) -> (BatchOutcome, usize, usize) {
    let queue = sqs.create_queue(name, QueueOptions::default()).await.unwrap();
    for body in ["a", "b"] {
        send(&queue, body).await;
    }
    let (function, mut calls) = Manual::new();
    let mapping = EventSourceMapping::builder(&queue, function).report_batch_item_failures(report).start().unwrap();
    let mut batches = mapping.subscribe();
    let call = next(&mut calls).await;
    let answer = answer.replace("\"A\"", &format!("\"{}\"", call.id_of("a")));
    call.answer(answer);
    let batch = within("the batch", batches.recv()).await.unwrap();
    (batch.outcome.clone(), batch.failed.len(), batch.deleted.len())
}

#[tokio::test]
async fn answers_are_read_as_strictly_as_lambda_reads_them() {
    let sqs = start().await;
    let succeed = ["null", "{}", r#"{"batchItemFailures":null}"#, r#"{"batchItemFailures":[]}"#, r#"{"statusCode":200}"#];
    let partly = [
        r#"{"batchItemFailures":[{"itemIdentifier":"A"}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":"A"},{"itemIdentifier":"A"}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":"A","reason":"x"}],"more":1}"#,
    ];
    let fail = [
        ("", "not JSON"),
        ("{", "not JSON"),
        (r#""done""#, "not an object"),
        ("[]", "not an object"),
        (r#"{"batchItemFailures":"A"}"#, "not a list"),
        (r#"{"batchItemFailures":["A"]}"#, "has no itemIdentifier"),
        (r#"{"batchItemFailures":[null]}"#, "has no itemIdentifier"),
        (r#"{"batchItemFailures":[{}]}"#, "has no itemIdentifier"),
        (r#"{"batchItemFailures":[{"ItemIdentifier":"A"}]}"#, "has no itemIdentifier"),
        (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, "is empty"),
        (r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, "not a string"),
        (r#"{"batchItemFailures":[{"itemIdentifier":7}]}"#, "not a string"),
        (r#"{"batchItemFailures":[{"itemIdentifier":"A"},{"itemIdentifier":"unknown"}]}"#, "not a message of the batch"),
    ];
    for (index, answer) in succeed.iter().enumerate() {
        let outcome = outcome(&sqs, &format!("succeed-{index}"), true, answer).await;
        assert_eq!(outcome, (BatchOutcome::Succeeded, 0, 2), "{answer}");
    }
    for (index, answer) in partly.iter().enumerate() {
        let outcome = outcome(&sqs, &format!("partly-{index}"), true, answer).await;
        assert_eq!(outcome, (BatchOutcome::Partial, 1, 1), "{answer}");
    }
    for (index, (answer, why)) in fail.iter().enumerate() {
        let (outcome, failed, deleted) = outcome(&sqs, &format!("fail-{index}"), true, answer).await;
        let BatchOutcome::Failed(reason) = outcome else { panic!("{answer}: {outcome:?}") };
        assert!(reason.contains(why), "{answer}: {reason}");
        assert_eq!((failed, deleted), (2, 0), "{answer}");
    }
    // Without ReportBatchItemFailures, every response is a success.
    for (index, answer) in partly.iter().copied().chain(fail.iter().map(|(answer, _)| *answer)).enumerate() {
        let outcome = outcome(&sqs, &format!("plain-{index}"), false, answer).await;
        assert_eq!(outcome, (BatchOutcome::Succeeded, 0, 2), "{answer}");
    }
}

#[tokio::test]
async fn a_function_that_fails_gets_its_batch_again_until_it_is_dead() {
    let sqs = start().await;
    let dead = sqs.create_queue("dead", QueueOptions::default()).await.unwrap();
    let dead_letter = Some(DeadLetter { arn: dead.arn.clone(), max_receive_count: 3 });
    let queue = sqs.create_queue("q", QueueOptions { dead_letter, ..QueueOptions::default() }).await.unwrap();
    let traced = json!({"MessageBody": "a", "MessageSystemAttributes": {
        "AWSTraceHeader": {"DataType": "String", "StringValue": header('1')}}});
    queue.send(traced).await.unwrap();
    send(&queue, "b").await;
    let (function, mut calls) = Manual::new();
    let mapping = EventSourceMapping::builder(&queue, function).redelivery_delay(Duration::from_millis(5)).start().unwrap();
    for count in 1..=3 {
        let call = next(&mut calls).await;
        assert_eq!(call.bodies().len(), 2);
        for record in call.records() {
            assert_eq!(record["attributes"]["ApproximateReceiveCount"], count.to_string());
        }
        call.fail();
    }
    within("an empty queue", mapping.wait_idle()).await;
    let mut bodies: Vec<_> = dead.peek().into_iter().map(|message| (message.body, message.trace_header)).collect();
    bodies.sort();
    assert_eq!(bodies, [("a".into(), Some(header('1'))), ("b".into(), None)]);
    assert_eq!(mapping.batches().len(), 3);
    assert!(mapping.batches().iter().all(|batch| batch.outcome == BatchOutcome::Failed("function error T: m".into())));
}

#[tokio::test]
async fn without_a_delay_of_its_own_a_failed_message_comes_after_the_visibility_timeout() {
    let sqs = start().await;
    let options = QueueOptions { visibility_timeout: Duration::from_secs(1), ..QueueOptions::default() };
    let queue = sqs.create_queue("q", options).await.unwrap();
    send(&queue, "a").await;
    let (function, mut calls) = Manual::new();
    let _mapping = EventSourceMapping::builder(&queue, function).start().unwrap();
    let first = next(&mut calls).await;
    let received = std::time::Instant::now();
    first.fail();
    let second = next(&mut calls).await;
    assert!(received.elapsed() > Duration::from_millis(900), "{:?}", received.elapsed());
    assert_eq!(second.bodies(), ["a"]);
}

#[tokio::test]
async fn a_fifo_group_is_never_in_two_batches_and_other_groups_go_on() {
    let sqs = start().await;
    let queue = fifo(&sqs).await;
    send_fifo(&queue, &["a1", "a2", "a3", "b1"]).await;
    let (function, mut calls) = Manual::new();
    let mapping = EventSourceMapping::builder(&queue, function)
        .batch_size(2)
        .concurrency(5)
        .report_batch_item_failures(true)
        .redelivery_delay(Duration::ZERO)
        .start()
        .unwrap();
    let first = next(&mut calls).await;
    assert_eq!(first.bodies(), ["a1", "a2"]);
    let other = next(&mut calls).await;
    assert_eq!(other.bodies(), ["b1"], "a3 waits for a1 and a2");
    first.answer_failed(&["a2"]);
    let second = next(&mut calls).await;
    assert_eq!(second.bodies(), ["a2", "a3"]);
    other.answer("null");
    second.answer("null");
    within("an empty queue", mapping.wait_idle()).await;
}

#[tokio::test]
async fn a_fifo_message_is_not_deleted_past_one_of_its_group_that_failed() {
    let sqs = start().await;
    let queue = fifo(&sqs).await;
    send_fifo(&queue, &["a1", "b1", "a2", "b2"]).await;
    let (function, mut calls) = Manual::new();
    let mapping = EventSourceMapping::builder(&queue, function)
        .report_batch_item_failures(true)
        .redelivery_delay(Duration::ZERO)
        .start()
        .unwrap();
    let call = next(&mut calls).await;
    let overtook = call.id_of("a2");
    call.answer_failed(&["a1"]);
    let again = next(&mut calls).await;
    assert_eq!(again.bodies(), ["a1", "a2"]);
    assert_eq!(mapping.batches()[0].overtook, [overtook]);
    assert_eq!(mapping.batches()[0].deleted.len(), 2);
    again.answer_failed(&["a1", "a2"]);
    let third = next(&mut calls).await;
    assert_eq!(third.bodies(), ["a1", "a2"]);
    assert!(mapping.batches()[1].overtook.is_empty());
}

#[tokio::test]
async fn a_window_collects_messages_until_the_batch_is_full_or_the_time_is_over() {
    let sqs = start().await;
    let queue = standard(&sqs).await;
    let (function, mut calls) = Manual::new();
    let full = EventSourceMapping::builder(&queue, function).batch_size(12).window(Duration::from_mins(5));
    let full = full.start().unwrap();
    for index in 0..12 {
        send(&queue, &index.to_string()).await;
    }
    let call = next(&mut calls).await;
    assert_eq!(call.bodies().len(), 12);
    call.answer("null");
    within("an empty queue", full.wait_idle()).await;
    drop(full);

    let queue = sqs.create_queue("q2", QueueOptions::default()).await.unwrap();
    let (function, mut calls) = Manual::new();
    let _over = EventSourceMapping::builder(&queue, function).window(Duration::from_millis(100)).start().unwrap();
    send(&queue, "alone").await;
    assert_eq!(next(&mut calls).await.bodies(), ["alone"]);
}

#[tokio::test]
async fn a_batch_ends_before_its_event_exceeds_six_megabytes() {
    let sqs = start().await;
    let queue = standard(&sqs).await;
    for _ in 0..30 {
        send(&queue, &"x".repeat(250_000)).await;
    }
    let (function, mut calls) = Manual::new();
    let builder = EventSourceMapping::builder(&queue, function);
    let _mapping = builder.batch_size(100).window(Duration::from_mins(5)).start().unwrap();
    let call = next(&mut calls).await;
    assert_eq!(call.bodies().len(), 20);
    assert!(call.event.payload.len() < 6_291_456);
}

#[tokio::test]
async fn no_more_batches_run_than_the_concurrency() {
    let sqs = start().await;
    let queue = standard(&sqs).await;
    for body in ["a", "b", "c"] {
        send(&queue, body).await;
    }
    let (function, mut calls) = Manual::new();
    let mapping = EventSourceMapping::builder(&queue, function).batch_size(1).concurrency(2).start().unwrap();
    let (first, second) = (next(&mut calls).await, next(&mut calls).await);
    // The poller takes no message that it could not invoke the function with.
    assert_eq!(queue.counts(), Counts { visible: 1, delayed: 0, in_flight: 2 });
    first.answer("null");
    let third = next(&mut calls).await;
    assert_eq!(queue.counts(), Counts { visible: 0, delayed: 0, in_flight: 2 });
    second.answer("null");
    third.answer("null");
    within("an empty queue", mapping.wait_idle()).await;
    assert_eq!(mapping.batches().len(), 3);
}

#[tokio::test]
async fn a_dropped_mapping_leaves_its_messages_to_the_visibility_timeout() {
    let sqs = start().await;
    let queue = standard(&sqs).await;
    send(&queue, "a").await;
    let (function, mut calls) = Manual::new();
    let mapping = EventSourceMapping::builder(&queue, function).start().unwrap();
    let call = next(&mut calls).await;
    drop(mapping);
    // The function goes with the mapping, and with it the sender of calls.
    assert!(within("the end of the mapping", calls.recv()).await.is_none());
    drop(call);
    assert_eq!(queue.counts(), Counts { visible: 0, delayed: 0, in_flight: 1 });
}

#[tokio::test]
async fn a_mapping_that_lambda_refuses_is_refused() {
    let sqs = start().await;
    let (standard, fifo) = (standard(&sqs).await, fifo(&sqs).await);
    let (function, _calls) = Manual::new();
    let on = |queue: &Queue| EventSourceMapping::builder(queue, function.clone());
    let second = Duration::from_secs(1);
    let refused = [
        (on(&standard).batch_size(0), MappingError::BatchSize { size: 0, most: 10_000 }),
        (on(&standard).batch_size(10_001).window(second), MappingError::BatchSize { size: 10_001, most: 10_000 }),
        (on(&standard).batch_size(11), MappingError::WindowMissing),
        (on(&fifo).batch_size(11), MappingError::BatchSize { size: 11, most: 10 }),
        (on(&fifo).window(second), MappingError::WindowOnFifo),
        (on(&standard).concurrency(0), MappingError::Concurrency),
    ];
    for (builder, error) in refused {
        assert_eq!(builder.start().unwrap_err(), error);
    }
}
