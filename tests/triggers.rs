//! Which service made an event: the public examples of `aws_lambda_events`, events that say one thing and are another, and examples of
//! which one record is broken.

use lambda_lifecycle::{Error, Invocation, Trigger, dynamodb, kafka, kinesis, sns, sqs, testing::TestInvocation};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::{
    fs,
    future::Future,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

/// The prefixes of the examples' names, after `example-`. The first match counts.
const EXAMPLES: [(&str, Trigger); 69] = [
    ("activemq", Trigger::Mq),
    ("alb-lambda-target-request", Trigger::LoadBalancer),
    ("alb-lambda-target-response", Trigger::Direct),
    ("apigw-console", Trigger::ApiGatewayV1),
    ("apigw-custom-auth-request", Trigger::Authorizer),
    ("apigw-custom-auth-response", Trigger::Direct),
    ("apigw-request", Trigger::ApiGatewayV1),
    ("apigw-response", Trigger::Direct),
    ("apigw-restapi", Trigger::ApiGatewayV1),
    ("apigw-sam-http", Trigger::ApiGatewayV2),
    ("apigw-sam-rest", Trigger::ApiGatewayV1),
    ("apigw-v2-custom-authorizer", Trigger::Authorizer),
    ("apigw-v2-request", Trigger::ApiGatewayV2),
    ("apigw-websocket", Trigger::WebSocket),
    // A resolver's template can change the request to any format, so these events have no recognizable form.
    ("appsync-batchinvoke", Trigger::Direct),
    ("appsync-invoke", Trigger::Direct),
    ("appsync-identity", Trigger::Direct),
    ("appsync-direct-resolver", Trigger::AppSync),
    ("appsync-lambda-auth-request", Trigger::Authorizer),
    ("appsync-lambda-auth-response", Trigger::Direct),
    ("autoscaling", Trigger::EventBridge),
    ("bedrock", Trigger::Direct),
    ("clientvpn", Trigger::Direct),
    ("cloudformation-custom-resource-provider-response", Trigger::Direct),
    ("cloudformation-custom-resource-response", Trigger::Direct),
    ("cloudformation-custom-resource", Trigger::CloudFormation),
    ("cloudwatch-alarm-sns", Trigger::Sns),
    ("cloudwatch-alarm", Trigger::CloudWatchAlarm),
    // A record of CloudTrail names the service that was called.
    ("cloudwatch-cloudtrail", Trigger::Direct),
    ("cloudwatch_logs", Trigger::CloudWatchLogs),
    ("code_commit", Trigger::CodeCommit),
    ("codebuild", Trigger::EventBridge),
    ("codedeploy-lifecycle", Trigger::Direct),
    ("codedeploy", Trigger::EventBridge),
    ("codepipeline_job", Trigger::CodePipeline),
    ("codepipeline", Trigger::EventBridge),
    ("cognito", Trigger::Cognito),
    ("config", Trigger::Config),
    ("connect", Trigger::Connect),
    ("controltower", Trigger::Direct),
    ("documentdb", Trigger::DocumentDb),
    // A lone record.
    ("dynamodb-event-record", Trigger::Direct),
    ("dynamodb", Trigger::DynamoDb),
    ("ecr", Trigger::EventBridge),
    ("eventbridge-schedule", Trigger::Schedule),
    ("eventbridge", Trigger::EventBridge),
    ("firehose", Trigger::Firehose),
    ("iot-custom-auth-request", Trigger::Authorizer),
    ("iot-custom-auth-response", Trigger::Direct),
    ("iot_", Trigger::Iot),
    ("kafka", Trigger::Kafka),
    ("kinesis-event", Trigger::Kinesis),
    ("kinesis-firehose-event", Trigger::Firehose),
    ("kinesis-firehose-response", Trigger::Direct),
    ("lex-event", Trigger::Lex),
    ("lex-response", Trigger::Direct),
    ("rabbitmq", Trigger::Mq),
    ("s3-event", Trigger::S3),
    ("s3-object-lambda", Trigger::S3ObjectLambda),
    ("secretsmanager", Trigger::SecretsManager),
    ("ses", Trigger::Ses),
    ("sns-event", Trigger::Sns),
    // A topic's request to a web server.
    ("sns-subscription", Trigger::Direct),
    ("sns-unsubscribe", Trigger::Direct),
    // The response of a call to SQS.
    ("sqs-api", Trigger::Direct),
    ("sqs-batch-response", Trigger::Direct),
    ("sqs-event", Trigger::Sqs),
    ("vpc-lattice-response", Trigger::Direct),
    ("vpc-lattice", Trigger::VpcLattice),
];

/// Where Cargo keeps the examples that the package brings.
fn examples() -> Vec<(String, Vec<u8>)> {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    // For this platform alone: packages that only others need are not on the machine.
    let arguments = ["metadata", "--format-version=1", "--all-features", "--offline", "--locked", "--filter-platform", host];
    let output = Command::new(env!("CARGO")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "aws_lambda_events").unwrap();
    let folder = PathBuf::from(package["manifest_path"].as_str().unwrap()).with_file_name("src").join("fixtures");
    let mut examples: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    examples.sort();
    examples
}

fn expected(example: &str) -> Option<Trigger> {
    let name = example.strip_prefix("example-").unwrap_or(example);
    EXAMPLES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, trigger)| *trigger)
}

