//! Records whose envelope is malformed: they fail alone, and all others are processed.

use crate::{
    function::Probe,
    soak::{Ledger, worker},
    support::{Stage, Tested, XRay, ensure, test, this_program, value, within},
};
use lambda_lifecycle_sandbox::{
    Event, Invoke,
    function::TraceMode,
    kafka::{KafkaMapping, Message, Topic},
    streams::{Stream, StreamMapping},
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a malformed record of a stream fails alone", kinesis),
        test("a malformed change of a table fails alone", dynamodb),
        test("a malformed record of a topic fails alone", kafka),
        test("a batch of Kafka whose mapping reads no response fails as a whole", kafka_without_partial_responses),
        test("a record that does not decode goes to the hook for dead letters", dead_letter),
        test("a batch with failures is found by its annotations", annotations),
        test("a window's state is in the response", window),
    ]
}

fn order(number: usize) -> String {
    json!({ "number": number, "plan": "succeed" }).to_string()
}

fn processed(ledger: &Ledger) -> Result<BTreeSet<usize>, Failed> {
    Ok(ledger.lines()?.into_iter().map(|(_, number, _)| number).collect())
}

async fn kinesis() -> Tested {
    let xray = XRay::start().await?;
    let ledger = Ledger::new("malformed-kinesis")?;
    let stream = Stream::kinesis("orders", 1);
    stream.put("k", order(0));
    let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
    let odd = |kinesis: Value, id: &str| json!({ "kinesis": kinesis, "eventSource": "aws:kinesis", "eventSourceARN": arn, "eventID": id });
    stream.put_raw(0, "101", odd(json!({ "sequenceNumber": "101", "partitionKey": 1, "data": "e30=" }), "shardId-0:101"));
    stream.put_raw(0, "102", odd(json!({ "sequenceNumber": "102", "partitionKey": "k", "data": null }), "shardId-0:102"));
    // The number is in the id of the event too.
    stream.put_raw(0, "103", odd(json!({ "sequenceNumber": null, "partitionKey": "k", "data": "e30=" }), "shardId-0:103"));
    stream.put_raw(0, "104", odd(json!([]), "shardId-0:104"));
    stream.put("k", order(1));
    stream.put_raw(0, "105", json!(null));
    stream.put("k", order(2));
    let worker = worker(Probe::Kinesis, &ledger, &xray).await;
    let mapping = StreamMapping::builder(&stream, Arc::new(worker));
    let mapping = mapping.report_batch_item_failures(true).bisect_on_error(true).max_retries(1).start()?;
    within("the end of the stream", mapping.wait_idle()).await?;
    let given_up: Vec<String> = mapping.discarded().into_iter().flat_map(|discarded| discarded.records).collect();
    ensure(given_up == ["101", "102", "103", "104", "105"], format!("{given_up:?}"))?;
    ensure(processed(&ledger)? == BTreeSet::from([0, 1, 2]), format!("{:?}", ledger.lines()?))
}

async fn dynamodb() -> Tested {
    let xray = XRay::start().await?;
    let ledger = Ledger::new("malformed-dynamodb")?;
    let stream = Stream::dynamodb("orders", 1);
    let image = |number: usize| json!({ "number": { "N": number.to_string() }, "plan": { "S": "succeed" } });
    let keys = |number: usize| json!({ "number": { "N": number.to_string() } });
    stream.change(&keys(0), None, Some(&image(0)));
    stream.change(&keys(1), None, Some(&json!({ "number": { "S": "no number" } })));
    stream.put_raw(0, "100", json!({ "eventName": "INSERT", "dynamodb": { "SequenceNumber": "100", "NewImage": 7 } }));
    stream.put_raw(0, "101", json!({ "eventName": 7, "dynamodb": { "SequenceNumber": "101" } }));
    stream.change(&keys(2), None, Some(&image(2)));
    stream.change(&keys(2), Some(&image(2)), None);
    stream.put_raw(0, "102", json!({ "eventName": "INSERT", "dynamodb": { "SequenceNumber": 7 } }));
    stream.change(&keys(3), None, Some(&image(3)));
    let worker = worker(Probe::DynamoDb, &ledger, &xray).await;
    let mapping = StreamMapping::builder(&stream, Arc::new(worker));
    let mapping = mapping.report_batch_item_failures(true).bisect_on_error(true).max_retries(1).start()?;
    within("the end of the stream", mapping.wait_idle()).await?;
    let given_up: Vec<String> = mapping.discarded().into_iter().flat_map(|discarded| discarded.records).collect();
    ensure(given_up.len() == 4 && given_up[1..] == ["100", "101", "102"], format!("{given_up:?}"))?;
    ensure(processed(&ledger)? == BTreeSet::from([0, 2, 3]), format!("{:?}", ledger.lines()?))
}

/// A topic of two partitions, the first of which has malformed records.
fn malformed_topic() -> Topic {
    let topic = Topic::new("orders", 2);
    let message = |number| Message { value: Some(order(number).into_bytes()), ..Message::default() };
    topic.put(0, &message(0));
    topic.put(1, &message(1));
    topic.put_raw(0, json!({ "topic": "orders", "partition": 0, "offset": 1, "value": 7 }));
    topic.put_raw(0, json!({ "topic": "orders", "partition": 0, "offset": null, "value": "e30=" }));
    topic.put_raw(0, json!(null));
    topic.put(0, &message(2));
    topic.put(1, &message(3));
    topic
}

