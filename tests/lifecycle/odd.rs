//! Odd input of every kind: HTTP events, client contexts, trace headers and variables. None of it may panic, or end a process.

use crate::{
    behavior::Probe,
    support::{Stage, Tested, all, ensure, test},
};
use lambda_lifecycle_sandbox::{
    Event, Failure, FunctionResponse,
    function::{FunctionBuilder, TraceMode},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("odd: HTTP events with a field that is null, empty or of another type", http_fields),
        test("odd: HTTP events with unusual headers, cookies, paths and bodies", http_requests),
        test("odd: client contexts of every form", client_contexts),
        test("odd: trace headers in another order, in another case, twice, or with something between", trace_headers),
        test("odd: every variable with every odd value", variables),
    ]
}

/// An event of each gateway, for `GET /orders/7`.
fn gateways() -> Vec<Value> {
    let context = json!({ "stage": "prod", "path": "/prod/orders/7", "httpMethod": "GET", "resourcePath": "/{proxy+}",
        "identity": { "sourceIp": "198.51.100.7", "userAgent": "test" }, "requestId": "r", "requestTimeEpoch": 1, "domainName": "d" });
    vec![
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/orders/7", "rawQueryString": "a=1", "cookies": ["a=1"],
            "headers": { "host": "example.com", "x-forwarded-for": "198.51.100.7" }, "queryStringParameters": { "a": "1" },
            "requestContext": { "http": { "method": "GET", "path": "/orders/7", "protocol": "HTTP/1.1", "sourceIp": "198.51.100.7",
                "userAgent": "test" }, "domainName": "example.com", "stage": "$default", "requestId": "r", "timeEpoch": 1 },
            "pathParameters": { "id": "7" }, "stageVariables": { "a": "b" }, "body": "e30=", "isBase64Encoded": true,
        }),
        json!({
            "resource": "/{proxy+}", "path": "/orders/7", "httpMethod": "GET", "headers": { "Host": "example.com" },
            "multiValueHeaders": { "Host": ["example.com"] }, "queryStringParameters": { "a": "1" },
            "multiValueQueryStringParameters": { "a": ["1", "2"] }, "pathParameters": { "proxy": "orders/7" },
            "stageVariables": { "a": "b" }, "requestContext": context, "body": "{}", "isBase64Encoded": false,
        }),
        json!({
            "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/x/1" } },
            "httpMethod": "GET", "path": "/orders/7", "queryStringParameters": { "a": "1" },
            "multiValueQueryStringParameters": { "a": ["1"] }, "headers": { "host": "example.com" },
            "multiValueHeaders": { "host": ["example.com"] }, "body": "", "isBase64Encoded": false,
        }),
        json!({
            "version": "2.0", "path": "/orders/7", "method": "GET", "headers": { "host": ["svc.example.com"] }, "body": null,
            "queryStringParameters": { "a": ["1"] }, "isBase64Encoded": false,
            "requestContext": { "serviceNetworkArn": "arn:aws:vpc-lattice:eu-west-1:1:servicenetwork/sn-1", "region": "eu-west-1",
                "serviceArn": "arn:aws:vpc-lattice:eu-west-1:1:service/svc-1", "identity": { "sourceVpcArn": "arn" },
                "targetGroupArn": "arn:aws:vpc-lattice:eu-west-1:1:targetgroup/tg-1", "timeEpoch": "1696331543569073" },
        }),
        json!({
            "headers": { "Host": "x.execute-api.eu-west-1.amazonaws.com" }, "multiValueHeaders": { "Host": ["x"] },
            "queryStringParameters": { "a": "1" }, "multiValueQueryStringParameters": { "a": ["1"] },
            "requestContext": { "routeKey": "$connect", "eventType": "CONNECT", "extendedRequestId": "e", "messageDirection": "IN",
                "requestTime": "22/Feb/2022:19:07:37 +0000", "stage": "dev", "connectedAt": 1, "requestTimeEpoch": 1,
                "identity": { "sourceIp": "198.51.100.7" }, "requestId": "r", "domainName": "d", "connectionId": "c", "apiId": "a" },
            "isBase64Encoded": false,
        }),
    ]
}

/// The places of a document below its root.
fn places(value: &Value, place: &str, found: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect(),
        _ => return,
    };
    for (key, value) in below {
        let place = format!("{place}/{key}");
        places(value, &place, found);
        found.push(place);
    }
}

fn remove(document: &mut Value, place: &str) {
    let Some((parent, key)) = place.rsplit_once('/') else { return };
    if let Some(fields) = document.pointer_mut(parent).and_then(Value::as_object_mut) {
        fields.remove(key);
    }
}

