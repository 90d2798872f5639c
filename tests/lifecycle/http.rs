//! HTTP: the events of gateways and load balancers.

use crate::{
    behavior::Probe,
    kind::{SOON, long_reserve},
    support::{Stage, Tested, all, ensure, test, value},
};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;
use serde_json::{Value, json};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("http: API Gateway v1 and a load balancer reach the routes", other_gateways),
        test("http: the stage of API Gateway is no part of the path", http_stage),
        test("http: a request that is not answered before the deadline gets a 504", http_deadline),
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
    for event in [v2, v1, alike] {
        let answer = stage.invoke(event).await?;
        let body = value(&answer)?;
        ensure(body["statusCode"] == 200, body.to_string())?;
        let document = stage.document(&answer).await?;
        ensure(document.annotation("route") == Some("GET /orders/{id}"), format!("{:?}", document.annotations))?;
    }
    Ok(())
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
