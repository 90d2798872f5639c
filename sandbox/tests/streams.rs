//! The event source mappings of streams and topics: what a function gets, and what its responses do to the shards.

mod sqs_support;

use lambda_lifecycle_sandbox::{
    kafka::{DiscardedRecords, KafkaMapping, Message, Topic},
    streams::{Clock, Condition, Discarded, StartingPosition, Stream, StreamMapping, StreamMappingError},
};
use serde_json::{Value, json};
use sqs_support::{Call, Manual, next, within};
use std::{
    collections::BTreeSet,
    time::{Duration, UNIX_EPOCH},
};

/// A stream of one shard with so many records, and their sequence numbers.
fn stream(count: usize) -> (Stream, Vec<String>) {
    let stream = Stream::kinesis("readings", 1);
    let numbers = (0..count).map(|number| stream.put("k", number.to_string())).collect();
    (stream, numbers)
}

fn numbers(call: &Call) -> Vec<String> {
    call.records().iter().map(|record| record["kinesis"]["sequenceNumber"].as_str().unwrap().to_owned()).collect()
}

fn failed(number: &str) -> String {
    json!({ "batchItemFailures": [{ "itemIdentifier": number }] }).to_string()
}

#[tokio::test]
async fn the_events_are_lambdas() {
    let kinesis = Stream::kinesis("readings", 1);
    let number = kinesis.put("k", "hello");
    let (function, mut calls) = Manual::new();
    let _mapping = StreamMapping::builder(&kinesis, function).start().unwrap();
    let [record] = &next(&mut calls).await.records()[..] else { panic!("one record") };
    assert_eq!((&record["kinesis"]["data"], &record["kinesis"]["partitionKey"]), (&json!("aGVsbG8="), &json!("k")));
    assert_eq!(record["eventID"], format!("shardId-000000000000:{number}"));
    assert_eq!(record["eventSourceARN"], "arn:aws:kinesis:us-east-1:000000000000:stream/readings");

    let table = Stream::dynamodb("orders", 1);
    let (keys, image) = (json!({ "id": { "S": "7" } }), json!({ "id": { "S": "7" }, "total": { "N": "1" } }));
    table.change(&keys, None, Some(&image));
    table.change(&keys, Some(&image), None);
    let (function, mut calls) = Manual::new();
    let _mapping = StreamMapping::builder(&table, function).start().unwrap();
    let [put, removed] = &next(&mut calls).await.records()[..] else { panic!("two records") };
    assert_eq!((&put["eventName"], &put["dynamodb"]["NewImage"]), (&json!("INSERT"), &image));
    assert_eq!((&removed["eventName"], &removed["dynamodb"]["OldImage"]), (&json!("REMOVE"), &image));
    assert_eq!(removed["dynamodb"]["NewImage"], Value::Null);
}

#[tokio::test]
async fn a_shard_goes_on_from_the_lowest_record_that_failed() {
    let (stream, records) = stream(5);
    let (function, mut calls) = Manual::new();
    let mapping = StreamMapping::builder(&stream, function).report_batch_item_failures(true).start().unwrap();
    let call = next(&mut calls).await;
    assert_eq!(numbers(&call), records);
    let failures: Vec<Value> = [3, 1, 4].iter().map(|index| json!({ "itemIdentifier": records[*index] })).collect();
    call.answer(json!({ "batchItemFailures": failures }).to_string());
    let call = next(&mut calls).await;
    assert_eq!(numbers(&call), records[1..]);
    call.answer("{}");
    within("the end of the stream", mapping.wait_idle()).await;
    let done: Vec<_> = mapping.batches().iter().map(|batch| batch.done).collect();
    assert_eq!(done, [Some(1), Some(4)]);
    assert_eq!(mapping.discarded(), []);
}

#[tokio::test]
async fn a_batch_that_fails_is_split_until_one_record_is_given_up() {
    let (stream, records) = stream(4);
    let (function, mut calls) = Manual::new();
    let mapping = StreamMapping::builder(&stream, function).bisect_on_error(true).max_retries(1).report_batch_item_failures(true);
    let mapping = mapping.start().unwrap();
    // The third one is poison. What comes before it is done, and what comes after it is not skipped.
    let mut seen = Vec::new();
    let positions = loop {
        let call = tokio::select! {
            call = next(&mut calls) => call,
            () = mapping.wait_idle() => break mapping.positions(),
        };
        let batch = numbers(&call);
        let poison = batch.iter().position(|number| *number == records[2]);
        seen.push(batch.len());
        match poison {
            Some(0) => call.fail(),
            Some(_) => call.answer(failed(&records[2])),
            None => call.answer("null"),
        }
    };
    assert_eq!(seen, [4, 2, 1, 1, 1]);
    assert_eq!(positions, [4]);
    assert_eq!(
        mapping.discarded(),
        [Discarded { shard: 0, records: vec![records[2].clone()], retries: 1, condition: Condition::RetryAttemptsExhausted }]
    );
}