/// A response, or the error that an event without a request gets.
fn is_answered(answer: &FunctionResponse) -> Result<(), String> {
    match &answer.result {
        Ok(body) => {
            let status = serde_json::from_slice::<Value>(body).unwrap_or_default()["statusCode"].as_u64().unwrap_or_default();
            if (200..500).contains(&status) { Ok(()) } else { Err(format!("the status {status}")) }
        }
        Err(Failure::Function { error_type, .. }) if error_type == "Lifecycle.UndecodableEvent" => Ok(()),
        Err(failure) => Err(failure.to_string()),
    }
}

async fn answered(stage: &Stage, events: &[Value]) -> Tested {
    for event in events {
        let answer = stage.invoke(event.clone()).await?;
        is_answered(&answer).map_err(|problem| format!("{problem}: {event}"))?;
    }
    ensure(stage.processes() == 1, "the process did not live")?;
    stage.settle().await?;
    stage.is_sound()
}

async fn http_fields() -> Tested {
    let odd = [
        json!(null),
        json!(""),
        json!([]),
        json!({}),
        json!(-1.5),
        json!(true),
        json!([null]),
        json!({ "": null }),
        json!("\u{0}ü"),
    ];
    let mut events = Vec::new();
    for event in gateways() {
        let mut found = Vec::new();
        places(&event, "", &mut found);
        for place in &found {
            for value in &odd {
                let mut changed = event.clone();
                if let Some(at) = changed.pointer_mut(place) {
                    *at = value.clone();
                }
                events.push(changed);
            }
            let mut without = event.clone();
            remove(&mut without, place);
            events.push(without);
        }
    }
    // Managed Instances take several at once, which is faster.
    let stage = Stage::with(Probe::Http, TraceMode::NotSampled, |function| function.managed(8)).await?;
    for chunk in events.chunks(64) {
        let answers = all(chunk.iter().map(|event| stage.invoke(event.clone()))).await?;
        for (answer, event) in answers.iter().zip(chunk) {
            is_answered(answer).map_err(|problem| format!("{problem}: {event}"))?;
        }
    }
    ensure(stage.processes() == 1, "the process did not live")
}

async fn http_requests() -> Tested {
    let long = "a".repeat(70_000);
    let changes: Vec<(&str, Value)> = vec![
        ("/multiValueHeaders", json!({ "x": ["1", "2", "1"], "X": ["3"], "host": ["a", "b"] })),
        ("/multiValueHeaders", json!({ "x": [], "y": [""], "content-length": ["7", "9"] })),
        ("/headers", json!({ "a b": "1", "": "2", "ü": "3", "x": "line\nbreak", "host": "example.com" })),
        ("/headers", json!({ "host": "", "content-type": "text/plain; charset=\"", "x-forwarded-port": "70000" })),
        ("/headers", json!({ "host": ":80", "x-forwarded-proto": "ftp", "x-forwarded-for": ",, ," })),
        ("/headers", json!({ "host": "[::1]:80", "x-forwarded-proto": "HTTPS" })),
        ("/headers", json!({ "host": "user:secret@example.com", "transfer-encoding": "chunked" })),
        ("/headers", json!({ "host": "example.com", "Host": "other.example.com", "HOST": "third" })),
        ("/cookies", json!([])),
        ("/cookies", json!(["", ";", "a", "a=1; b=2", "line\nbreak", "ü=ü"])),
        ("/rawPath", json!("/orders/ä ö")),
        ("/rawPath", json!("/orders/%zz%")),
        ("/rawPath", json!("orders/7")),
        ("/rawPath", json!("//orders//7/../8")),
        ("/rawPath", json!("/orders/7?x=1#fragment")),
        ("/rawPath", json!("http://other.example.com/orders/7")),
        ("/rawPath", json!(format!("/orders/{long}"))),
        ("/path", json!("/orders/ä ö\\\"<>`{}|^")),
        ("/path", json!("*")),
        ("/path", json!(format!("/orders/{long}"))),
        ("/requestContext/path", json!("/other/orders/7")),
        ("/rawQueryString", json!("&&==&a=%zz&%=1&ü=ä b\u{0}")),
        ("/rawQueryString", json!(format!("a={long}"))),
        ("/queryStringParameters", json!({ "": "", "a b": "c d", "ü": "%zz", "&": "=" })),
        ("/multiValueQueryStringParameters", json!({ "a": [], "b": ["", ""], "": ["x"] })),
        ("/httpMethod", json!("get")),
        ("/httpMethod", json!("PURGE")),
        ("/httpMethod", json!("G E T")),
        ("/method", json!("")),
        ("/requestContext/http/method", json!("PROPFIND")),
        // Bytes that are not UTF-8, and base64 without padding, in another alphabet and with a line break.
        ("/body", json!("//79AA==")),
        ("/body", json!("//79AA")),
        ("/body", json!("__79-A==")),
        ("/body", json!("//79\r\nAA==")),
    ];
    let mut events = Vec::new();
    for (place, value) in changes {
        for mut event in gateways() {
            if place == "/body" {
                event["isBase64Encoded"] = json!(true);
            }
            let Some((parent, key)) = place.rsplit_once('/') else { continue };
            if let Some(fields) = event.pointer_mut(parent).and_then(Value::as_object_mut) {
                fields.insert(key.to_owned(), value.clone());
                events.push(event);
            }
        }
    }
    let stage = Stage::new(Probe::Fronts, TraceMode::Active).await?;
    answered(&stage, &events).await?;
    // A body that is not UTF-8 reaches the router byte for byte.
    let mut event = gateways().swap_remove(0);
    event["body"] = json!("//79AA==");
    let body = crate::support::value(&stage.invoke(event).await?)?;
    let shown: Value = serde_json::from_str(body["body"].as_str().unwrap_or_default())?;
    ensure(shown["body"] == json!([255, 254, 253, 0]), shown.to_string())
}

