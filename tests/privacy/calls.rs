//! Every way in, as events.

use crate::function::{Asked, Do, Probe};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lambda_lifecycle_sandbox::Event;
use serde_json::{Value, json};

/// One event for one function.
pub(crate) struct Call {
    pub(crate) probe: Probe,
    pub(crate) event: Event,
    pub(crate) variables: Vec<(&'static str, &'static str)>,
}

impl Call {
    /// All of it, to look for canaries.
    pub(crate) fn text(&self) -> String {
        let Event { payload, client_context, tenant_id, .. } = &self.event;
        format!("{} {client_context:?} {tenant_id:?} {:?}", String::from_utf8_lossy(payload), self.variables)
    }
}

pub(crate) fn call(probe: Probe, payload: &Value) -> Call {
    Call { probe, event: Event { payload: payload.to_string().into(), ..Event::default() }, variables: Vec::new() }
}

/// An event that asks a function to do something with a text.
pub(crate) fn ask(probe: Probe, act: Do, text: &str) -> Call {
    call(probe, &json!(Asked { act, text: text.to_owned() }))
}

/// Calls of one function stand together.
pub(crate) fn calls() -> Vec<Call> {
    let mut calls = vec![Call {
        probe: Probe::Value,
        event: Event {
            payload: json!({ "do": Do::Nothing, "secret": "MARKED-event-value-x", "MARKED-event-key-x": 1 }).to_string().into(),
            client_context: Some(json!({ "custom": { "secret": "MARKED-client-context-x" } }).to_string()),
            tenant_id: Some("MARKED-tenant-x".to_owned()),
            ..Event::default()
        },
        variables: vec![("OTEL_RESOURCE_ATTRIBUTES", "secret=MARKED-resource-x")],
    }];
    calls.push(call(
        Probe::Value,
        &json!({
            "do": Do::Nothing,
            "DurableExecutionArn": "arn:aws:lambda:eu-west-1:123456789012:function:f:1/durable-execution/MARKED-execution-name-x/0a1b",
            "CheckpointToken": "MARKED-event-value-x",
            "InitialExecutionState": { "Operations": [
                { "Id": "e", "Type": "EXECUTION", "ExecutionDetails": { "InputPayload": "\"MARKED-event-value-x\"" } },
                { "Id": "s", "Type": "STEP", "Name": "MARKED-event-value-x", "StepDetails": { "Result": "\"MARKED-event-value-x\"" } },
            ] },
        }),
    ));
    let url = "http://user:MARKED-url-password-x@127.0.0.1:1/path?token=MARKED-url-query-x";
    for (act, text) in [
        (Do::Fail, "MARKED-error-x"),
        (Do::Panic, "MARKED-panic-x"),
        (Do::LogError, "MARKED-error-event-x"),
        (Do::LogInfo, "MARKED-info-event-x"),
        (Do::LogField, "MARKED-log-field-x"),
        (Do::SpanField, "MARKED-span-field-x"),
        (Do::SpanName, "MARKED-span-name-x"),
        (Do::SpanEvent, "MARKED-span-event-x"),
        (Do::SpanLink, "MARKED-link-x"),
        (Do::SpanStatus, "MARKED-status-x"),
        (Do::Annotate, "MARKED-annotation-x"),
        (Do::AwsJson, "MARKED-aws-json-x"),
        (Do::AwsXml, "MARKED-aws-xml-x"),
        (Do::AwsJsonTraced, "MARKED-aws-json-x"),
        (Do::AwsXmlTraced, "MARKED-aws-xml-x"),
        (Do::CallUrl, url),
        (Do::CallUrlAndLog, url),
        (Do::CallUrlAndReturn, url),
    ] {
        calls.push(ask(Probe::Value, act, text));
    }
    for order in [
        json!({ "quantity": "MARKED-decoding-value-x" }),
        json!({ "empty": { "MARKED-decoding-key-x, expected MARKED-decoding-key-x": 1 } }),
        json!({ "map": { "MARKED-decoding-map-key-x": "MARKED-decoding-map-key-x" } }),
        json!({ "own": "expected a date, got MARKED-decoding-expected-a-x" }),
        json!({ "own": "invalid number MARKED-decoding-invalid-number-x" }),
        json!({ "own": "invalid value: string \"MARKED-decoding-invalid-value-x\", expected MARKED-decoding-invalid-value-x" }),
        json!({ "own": "missing field `MARKED-decoding-missing-field-x`" }),
        json!({ "own": "MARKED-decoding-own-words-x at line 1 column 2" }),
    ] {
        calls.push(call(Probe::Typed, &order));
    }
    for (act, text) in
        [(Do::Fail, "MARKED-stream-error-x"), (Do::Panic, "MARKED-stream-panic-x"), (Do::Fail, url), (Do::Panic, url)]
    {
        calls.push(ask(Probe::Stream, act, text));
    }
    calls.push(call(Probe::ErrorType, &json!("MARKED-error-type-x")));
    calls.push(call(Probe::Http, &request()));
    calls.push(call(Probe::Sqs, &batch()));
    calls.extend(streams());
    calls.push(Call { variables: vec![("TEXT", "MARKED-init-error-x")], ..call(Probe::InitFails, &Value::Null) });
    calls.push(Call { variables: vec![("TEXT", "MARKED-init-panic-x")], ..call(Probe::InitPanics, &Value::Null) });
    calls.push(call(Probe::InitFailsWithType, &json!("MARKEDInitTypeX")));
    // The URL of what could not be reached.
    calls.push(Call {
        variables: vec![("TEXT", "postgres://app:MARKED-url-password-x@db/orders?token=MARKED-url-query-x: refused")],
        ..call(Probe::InitFails, &Value::Null)
    });
    calls
}

