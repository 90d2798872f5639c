//! The event source mappings of streams and topics: what a function gets, and what its responses do to the shards.

mod sqs_support;

use lambda_lifecycle_sandbox::{
    kafka::{DiscardedRecords, KafkaMapping, Message, Topic},
    streams::{Discarded, StartingPosition, Stream, StreamMapping, StreamMappingError},
};
use serde_json::{Value, json};
use sqs_support::{Call, Manual, next, within};

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
    assert_eq!(mapping.discarded(), [Discarded { shard: 0, records: vec![records[2].clone()], retries: 1 }]);
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