async fn client_contexts() -> Tested {
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let contexts = [
        String::new(),
        " ".to_owned(),
        "{".to_owned(),
        "null".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        "{}".to_owned(),
        json!({ "client": null, "custom": {}, "env": null }).to_string(),
        json!({ "custom": [] }).to_string(),
        json!({ "custom": { "x-correlation-id": 1, "traceparent": null, "tracestate": {} } }).to_string(),
        json!({ "custom": { "x-correlation-id": "\u{7}", "traceparent": "00-zz-zz-zz" } }).to_string(),
        json!({ "custom": { "a": { "b": ["c", null] } }, "Custom": { "x": "y" } }).to_string(),
        json!({ "client": { "installation_id": 7, "app_title": null, "unknown": true }, "env": { "a": 1 } }).to_string(),
        json!({ "env": [], "services": { "mobile_analytics": {} } }).to_string(),
        r#"{"custom":{"a":"1","a":"2"},"custom":{}}"#.to_owned(),
        json!({ "custom": { "a": "b".repeat(3_000) } }).to_string(),
        format!("{{\"custom\":{{\"a\":{deep}}}}}"),
    ];
    for managed in [false, true] {
        let change = |function: FunctionBuilder| {
            let function = function.env("OTEL_PROPAGATORS", "xray,tracecontext,baggage");
            let function = function.env("LAMBDA_LIFECYCLE_CORRELATION_ID", "header:x-correlation-id");
            if managed { function.managed(2) } else { function }
        };
        let stage = Stage::with(Probe::Value, TraceMode::Active, change).await?;
        for context in &contexts {
            let event = Event { payload: "{}".into(), client_context: Some(context.clone()), ..Event::default() };
            let answer = stage.invoke_event(event).await?;
            ensure(answer.result.is_ok(), format!("{context}: {:?}", answer.result))?;
        }
        ensure(stage.processes() == 1, "the process did not live")?;
        stage.settle().await?;
        stage.documents_are_valid()?;
    }
    Ok(())
}

async fn trace_headers() -> Tested {
    const ROOT: &str = "1-5759e988-bd862e3fe1be46a994272793";
    const PARENT: &str = "53995c3f42cd8ad8";
    // The header, and whether X-Ray gets documents. Where the root or the parent is malformed, the invocation must not fail.
    for (header, sampled) in [
        (format!("Sampled=1;Parent={PARENT};Root={ROOT}"), Some(true)),
        (format!("Lineage=1:a87bd80c:0;Sampled=1;Root={ROOT};Self=1-2;Parent={PARENT}"), Some(true)),
        (format!(" Root={ROOT} ; Parent={PARENT} ; Sampled=1 ;"), Some(true)),
        (format!(";;Root={ROOT};;Parent={PARENT};Sampled=1;;"), Some(true)),
        (format!("Root={ROOT};Parent={PARENT};Sampled=0;Lineage=Sampled=1"), Some(false)),
        (format!("Root={ROOT};Parent={PARENT};Sampled=?"), Some(false)),
        (format!("Root={ROOT};Parent={PARENT};Sampled="), Some(false)),
        (format!("Root={ROOT}"), Some(false)),
        (format!("Root={ROOT};Parent={PARENT};Sampled=1;Root=1-00000000-000000000000000000000000"), None),
        (format!("Root={ROOT};Parent=;Sampled=1"), None),
        (format!("Root={ROOT};Parent=53995C3F42CD8AD;Sampled=1"), None),
        (format!("root={ROOT};PARENT={PARENT};sampled=1"), None),
        (format!("Root;Parent={PARENT};Sampled=1"), None),
        ("Root=1-5759e988-zz;Sampled=1".to_owned(), None),
        ("=;=;=".to_owned(), None),
        (";".to_owned(), None),
    ] {
        let stage = Stage::new(Probe::Value, TraceMode::Raw(header.clone())).await?;
        for _ in 0..2 {
            let answer = stage.invoke(json!({})).await?;
            ensure(answer.result.is_ok(), format!("{header}: {:?}", answer.result))?;
        }
        stage.settle().await?;
        let own = stage.traces.find(|document| document.annotation("outcome").is_some());
        if let Some(sampled) = sampled {
            ensure(own.is_empty() != sampled, format!("{header}: {} documents", own.len()))?;
            ensure(own.iter().all(|document| document.trace_id == ROOT), format!("{header}: {own:#?}"))?;
        }
        ensure(stage.traces.rejected().is_empty(), format!("{header}: {:?}", stage.traces.rejected()))?;
        ensure(stage.processes() == 1, format!("{header}: the process did not live"))?;
    }
    Ok(())
}