/// A request as a function URL sends it.
fn request() -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/orders/MARKED-http-path-x",
        "rawQueryString": "token=MARKED-http-query-x",
        "cookies": ["session=MARKED-http-cookie-x"],
        "headers": {
            "host": "abc.lambda-url.eu-west-1.on.aws",
            "user-agent": "MARKED-http-user-agent-x",
            "x-forwarded-for": "MARKED-http-forwarded-for-x, 1.2.3.4",
            "authorization": "Bearer MARKED-http-authorization-x",
            "x-secret": "MARKED-http-header-x",
            "content-type": "application/json",
        },
        "queryStringParameters": { "token": "MARKED-http-query-x" },
        "requestContext": {
            "accountId": "123456789012", "apiId": "abc", "domainName": "abc.lambda-url.eu-west-1.on.aws", "domainPrefix": "abc",
            "http": {
                "method": "POST", "path": "/orders/MARKED-http-path-x", "protocol": "HTTP/1.1",
                "sourceIp": "MARKED-http-source-ip-x", "userAgent": "MARKED-http-user-agent-x",
            },
            "requestId": "id", "routeKey": "$default", "stage": "$default",
            "time": "26/Nov/2026:13:00:00 +0000", "timeEpoch": 1_795_698_000_000_u64,
        },
        "body": "{\"card\": \"MARKED-http-body-x\"}",
        "isBase64Encoded": false,
    })
}

/// Messages of a FIFO queue, each in a separate group.
pub(crate) fn batch() -> Value {
    let message = |id: &str, body: &Value| {
        json!({
            "messageId": id,
            "body": body.to_string(),
            "attributes": { "ApproximateReceiveCount": "1", "MessageGroupId": format!("MARKED-message-group-x {id}") },
            "messageAttributes": { "secret": { "stringValue": "MARKED-message-attribute-x", "dataType": "String" } },
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders.fifo",
        })
    };
    json!({ "Records": [
        message("MARKED-message-id-x", &json!({ "do": Do::Fail, "text": "MARKED-message-error-x", "secret": "MARKED-message-body-x" })),
        message("2", &json!({ "do": Do::Panic, "text": "MARKED-message-panic-x" })),
        message("3", &json!({ "do": Do::Nothing, "text": "MARKED-message-body-x" })),
        message("4", &json!({ "do": ["MARKED-decoding-message-x"], "text": "" })),
    ] })
}

/// Records of streams and topics, sound ones and others that do not decode.
fn streams() -> Vec<Call> {
    // In base64 and bytes it is not seen.
    let hidden = "MARKED-record-data-x MARKED-record-header-x";
    let odd = json!({ "quantity": "MARKED-record-data-x" });
    let data = |value: &Value| STANDARD.encode(value.to_string());
    let reading = |number: &str, value: &Value| {
        json!({
            "kinesis": { "sequenceNumber": number, "partitionKey": "MARKED-record-key-x", "data": data(value) },
            "eventSource": "aws:kinesis",
            "eventID": format!("shardId-000000000000:{number}"),
            "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
        })
    };
    let change = |number: &str, image: &Value| {
        json!({
            "dynamodb": { "SequenceNumber": number, "Keys": { "id": { "S": "MARKED-record-key-x" } }, "NewImage": image },
            "eventName": "INSERT",
            "eventSource": "aws:dynamodb",
            "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024-06-10T19:26:16.525",
        })
    };
    let header: Vec<u8> = b"MARKED-record-header-x".to_vec();
    let payment = |offset: u64, value: &Value| {
        json!({
            "topic": "orders", "partition": 0, "offset": offset, "timestamp": 1_545_084_650_987_u64, "timestampType": "CREATE_TIME",
            "key": STANDARD.encode("MARKED-record-key-x"), "value": data(value), "headers": [{ "secret": header }],
        })
    };
    let image = json!({ "quantity": { "S": "MARKED-record-image-x" } });
    vec![
        call(Probe::Kinesis, &json!({ "Records": [reading("1", &json!({})), reading("2", &odd)] })),
        call(Probe::DynamoDb, &json!({ "Records": [change("1", &json!({})), change("2", &image)] })),
        call(
            Probe::Kafka,
            &json!({ "eventSource": "aws:kafka", "hidden": hidden, "records": { "orders-0": [payment(1, &json!({})), payment(2, &odd)] } }),
        ),
    ]
}
