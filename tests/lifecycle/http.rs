//! HTTP: the events of gateways and load balancers.

use crate::{
    behavior::Probe,
    kind::{SOON, long_reserve},
    support::{Stage, Tested, all, code, ensure, function_error, test, value},
};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("http: API Gateway v1 and a load balancer reach the routes", other_gateways),
        test("http: API Gateway's stage is not part of the path", http_stage),
        test("http: an event that holds no valid request gets a 400", invalid_requests),
        test("http: an event that holds no request is an error that names what was expected", no_request),
        test("http: the query stays out of the spans of tower-http's layer where its span is the documented one", trace_layer),
        test("http: the document's URL has the port", port),
        test("http: a request without a response at the deadline gets a 504", http_deadline),
        test("Managed Instances: the axum function serves eight at a time, each its own", axum_at_once),
    ]
}

async fn other_gateways() -> Tested {
    let stage = Stage::new(Probe::Http, TraceMode::Active).await?;
    let gateway = json!({
        "resource": "/{proxy+}", "path": "/orders/7", "httpMethod": "GET", "headers": { "host": "x.execute-api.eu-west-1.amazonaws.com" },
        "multiValueHeaders": { "host": ["x.execute-api.eu-west-1.amazonaws.com"] }, "queryStringParameters": null,
        "requestContext": { "stage": "$default", "path": "/orders/7", "httpMethod": "GET", "identity": {} },
        "body": null, "isBase64Encoded": false,
    });
    let balancer = json!({
        "requestContext": { "elb": { "targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/x/1" } },
        "httpMethod": "GET", "path": "/orders/7", "queryStringParameters": {}, "headers": { "host": "example.com" },
        "body": "", "isBase64Encoded": false,
    });
    for event in [balancer, gateway] {
        let answer = stage.invoke(event).await?;
        let body = value(&answer)?;
        ensure(body["statusCode"] == 200 && body["body"] == "order", body.to_string())?;
        let document = stage.document(&answer).await?;
        ensure(document.annotation("route") == Some("GET /orders/{id}"), format!("{:?}", document.annotations))?;
    }
    Ok(())
}

pub(crate) fn http_event(path: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "token=do-not-tell",
        "headers": { "host": "example.com", "user-agent": "test", "x-forwarded-for": "198.51.100.7, 10.0.0.1" },
        "requestContext": { "http": { "method": "GET", "path": path }, "domainName": "example.com", "stage": "$default" },
        "isBase64Encoded": false,
    })
}

async fn http_stage() -> Tested {
    let stage = Stage::new(Probe::Http, TraceMode::Active).await?;
    let mut v2 = http_event("/prod/orders/7");
    v2["requestContext"]["stage"] = json!("prod");
    let v1 = json!({
        "resource": "/{proxy+}", "path": "/orders/7", "httpMethod": "GET", "headers": { "Host": "example.com" },
        "multiValueHeaders": { "Host": ["example.com"] }, "queryStringParameters": null, "multiValueQueryStringParameters": null,
        "pathParameters": { "proxy": "orders/7" }, "stageVariables": null, "body": null, "isBase64Encoded": false,
        "requestContext": { "stage": "prod", "httpMethod": "GET", "path": "/prod/orders/7", "resourcePath": "/{proxy+}", "identity": {} },
    });
    let mut alike = v1.clone();
    alike["requestContext"]["stage"] = json!("orders");
    alike["requestContext"]["path"] = json!("/orders/orders/7");
    // Resources with the same start as the stage, on a custom domain; and with a base path there.
    let mut own_domain = v1.clone();
    own_domain["requestContext"]["stage"] = json!("orders");
    own_domain["requestContext"]["resourcePath"] = json!("/orders/{id}");
    own_domain["requestContext"]["path"] = json!("/orders/7");
    let mut base_path = own_domain.clone();
    base_path["path"] = json!("/shop/orders/7");
    let mut lattice = json!({
        "version": "2.0", "path": "/orders/7", "method": "GET", "headers": { "host": ["svc.example.com"] }, "body": "",
        "requestContext": { "serviceNetworkArn": "arn:aws:vpc-lattice:eu-west-1:1:servicenetwork/sn-1", "region": "eu-west-1",
            "serviceArn": "arn:aws:vpc-lattice:eu-west-1:1:service/svc-1", "identity": {}, "timeEpoch": "1696331543569073",
            "targetGroupArn": "arn:aws:vpc-lattice:eu-west-1:1:targetgroup/tg-1" },
    });
    lattice["queryStringParameters"] = json!({ "a": ["1"] });
    for event in [v2, v1, alike, own_domain, base_path, lattice] {
        let answer = stage.invoke(event).await?;
        let body = value(&answer)?;
        ensure(body["statusCode"] == 200, body.to_string())?;
        let document = stage.document(&answer).await?;
        ensure(document.annotation("route") == Some("GET /orders/{id}"), format!("{:?}", document.annotations))?;
    }
    Ok(())
}