async fn variables() -> Tested {
    const NAMES: [&str; 35] = [
        "LAMBDA_LIFECYCLE_LOG",
        "LAMBDA_LIFECYCLE_LOG_SPAN_FIELDS",
        "LAMBDA_LIFECYCLE_LOG_STANDARD_KEYS",
        "LAMBDA_LIFECYCLE_LOG_BUFFER",
        "LAMBDA_LIFECYCLE_LOG_BUFFER_BYTES",
        "LAMBDA_LIFECYCLE_LOG_SAMPLED",
        "LAMBDA_LIFECYCLE_CORRELATION_ID",
        "LAMBDA_LIFECYCLE_TRACE",
        "LAMBDA_LIFECYCLE_TRACE_FILTER",
        "LAMBDA_LIFECYCLE_TRACE_EVENTS",
        "LAMBDA_LIFECYCLE_TRACE_PARENT",
        "LAMBDA_LIFECYCLE_TRACE_EXPORT",
        "LAMBDA_LIFECYCLE_TRACE_PRINT",
        "LAMBDA_LIFECYCLE_TRACE_IN_PROGRESS",
        "LAMBDA_LIFECYCLE_TRACE_BUDGET",
        "LAMBDA_LIFECYCLE_TRACE_VARIABLE",
        "LAMBDA_LIFECYCLE_TRACE_AWS_ERROR_MESSAGES",
        "LAMBDA_LIFECYCLE_TRACE_SENDS",
        "LAMBDA_LIFECYCLE_INIT_BUDGET",
        "LAMBDA_LIFECYCLE_DEADLINE",
        "LAMBDA_LIFECYCLE_DEADLINE_GRACE",
        "LAMBDA_LIFECYCLE_DEADLINE_RESERVE",
        "LAMBDA_LIFECYCLE_WATCHDOG",
        "LAMBDA_LIFECYCLE_AFTER_RESPONSE",
        "LAMBDA_LIFECYCLE_AFTER_RESPONSE_BUDGET",
        "LAMBDA_LIFECYCLE_METRICS_NAMESPACE",
        "LAMBDA_LIFECYCLE_METRICS_BUILT_IN",
        "OTEL_PROPAGATORS",
        "OTEL_TRACES_SAMPLER",
        "OTEL_TRACES_SAMPLER_ARG",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_SERVICE_NAME",
        "RUST_LOG",
        "AWS_LAMBDA_LOG_LEVEL",
        "_X_AMZN_TRACE_ID",
    ];
    let long = "a".repeat(20_000);
    let values =
        ["", " ", "\t", "-1", "0", "1e309", "NaN", "0x10", "١٢", "true,", ",", "=", "99999999999999999999999ms", "\u{7f}", &long];
    let tried = values.map(|value| async move {
        let change = |function: FunctionBuilder| NAMES.iter().fold(function, |function, name| function.env(name, value));
        let stage = Stage::with(Probe::Value, TraceMode::Active, change).await?;
        let shown = value.get(..20).unwrap_or(value);
        for _ in 0..2 {
            let answer = stage.invoke(json!({})).await?;
            ensure(answer.result.is_ok(), format!("{shown:?}: {:?}", answer.result))?;
        }
        stage.settle().await?;
        stage.documents_are_valid()?;
        for name in NAMES {
            let told = stage.reported_as("name", name).len();
            ensure(told <= 1, format!("{name}={shown:?} is reported {told} times"))?;
        }
        ensure(stage.processes() == 1, format!("{shown:?}: the process did not live"))
    });
    all(tried).await.map(drop)
}