async fn kafka() -> Tested {
    let xray = XRay::start().await?;
    let ledger = Ledger::new("malformed-kafka")?;
    let topic = malformed_topic();
    let worker = worker(Probe::KafkaPartial, &ledger, &xray).await;
    // One record of each partition at a time, so that what follows a malformed one is not given up with it.
    let mapping =
        KafkaMapping::builder(&topic, Arc::new(worker)).batch_size(2).report_batch_item_failures(true).max_retries(1).start();
    within("the end of the topic", mapping.wait_idle()).await?;
    let given_up: Vec<_> = mapping.discarded().into_iter().map(|discarded| (discarded.partition, discarded.offsets)).collect();
    ensure(given_up == [(0, vec![1]), (0, vec![2]), (0, vec![3])], format!("{given_up:?}"))?;
    ensure(processed(&ledger)? == BTreeSet::from([0, 1, 2, 3]), format!("{:?}", ledger.lines()?))
}

async fn kafka_without_partial_responses() -> Tested {
    let xray = XRay::start().await?;
    let ledger = Ledger::new("whole-kafka")?;
    let topic = malformed_topic();
    let worker = worker(Probe::Kafka, &ledger, &xray).await;
    let mapping = KafkaMapping::builder(&topic, Arc::new(worker)).max_retries(1).start();
    within("the end of the topic", mapping.wait_idle()).await?;
    let failures: Vec<_> =
        mapping.batches().iter().map(|batch| batch.response.result.as_ref().err().map(ToString::to_string)).collect();
    let all = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains("Lifecycle.BatchFailed"));
    ensure(failures.len() == 2 && failures.iter().all(all), format!("{failures:?}"))
}

async fn dead_letter() -> Tested {
    let xray = XRay::start().await?;
    let ledger = Ledger::new("dead-letters")?;
    let stream = Stream::kinesis("orders", 1);
    stream.put("k", order(0));
    let poison = stream.put("poisoned", "poison");
    stream.put("k", order(1));
    let worker = worker(Probe::KinesisDeadLetters, &ledger, &xray).await;
    let mapping = StreamMapping::builder(&stream, Arc::new(worker)).report_batch_item_failures(true).start()?;
    within("the end of the stream", mapping.wait_idle()).await?;
    let (batches, text) = (mapping.batches(), std::fs::read_to_string(&ledger.0)?);
    ensure(batches.len() == 1 && mapping.discarded().is_empty(), format!("{batches:?}"))?;
    let dead = format!("poisoned {poison} dead");
    ensure(text.lines().nth(1) == Some(&*dead), format!("the ledger: {text}"))
}

/// An event of one good record and one that fails, for a traced function.
fn one_of_two_fails() -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let record = |number: usize, plan: &str| {
        let data = STANDARD.encode(json!({ "number": number, "plan": plan }).to_string());
        json!({ "kinesis": { "sequenceNumber": number.to_string(), "partitionKey": "k", "data": data }, "eventID": format!("shardId-0:{number}"),
            "eventSource": "aws:kinesis", "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/orders" })
    };
    json!({ "Records": [record(1, "succeed"), record(2, "fail"), record(3, "succeed")] })
}

async fn annotations() -> Tested {
    let stage = Stage::new(Probe::Kinesis, TraceMode::Active).await?;
    let answer = stage.invoke(one_of_two_fails()).await?;
    ensure(value(&answer)? == json!({ "batchItemFailures": [{ "itemIdentifier": "2" }] }), format!("{answer:?}"))?;
    stage.settle().await?;
    stage.documents_are_valid()?;
    let batch = stage.traces.find(|document| document.name.starts_with("process orders"));
    let [batch] = &batch[..] else { return Err(format!("{} batches", batch.len()).into()) };
    let failed = batch.annotations.get("batch_failed");
    ensure(failed == Some(&json!(1)), format!("{:?}", batch.annotations))?;
    ensure(batch.annotations.get("batch_unfinished") == Some(&json!(1)), format!("{:?}", batch.annotations))?;
    // An annotation of a record stays with it.
    let records = stage.traces.find(|document| document.annotation("message_id").is_some());
    let of_records: Vec<_> = records.iter().map(|record| record.annotations.get("number").cloned()).collect();
    ensure(of_records == [Some(json!(1)), Some(json!(2))], format!("{of_records:?}"))?;
    let document = stage.of_invocation(&answer)?;
    ensure(document.annotations.get("number").is_none(), "the annotation of a record is on the invocation")
}

async fn window() -> Tested {
    let stage = Stage::of_program(this_program(), |function| function.env("PROBE", format!("{:?}", Probe::Kinesis))).await?;
    let mut event = one_of_two_fails();
    event["window"] = json!({ "start": "2020-12-09T07:04:00Z", "end": "2020-12-09T07:06:00Z" });
    event["state"] = json!({ "total": 7 });
    let event = Event { payload: event.to_string().into(), ..Event::default() };
    let answer = within("the response", stage.function.invoke(event)).await?;
    let expected = json!({ "batchItemFailures": [{ "itemIdentifier": "2" }], "state": { "total": 7 } });
    ensure(value(&answer)? == expected, format!("{answer:?}"))
}