#[test]
fn public_examples_have_their_label() {
    let examples = examples();
    assert!(examples.len() > 150, "{} examples", examples.len());
    let wrong: Vec<_> = examples
        .iter()
        .map(|(name, event)| (name, Some(Trigger::recognize(event)), expected(name)))
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `sam local` and many tools sort the keys, or write the event without its spaces.
#[test]
fn the_order_of_keys_does_not_matter() {
    // Sorted, its recognizable keys come after the request, where the scan has stopped. `sam local` creates none of these.
    for (name, event) in examples().into_iter().filter(|(name, _)| !name.ends_with("without-identity-source")) {
        let Ok(Value::Object(members)) = serde_json::from_slice(&event) else { continue };
        let mut members: Vec<String> = members.iter().map(|(key, value)| format!("{}:{value}", json!(key))).collect();
        members.sort();
        let sorted = format!("{{{}}}", members.join(","));
        assert_eq!(Some(Trigger::recognize(sorted.as_bytes())), expected(&name), "{name}: {sorted}");
    }
}

/// Contents of an event come from its sender and must not change the trigger: every example is nested in another one as a value,
/// as text, and among the records of a batch.
#[test]
fn an_event_inside_of_another_one_is_not_seen() {
    let inner: Vec<Value> = examples().iter().filter_map(|(_, event)| serde_json::from_slice(event).ok()).collect();
    for event in inner {
        let text = event.to_string();
        for (outer, trigger) in [
            (json!({ "input": event }), Trigger::Direct),
            (json!({ "before": text, "input": [event], "text": text }), Trigger::Direct),
            (
                json!({ "version": "0", "id": "1", "detail-type": "Order", "source": "shop", "detail": event }),
                Trigger::EventBridge,
            ),
            (json!({ "Records": [{ "body": text, "messageId": "1", "eventSource": "aws:sqs" }] }), Trigger::Sqs),
            (json!({ "Records": [{ "dynamodb": event, "eventSource": "aws:dynamodb" }] }), Trigger::DynamoDb),
            (json!({ "Records": [null, 1, "x", [], {}, { "a": event, "eventSource": "aws:sqs" }] }), Trigger::Sqs),
            (json!([{ "body": text, "eventSource": "aws:sqs" }]), Trigger::Sqs),
        ] {
            assert_eq!(Trigger::recognize(outer.to_string().as_bytes()), trigger, "{outer}");
        }
    }
}

#[test]
fn events_that_no_example_shows() {
    let sqs = json!({ "messageId": "1", "eventSource": "aws:sqs" });
    let arn = |service: &str| format!("arn:aws:{service}:eu-west-1:123456789012:stream/orders");
    for (event, trigger) in [
        (json!({ "version": "2.0", "routeKey": "POST /orders", "requestContext": {} }), Trigger::ApiGatewayV2),
        (
            json!({ "version": "2.0", "routeKey": "$default", "requestContext": { "domainName": "x.lambda-url.eu-west-1.on.aws" } }),
            Trigger::FunctionUrl,
        ),
        (
            json!({ "version": "2.0", "rawPath": "/x.lambda-url.y", "requestContext": { "domainName": "a.example.com", "http": {} } }),
            Trigger::ApiGatewayV2,
        ),
        (json!({ "resource": "/{proxy+}", "httpMethod": "GET" }), Trigger::ApiGatewayV1),
        (json!({ "requestContext": { "elb": {} }, "httpMethod": "GET" }), Trigger::LoadBalancer),
        (json!({ "requestContext": { "connectionId": "c", "routeKey": "$default" }, "body": "x" }), Trigger::WebSocket),
        (
            json!({ "version": "1.0", "requestContext": { "condition": "Success" }, "requestPayload": {}, "responsePayload": {} }),
            Trigger::Destination,
        ),
        (json!({ "detail-type": "Scheduled Event", "source": "aws.scheduler", "detail": "{}" }), Trigger::Schedule),
        (json!({ "detail-type": "Scheduled Event", "source": "calendar", "detail": {} }), Trigger::EventBridge),
        (json!({ "detail-type": "Order", "source": "shop", "detail": { "title": "Scheduled Event" } }), Trigger::EventBridge),
        (json!({ "Records": [], "window": {}, "eventSourceARN": arn("kinesis") }), Trigger::Kinesis),
        (json!({ "Records": [], "window": {}, "eventSourceARN": arn("dynamodb") }), Trigger::DynamoDb),
        (json!({ "eventSource": "SelfManagedKafka", "bootstrapServers": "b", "records": {} }), Trigger::Kafka),
        (
            json!({ "invocationSchemaVersion": "2.0", "invocationId": "i", "job": {}, "tasks": [{ "s3Key": "k" }] }),
            Trigger::S3Batch,
        ),
        (json!({ "messageVersion": "1.0", "bot": {}, "sessionState": {}, "inputTranscript": "x" }), Trigger::Lex),
        (json!({ "DurableExecutionArn": "arn", "CheckpointToken": "t", "InitialExecutionState": {} }), Trigger::DurableExecution),
        (json!({ "Execution": {}, "State": {}, "StateMachine": {} }), Trigger::StepFunctions),
        (json!({ "httpMethod": "GET", "agent": {}, "parameters": [{ "name": "resource" }] }), Trigger::Direct),
        (json!([sqs, sqs]), Trigger::Sqs),
        (json!({ "eventSource": "aws:sqs", "body": "a lone record" }), Trigger::Direct),
        (json!({ "Records": [] }), Trigger::Direct),
        (json!({ "Records": [{ "eventSource": "of:mine" }] }), Trigger::Direct),
        (json!({ "Records": "aws:sqs", "requestContext": "elb", "source": 1, "detail-type": null }), Trigger::EventBridge),
        (json!({ "order": 1 }), Trigger::Direct),
        (json!([]), Trigger::Direct),
        (json!(null), Trigger::Direct),
        (json!("Records"), Trigger::Direct),
    ] {
        assert_eq!(Trigger::recognize(event.to_string().as_bytes()), trigger, "{event}");
    }
}

/// Regardless of a key's distance from the start, and of the keys before it.
#[test]
fn no_length_hides_a_key() {
    for filler in [
        json!("\\\"}{][,:".repeat(10_000)),
        json!(vec!["}]\"{["; 10_000]),
        json!(vec![-1.5e3; 10_000]),
        serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap(),
    ] {
        let event = format!(r#" {{ "a" : {filler} , "requestContext" : {filler}, "source": "shop",	"detail-type" : "x" }} "#);
        assert_eq!(Trigger::recognize(event.as_bytes()), Trigger::EventBridge);
        let event = format!(r#"{{"Records":[{{"body":{filler},"eventSource":"aws:sqs"}}]}}"#);
        assert_eq!(Trigger::recognize(event.as_bytes()), Trigger::Sqs);
    }
}

/// Truncated text and invalid bytes neither panic nor overflow the stack.
#[test]
fn text_that_is_no_json_has_some_label() {
    for (_, event) in examples() {
        let step = event.len() / 12 + 1;
        for end in (0..event.len()).step_by(step) {
            Trigger::recognize(&event[..end]);
            let mut changed = event.clone();
            for byte in *b"\"\\{}[],: \xff" {
                changed[end] = byte;
                Trigger::recognize(&changed);
            }
        }
    }
    for bracket in ["[", "{\"a\":", "[{\"a\":", "]", "}", "\"", "\\", "{\"\\"] {
        Trigger::recognize(bracket.repeat(100_000).as_bytes());
    }
}

/// How many odd forms there are. The first one is null.
const ODD: usize = 9;

/// The odd forms, and every field of a record in each of them, one at a time.
fn broken(record: &Value) -> Vec<Value> {
    fn places(value: &Value, place: &str, found: &mut Vec<String>) {
        let below: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
            _ => return,
        };
        for (key, value) in below {
            let place = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
            places(value, &place, found);
            found.push(place);
        }
    }
    let mut found = Vec::new();
    places(record, "", &mut found);
    let odd = [
        json!(null),
        json!(""),
        json!("ü\u{0}"),
        json!(-1.5),
        json!(1e300),
        json!(true),
        json!([]),
        json!([null]),
        json!({ "": {} }),
    ];
    let mut records: Vec<Value> = odd.to_vec();
    for place in found {
        for value in &odd {
            let mut changed = record.clone();
            *changed.pointer_mut(&place).unwrap() = value.clone();
            records.push(changed);
        }
    }
    records
}

/// The first record of a public example.
fn example(name: &str) -> Value {
    let (_, event) = examples().into_iter().find(|(example, _)| example == name).unwrap();
    let event: Value = serde_json::from_slice(&event).unwrap();
    event["Records"][0].clone()
}

type Seen = Arc<Mutex<Vec<String>>>;

/// The response, and the ids that the handler saw.
async fn respond<F>(call: impl FnOnce(TestInvocation, Seen) -> F) -> (Value, Vec<String>)
where
    F: Future<Output = Result<Value, lambda_runtime::Diagnostic>>,
{
    let seen = Seen::default();
    let response = call(Invocation::test().begin(), Arc::clone(&seen)).await;
    let response = response.unwrap_or_else(|error| json!({ "error": error.error_type }));
    let seen = seen.lock().unwrap().clone();
    (response, seen)
}

#[tokio::test]
async fn a_broken_message_of_sqs_affects_only_itself() {
    let record = example("example-sqs-event");
    // A response cannot name a message without an id, and SQS deletes what is not named.
    for broken in broken(&record).into_iter().filter(|record| record["messageId"].as_str().is_some_and(|id| !id.is_empty())) {
        let mut sound = record.clone();
        sound["messageId"] = json!("sound");
        let event = json!({ "Records": [broken, sound] });
        let (response, seen) = respond(async |test, seen: Seen| {
            let handler = async |seen: Seen, message: sqs::Message<String>| {
                seen.lock().unwrap().push(message.id);
                Ok::<_, Error>(())
            };
            test.call(sqs::batch_raw(handler).with_state(seen), &event).await
        })
        .await;
        assert!(seen.contains(&"sound".to_owned()) && response["batchItemFailures"].is_array(), "{event}: {response} {seen:?}");
        assert!(!response.to_string().contains("\"sound\""), "{event}: {response}");
    }
}

/// A stream is handled in order, so the record before the broken one is the sound one. The same holds for both kinds of streams.
#[tokio::test]
async fn a_broken_record_of_a_stream_affects_only_itself() {
    let record = example("example-kinesis-event");
    for broken in broken(&record) {
        let mut sound = record.clone();
        sound["kinesis"]["sequenceNumber"] = json!("sound");
        let event = json!({ "Records": [sound, broken] });
        let (response, seen) = respond(async |test, seen: Seen| {
            let handler = async |seen: Seen, record: kinesis::Record<Vec<u8>>| {
                seen.lock().unwrap().push(record.sequence_number);
                Ok::<_, Error>(())
            };
            test.call(kinesis::batch_raw(handler).with_state(seen), &event).await
        })
        .await;
        assert!(seen.contains(&"sound".to_owned()) && response["batchItemFailures"].is_array(), "{event}: {response} {seen:?}");
    }
    let record = example("example-dynamodb-event");
    for broken in broken(&record) {
        let mut sound = record.clone();
        sound["dynamodb"]["SequenceNumber"] = json!("sound");
        let event = json!({ "Records": [sound, broken] });
        let (response, seen) = respond(async |test, seen: Seen| {
            let handler = async |seen: Seen, change: dynamodb::Change<IgnoredAny>| {
                seen.lock().unwrap().push(change.sequence_number);
                Ok::<_, Error>(())
            };
            test.call(dynamodb::batch(handler).with_state(seen), &event).await
        })
        .await;
        assert!(seen.contains(&"sound".to_owned()) && response["batchItemFailures"].is_array(), "{event}: {response} {seen:?}");
    }
}

#[tokio::test]
async fn a_broken_record_of_kafka_affects_only_its_partition() {
    let record = json!({
        "topic": "payments", "partition": 0, "offset": 7, "timestamp": 1_545_084_650_987_u64, "timestampType": "CREATE_TIME",
        "key": "aw==", "value": "e30=", "headers": [{ "h": [104, -61] }],
    });
    for broken in broken(&record) {
        let mut sound = record.clone();
        (sound["partition"], sound["offset"]) = (json!(1), json!(8));
        let event = json!({
            "eventSource": "aws:kafka", "bootstrapServers": "b", "eventSourceArn": "arn:aws:kafka:eu-west-1:1:cluster/c/1",
            "records": { "payments-0": [broken], "payments-1": [sound] },
        });
        let (response, seen) = respond(async |test, seen: Seen| {
            let handler = async |seen: Seen, record: kafka::Record<Option<Vec<u8>>>| {
                seen.lock().unwrap().push(record.offset.to_string());
                Ok::<_, Error>(())
            };
            test.call(kafka::batch_raw(handler).partial_responses().with_state(seen), &event).await
        })
        .await;
        assert!(seen.contains(&"8".to_owned()), "{event}: {response} {seen:?}");
        assert!(!response.to_string().contains("payments-1"), "{event}: {response}");
    }
}

/// SNS sends one notification at a time.
#[tokio::test]
async fn a_notification_is_handled_where_any_field_beside_its_message_is_null() {
    let record = example("example-sns-event");
    for broken in broken(&record).into_iter().skip(ODD).step_by(ODD) {
        let event = json!({ "Records": [broken.clone()] });
        let (response, seen) = respond(async |test, seen: Seen| {
            let handler = async |seen: Seen, notification: sns::Notification<String>| {
                seen.lock().unwrap().push(notification.message);
                Ok::<_, Error>(())
            };
            test.call(sns::notifications_raw(handler).with_state(seen), &event).await
        })
        .await;
        let without = broken["Sns"].is_null() || broken["Sns"]["Message"].is_null();
        assert!(without || seen.len() == 1, "{event}: {response} {seen:?}");
    }
}