#[tokio::test]
async fn responses_are_read_as_strictly_as_lambda_reads_them() {
    let refused = [
        ("", "not JSON"),
        ("[]", "not an object"),
        (r#"{"batchItemFailures":"A"}"#, "not a list"),
        (r#"{"batchItemFailures":[{}]}"#, "has no itemIdentifier"),
        (r#"{"batchItemFailures":[{"itemIdentifier":7}]}"#, "not a string"),
        (r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, "not a record of the batch"),
    ];
    for (answer, why) in refused {
        let (stream, _) = stream(2);
        let (function, mut calls) = Manual::new();
        let mapping = StreamMapping::builder(&stream, function).report_batch_item_failures(true).max_retries(0).start().unwrap();
        next(&mut calls).await.answer(answer);
        within("the end of the stream", mapping.wait_idle()).await;
        let batch = &mapping.batches()[0];
        assert!(batch.refused.as_ref().is_some_and(|refused| refused.contains(why)), "{answer}: {batch:?}");
        assert_eq!(mapping.discarded()[0].records.len(), 2);
        // Without ReportBatchItemFailures every response is a success.
        let (function, mut calls) = Manual::new();
        let mapping = StreamMapping::builder(&stream, function).start().unwrap();
        next(&mut calls).await.answer(answer);
        within("the end of the stream", mapping.wait_idle()).await;
        assert_eq!(mapping.batches()[0].done, Some(2));
    }
}

#[tokio::test]
async fn a_mapping_starts_where_it_is_told_to_and_refuses_sizes_that_lambda_refuses() {
    let (stream, _) = stream(2);
    let (function, mut calls) = Manual::new();
    let mapping = StreamMapping::builder(&stream, function.clone()).starting_position(StartingPosition::Latest).batch_size(1);
    let mapping = mapping.start().unwrap();
    let later = stream.put("k", "later");
    let call = next(&mut calls).await;
    assert_eq!(numbers(&call), [later]);
    call.answer("{}");
    within("the end of the stream", mapping.wait_idle()).await;
    for size in [0, 10_001] {
        let refused = StreamMapping::builder(&stream, function.clone()).batch_size(size).start().map(drop);
        assert_eq!(refused, Err(StreamMappingError::BatchSize { size }));
    }
}

/// A clock at the start of a minute.
fn clock() -> Clock {
    Clock::manual(UNIX_EPOCH + 2 * MINUTE)
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_mapping_starts_at_a_time() {
    let clock = clock();
    let stream = Stream::kinesis("readings", 1).with_clock(&clock);
    let mut records = Vec::new();
    let mut second = clock.now();
    for number in 0..3 {
        if number == 1 {
            second = clock.now();
        }
        records.push(stream.put("k", number.to_string()));
        clock.advance(Duration::from_secs(10));
    }
    let (function, mut calls) = Manual::new();
    let position = StartingPosition::AtTimestamp(second);
    let mapping = StreamMapping::builder(&stream, function.clone()).starting_position(position.clone()).start().unwrap();
    let call = next(&mut calls).await;
    assert_eq!(numbers(&call), records[1..]);
    call.answer("{}");
    within("the end of the stream", mapping.wait_idle()).await;
    let table = Stream::dynamodb("orders", 1);
    let refused = StreamMapping::builder(&table, function).starting_position(position).start().map(drop);
    assert_eq!(refused, Err(StreamMappingError::StartingPosition));
}

#[tokio::test]
async fn records_that_become_too_old_are_given_up() {
    let clock = clock();
    let stream = Stream::kinesis("readings", 1).with_clock(&clock);
    let old = stream.put("k", "old");
    clock.advance(Duration::from_secs(50));
    let young = stream.put("k", "young");
    let (function, mut calls) = Manual::new();
    let mapping = StreamMapping::builder(&stream, function.clone()).max_record_age(MINUTE).start().unwrap();
    let call = next(&mut calls).await;
    assert_eq!(numbers(&call), [old.clone(), young.clone()]);
    clock.advance(Duration::from_secs(20));
    call.fail();
    let call = next(&mut calls).await;
    assert_eq!(numbers(&call), [young]);
    call.answer("{}");
    within("the end of the stream", mapping.wait_idle()).await;
    let condition = Condition::RecordAgeExceeded;
    assert_eq!(mapping.discarded(), [Discarded { shard: 0, records: vec![old], retries: 1, condition }]);
    for age in [Duration::from_secs(59), Duration::from_secs(604_801)] {
        let refused = StreamMapping::builder(&stream, function.clone()).max_record_age(age).start().map(drop);
        assert_eq!(refused, Err(StreamMappingError::MaximumRecordAge { age }));
    }
}

fn event(call: &Call) -> Value {
    serde_json::from_slice(&call.event.payload).unwrap()
}

/// The state that a batch gets, and whether it is the last one and an early one.
fn of_window(call: &Call) -> (Value, bool, bool) {
    let event = event(call);
    let flag = |name: &str| event[name].as_bool().unwrap();
    (event["state"].clone(), flag("isFinalInvokeForWindow"), flag("isWindowTerminatedEarly"))
}

#[tokio::test]
async fn a_window_hands_its_state_on_and_ends_with_an_invocation_that_is_repeated_until_it_succeeds() {
    let clock = clock();
    let stream = Stream::kinesis("readings", 1).with_clock(&clock);
    for number in 0..2 {
        stream.put("k", number.to_string());
    }
    let (function, mut calls) = Manual::new();
    let mapping = StreamMapping::builder(&stream, function.clone()).tumbling_window(MINUTE).batch_size(1).start().unwrap();
    let call = next(&mut calls).await;
    let first = event(&call);
    assert_eq!(first["window"], json!({ "start": "1970-01-01T00:02:00Z", "end": "1970-01-01T00:03:00Z" }));
    assert_eq!(
        (&first["shardId"], &first["eventSourceARN"]),
        (&json!("shardId-000000000000"), &first["Records"][0]["eventSourceARN"])
    );
    assert_eq!(of_window(&call), (json!({}), false, false));
    call.answer(r#"{"state":{"n":1}}"#);
    let call = next(&mut calls).await;
    assert_eq!(of_window(&call), (json!({ "n": 1 }), false, false));
    // A response without a state is a failure.
    call.answer("{}");
    let call = next(&mut calls).await;
    assert_eq!(of_window(&call), (json!({ "n": 1 }), false, false));
    call.answer(r#"{"state":{"n":2}}"#);
    within("the end of the stream", mapping.wait_idle()).await;
    clock.advance(MINUTE);
    for _ in 0..2 {
        let call = next(&mut calls).await;
        assert_eq!((of_window(&call), call.records().len()), ((json!({ "n": 2 }), true, false), 0));
        // The next window waits for the end of this one.
        stream.put("k", "next");
        call.fail();
    }
    next(&mut calls).await.answer(r#"{"state":{}}"#);
    let call = next(&mut calls).await;
    assert_eq!(event(&call)["window"]["start"], "1970-01-01T00:03:00Z");
    assert_eq!((of_window(&call), call.records().len()), ((json!({}), false, false), 1));
    let ended: Vec<_> = mapping.batches().iter().map(|batch| (batch.done, batch.is_final)).collect();
    let expected = [(Some(1), false), (None, false), (Some(1), false), (None, true), (None, true), (Some(0), true)];
    assert_eq!(ended, expected);
    for window in [Duration::ZERO, Duration::from_millis(1_500), Duration::from_secs(901)] {
        let refused = StreamMapping::builder(&stream, function.clone()).tumbling_window(window).start().map(drop);
        assert_eq!(refused, Err(StreamMappingError::TumblingWindow { window }));
    }
}

#[tokio::test]
async fn a_window_whose_state_is_too_large_ends_early_and_continues_with_none() {
    let stream = Stream::kinesis("readings", 1).with_clock(&clock());
    for number in 0..2 {
        stream.put("k", number.to_string());
    }
    let (function, mut calls) = Manual::new();
    let mapping = StreamMapping::builder(&stream, function).tumbling_window(MINUTE).batch_size(1).start().unwrap();
    next(&mut calls).await.answer(json!({ "state": "x".repeat(1 << 20) }).to_string());
    let call = next(&mut calls).await;
    let (_, last, early) = of_window(&call);
    assert!(last && early && call.records().is_empty());
    call.answer(r#"{"state":null}"#);
    let call = next(&mut calls).await;
    assert_eq!((of_window(&call), call.records().len()), ((json!({}), false, false), 1));
    call.answer(r#"{"state":1}"#);
    within("the end of the stream", mapping.wait_idle()).await;
}

#[tokio::test]
async fn a_shard_has_several_batches_at_a_time_that_share_no_key() {
    let stream = Stream::kinesis("readings", 1);
    let keys: Vec<String> = (0..16).map(|number| format!("key-{number}")).collect();
    for round in 0..2 {
        for key in &keys {
            stream.put(key, format!("{round}"));
        }
    }
    let (function, mut calls) = Manual::new();
    let mapping = StreamMapping::builder(&stream, function.clone()).parallelization_factor(2).start().unwrap();
    let pair = [next(&mut calls).await, next(&mut calls).await];
    let of = |call: &Call| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        call.records().iter().map(|record| (text(&record["kinesis"]["partitionKey"]), text(&record["kinesis"]["data"]))).collect()
    };
    let sets: Vec<BTreeSet<String>> = pair.iter().map(|call| of(call).into_iter().map(|(key, _)| key).collect()).collect();
    assert!(sets[0].is_disjoint(&sets[1]) && sets[0].len() + sets[1].len() == 16, "{sets:?}");
    for call in pair {
        let records = of(&call);
        for key in &keys {
            let of_key: Vec<_> = records.iter().filter(|(of, _)| of == key).map(|(_, data)| data.as_str()).collect();
            assert!(of_key.is_empty() || of_key == ["MA==", "MQ=="], "{key}: {of_key:?}");
        }
        call.answer("{}");
    }
    within("the end of the stream", mapping.wait_idle()).await;
    assert_eq!(mapping.positions(), [32]);
    for factor in [0, 11] {
        let refused = StreamMapping::builder(&stream, function.clone()).parallelization_factor(factor).start().map(drop);
        assert_eq!(refused, Err(StreamMappingError::ParallelizationFactor { factor }));
    }
    let refused = StreamMapping::builder(&stream, function).parallelization_factor(2).tumbling_window(MINUTE).start().map(drop);
    assert_eq!(refused, Err(StreamMappingError::ParallelWindow));
}

fn message(value: &str) -> Message {
    Message { key: Some(b"k".to_vec()), value: Some(value.into()), headers: vec![("h".to_owned(), vec![104, 195])] }
}

#[tokio::test]
async fn a_topic_sends_its_partitions_and_goes_on_from_the_offsets_that_failed() {
    let topic = Topic::new("payments", 2);
    for number in 0..3 {
        topic.put(0, &message(&number.to_string()));
    }
    topic.put(1, &Message::default());
    let (function, mut calls) = Manual::new();
    let mapping = KafkaMapping::builder(&topic, function).report_batch_item_failures(true).max_retries(0).start();
    let call = next(&mut calls).await;
    let event: Value = serde_json::from_slice(&call.event.payload).unwrap();
    let first = &event["records"]["payments-0"][0];
    assert_eq!((&first["value"], &first["offset"], &first["partition"]), (&json!("MA=="), &json!(0), &json!(0)));
    assert_eq!(first["headers"], json!([{ "h": [104, -61] }]));
    assert_eq!(event["records"]["payments-1"][0]["value"], Value::Null);
    call.answer(json!({ "batchItemFailures": [{ "itemIdentifier": { "partition": "payments-0", "offset": 1 } }] }).to_string());
    // The other partition has gone on. What makes no progress is given up.
    let call = next(&mut calls).await;
    let event: Value = serde_json::from_slice(&call.event.payload).unwrap();
    assert_eq!(event["records"]["payments-0"].as_array().map(Vec::len), Some(2));
    assert_eq!(event["records"]["payments-1"], Value::Null);
    call.fail();
    within("the end of the topic", mapping.wait_idle()).await;
    assert_eq!(mapping.discarded(), [DiscardedRecords { partition: 0, offsets: vec![1, 2] }]);
}

#[tokio::test]
async fn an_identifier_of_kafka_names_a_record_of_the_batch() {
    for identifier in [
        json!("0"),
        json!({}),
        json!({ "partition": "payments-0" }),
        json!({ "partition": "payments-7", "offset": 0 }),
        json!({ "partition": "payments-0", "offset": 9 }),
        json!({ "partition": "payments-0", "offset": "0" }),
    ] {
        let topic = Topic::new("payments", 1);
        topic.put(0, &message("1"));
        let (function, mut calls) = Manual::new();
        let mapping = KafkaMapping::builder(&topic, function).report_batch_item_failures(true).max_retries(0).start();
        next(&mut calls).await.answer(json!({ "batchItemFailures": [{ "itemIdentifier": identifier }] }).to_string());
        within("the end of the topic", mapping.wait_idle()).await;
        assert!(mapping.batches()[0].refused.is_some(), "{identifier}");
    }
}