async fn invalid_requests() -> Tested {
    let stage = Stage::new(Probe::Http, TraceMode::Active).await?;
    let change = |change: fn(&mut Value)| {
        let mut event = http_event("/orders/7");
        change(&mut event);
        event
    };
    for event in [
        change(|event| event["headers"]["host"] = json!("1234567890.execute-api.{dns_suffix}")),
        change(|event| event["headers"]["host"] = json!("a b/c?d")),
        change(|event| event["headers"]["host"] = json!("example.com:99999")),
        change(|event| (event["body"], event["isBase64Encoded"]) = (json!("!!!"), json!(true))),
    ] {
        let answer = stage.invoke(event.clone()).await?;
        let body = value(&answer)?;
        ensure(body["statusCode"] == 400, format!("{event}: {body}"))?;
        let document = stage.document(&answer).await?;
        ensure(document.error && !document.fault, format!("{:?}", document.raw))?;
    }
    ensure(stage.codes() == ["request_invalid"; 4], format!("{:?}", stage.codes()))?;
    // Each is one line, and no panic is printed beside it.
    let lines: Vec<String> = stage.logged("").into_iter().filter(|line| code(line).is_none()).collect();
    ensure(lines.is_empty(), format!("{lines:?}"))?;
    for event in [
        change(|event| event["rawQueryString"] = json!("scope=openid profile&q={\"a\":1}")),
        change(|event| event["headers"]["x-forwarded-proto"] = json!("https, http")),
    ] {
        let body = value(&stage.invoke(event.clone()).await?)?;
        ensure(body["statusCode"] == 200, format!("{event}: {body}"))?;
    }
    Ok(())
}

async fn no_request() -> Tested {
    let stage = Stage::new(Probe::Http, TraceMode::Active).await?;
    let events = [
        json!({}),
        json!({ "key1": "value1", "key2": "value2", "key3": "value3" }),
        json!({ "source": "serverless-plugin-warmup" }),
        json!({ "warmer": true, "concurrency": 3 }),
        json!({ "Records": [{ "eventSource": "aws:sqs", "body": "{}" }] }),
        json!(null),
        json!("warm"),
        json!([]),
    ];
    for (count, event) in (1..).zip(&events) {
        let answer = stage.invoke(event.clone()).await?;
        let (kind, message) = function_error(&answer)?;
        ensure(kind == "Lifecycle.UndecodableEvent", format!("{event}: {kind}"))?;
        for expected in ["API Gateway", "Load Balanc", "Function URL"] {
            ensure(message.contains(expected), format!("{event}: {message}"))?;
        }
        let document = stage.document(&answer).await?;
        ensure(document.annotation("outcome") == Some("undecodable_event") && document.fault, format!("{:?}", document.raw))?;
        ensure(stage.codes() == vec!["invocation_failed"; count], format!("{event}: {:?}", stage.problems()))?;
    }
    let body = value(&stage.invoke(http_event("/orders/7")).await?)?;
    ensure(body["statusCode"] == 200 && stage.processes() == 1, body.to_string())
}

async fn trace_layer() -> Tested {
    for (probe, recorded) in [(Probe::HttpTraceLayer, false), (Probe::HttpTraceLayerDefault, true)] {
        let stage = Stage::new(probe, TraceMode::Active).await?;
        let answer = stage.invoke(http_event("/orders/7")).await?;
        ensure(value(&answer)?["statusCode"] == 200, format!("{:?}", answer.result))?;
        stage.settle().await?;
        let span = stage.only("the layer's", |document| document.name == "request")?;
        ensure(span.raw.to_string().contains("/orders/7"), span.raw.to_string())?;
        let leaves = stage.traces.datagrams().iter().any(|datagram| String::from_utf8_lossy(datagram).contains("do-not-tell"));
        ensure(leaves == recorded, format!("{probe}: {}", span.raw))?;
    }
    Ok(())
}

async fn port() -> Tested {
    let stage = Stage::new(Probe::Http, TraceMode::Active).await?;
    let mut event = http_event("/orders/7");
    event["headers"]["host"] = json!("api.example.com:8443");
    let document = stage.document(&stage.invoke(event).await?).await?;
    let url = &document.raw["http"]["request"]["url"];
    ensure(url == "https://api.example.com:8443/orders/7", url.to_string())
}

async fn http_deadline() -> Tested {
    let stage = Stage::with(Probe::Http, TraceMode::Active, long_reserve).await?;
    let answer = stage.invoke_within(SOON, http_event("/slow/hang")).await?;
    let body = value(&answer)?;
    ensure(body["statusCode"] == 504, body.to_string())?;
    let document = stage.document(&answer).await?;
    ensure(document.annotation("outcome") == Some("deadline_exceeded") && document.fault, format!("{:?}", document.raw))?;
    ensure(document.annotation("route") == Some("GET /slow/{kind}"), format!("{:?}", document.annotations))?;

    let answer = stage.invoke(http_event("/orders/7")).await?;
    let document = stage.document(&answer).await?;
    let http = document.http.clone().unwrap_or_default();
    ensure(http.status == Some(200) && http.client_ip.as_deref() == Some("198.51.100.7"), format!("{http:?}"))?;
    ensure(!document.raw.to_string().contains("do-not-tell"), "the query is in the document")?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn axum_at_once() -> Tested {
    let stage = Stage::with(Probe::Http, TraceMode::Active, |function| function.managed(8)).await?;
    let event = |id: usize| http_event(&format!("/orders/{id}"));
    let answers = all((0..24).map(|id| stage.invoke(event(id)))).await?;
    for answer in &answers {
        let body = value(answer)?;
        ensure(body["statusCode"] == 200, body.to_string())?;
        let document = stage.finished_document(answer).await?;
        ensure(document.annotation("route") == Some("GET /orders/{id}"), format!("{:?}", document.annotations))?;
        ensure(document.http.as_ref().and_then(|http| http.status) == Some(200), format!("{:?}", document.http))?;
    }
    ensure(stage.processes() == 1, "the process did not live")
}
