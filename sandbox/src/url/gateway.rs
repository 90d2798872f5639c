//! The other services that put HTTP in front of a function, each with its events and its reading of results.

use super::{
    request::{common_log_time, encode, read, trace_header},
    response::{self, Headers},
};
use crate::{
    Event, Invoke,
    function::settings::{ACCOUNT, REGION},
    ids::new_request_id,
    listener::Listener,
};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State},
    http::{
        HeaderMap, Request, StatusCode,
        header::{CONTENT_TYPE, HOST, USER_AGENT},
        request::Parts,
    },
    response::Response,
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// The service in front of the function.
///
/// The events and the results are described in AWS's developer guides: "Set up Lambda proxy integrations in API Gateway",
/// "Working with AWS Lambda proxy integrations for HTTP APIs", "Lambda functions as targets" of Elastic Load Balancing, and "Lambda functions
/// as targets in VPC Lattice".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// A REST API of API Gateway with the proxy resources `/` and `/{proxy+}`. Its requests begin with the stage; others get 403.
    RestApi {
        /// The stage's name.
        stage: String,
    },
    /// An HTTP API of API Gateway with the route `$default` and payload format 2.0.
    HttpApi {
        /// The stage's name, with which requests begin; others get 404. The stage `$default` has no part in the path.
        stage: String,
    },
    /// An Application Load Balancer.
    LoadBalancer {
        /// The attribute `lambda.multi_value_headers.enabled` of the target group.
        multi_value_headers: bool,
    },
    /// VPC Lattice with version 2 of its event.
    VpcLattice,
}

/// An HTTP listener on the loopback interface that passes its requests to a function as a [`Gateway`] does; ends when dropped.
///
/// Bodies that are text reach the function as text, all others as base64: a REST API is one with the binary media type `*/*`.
///
/// ```no_run
/// use lambda_lifecycle_sandbox::{function::Function, url::{Gateway, HttpFront}};
///
/// # async fn example() -> std::io::Result<()> {
/// let function = Function::builder("orders", "target/debug/bootstrap").build().await;
/// let api = HttpFront::start(Gateway::RestApi { stage: "prod".to_owned() }, function).await?;
/// println!("curl {}prod/orders/7", api.url());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HttpFront(Listener);

impl HttpFront {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// When no port of the loopback interface can be listened on.
    pub async fn start(gateway: Gateway, function: impl Invoke) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), gateway, function).await
    }

    /// Listens on an address; port 0 chooses a free one.
    ///
    /// # Errors
    ///
    /// When the address cannot be listened on.
    pub async fn start_at(address: SocketAddr, gateway: Gateway, function: impl Invoke) -> io::Result<Self> {
        let front = Arc::new(Front { gateway, function: Arc::new(function) });
        Ok(Self(Listener::start_at(address, Router::new().fallback(serve).with_state(front)).await?))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// `http://127.0.0.1:<port>/`.
    pub fn url(&self) -> String {
        self.0.url()
    }
}

struct Front {
    gateway: Gateway,
    function: Arc<dyn Invoke>,
}

async fn serve(
    State(front): State<Arc<Front>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response {
    let (parts, body) = request.into_parts();
    let Some(path) = front.gateway.path(parts.uri.path()).map(str::to_owned) else { return front.gateway.no_such_stage() };
    let body = match read(body).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let arrived = Arrived { path, trace_header: trace_header(&parts.headers), body, client, now: SystemTime::now(), parts };
    let event = match &front.gateway {
        Gateway::RestApi { stage } => arrived.rest(stage),
        Gateway::HttpApi { stage } => {
            super::request::format_2(&arrived.parts, &arrived.body, client, stage, None, &arrived.trace_header)
        }
        Gateway::LoadBalancer { multi_value_headers } => arrived.balanced(*multi_value_headers),
        Gateway::VpcLattice => arrived.lattice(),
    };
    let trace_header = Some(arrived.trace_header);
    let event = Event { payload: event.to_string().into(), trace_header, ..Event::default() };
    let response = front.function.invoke(event).await;
    let (headers, bare) = match front.gateway {
        Gateway::HttpApi { .. } => (Headers::Single, true),
        Gateway::RestApi { .. } => (Headers::Both, false),
        Gateway::LoadBalancer { multi_value_headers: true } => (Headers::Multiple, false),
        Gateway::LoadBalancer { .. } | Gateway::VpcLattice => (Headers::Single, false),
    };
    response::proxied(&response, headers, bare)
}

impl Gateway {
    /// The path behind the stage.
    fn path<'p>(&self, path: &'p str) -> Option<&'p str> {
        let stage = match self {
            Self::RestApi { stage } => stage,
            Self::HttpApi { stage } if stage != "$default" => stage,
            _ => return Some(path),
        };
        match path.strip_prefix('/')?.strip_prefix(stage.as_str())? {
            "" => Some("/"),
            rest => rest.starts_with('/').then_some(rest),
        }
    }

    fn no_such_stage(&self) -> Response {
        match self {
            Self::RestApi { .. } => response::message(StatusCode::FORBIDDEN, "Forbidden"),
            _ => response::message(StatusCode::NOT_FOUND, "Not Found"),
        }
    }
}

/// A request, and what the services add to it.
struct Arrived {
    parts: Parts,
    body: Bytes,
    /// Without the stage.
    path: String,
    trace_header: String,
    client: SocketAddr,
    now: SystemTime,
}

impl Arrived {
    fn rest(&self, stage: &str) -> Value {
        let query = self.parts.uri.query().unwrap_or_default();
        let decoded: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let proxied = self.path.trim_start_matches('/');
        let (resource, path_parameters) = match proxied {
            "" => ("/", Value::Null),
            _ => ("/{proxy+}", json!({ "proxy": proxied })),
        };
        let (body, encoded) = self.body();
        json!({
            "resource": resource,
            "path": self.path,
            "httpMethod": self.parts.method.as_str(),
            "headers": last(&self.headers()),
            "multiValueHeaders": lists(&self.headers()),
            "queryStringParameters": or_null(last(&decoded)),
            "multiValueQueryStringParameters": or_null(lists(&decoded)),
            "pathParameters": path_parameters,
            "stageVariables": null,
            "requestContext": {
                "accountId": ACCOUNT,
                "apiId": "sandbox",
                "domainName": text(&self.parts.headers, HOST),
                "domainPrefix": "sandbox",
                "extendedRequestId": new_request_id(),
                "httpMethod": self.parts.method.as_str(),
                "identity": { "sourceIp": self.client.ip().to_string(), "userAgent": text(&self.parts.headers, USER_AGENT) },
                "path": self.parts.uri.path(),
                "protocol": "HTTP/1.1",
                "requestId": new_request_id(),
                "requestTime": common_log_time(self.now),
                "requestTimeEpoch": self.milliseconds(),
                "resourceId": "sandbox",
                "resourcePath": resource,
                "stage": stage,
            },
            "body": body,
            "isBase64Encoded": encoded,
        })
    }

    /// A load balancer leaves the query as it was sent, and takes the last of several values where multi-value headers are off.
    fn balanced(&self, multi_value_headers: bool) -> Value {
        let (body, encoded) = self.body();
        let (headers, query) = (self.headers(), self.undecoded());
        let mut event = json!({
            "requestContext": { "elb": {
                "targetGroupArn": format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/sandbox/49e9d65c45c6791a"),
            } },
            "httpMethod": self.parts.method.as_str(),
            "path": self.parts.uri.path(),
            "body": body.as_str().unwrap_or_default(),
            "isBase64Encoded": encoded,
        });
        if multi_value_headers {
            event["multiValueHeaders"] = Value::Object(lists(&headers));
            event["multiValueQueryStringParameters"] = Value::Object(lists(&query));
        } else {
            event["headers"] = Value::Object(last(&headers));
            event["queryStringParameters"] = Value::Object(last(&query));
        }
        event
    }

    fn lattice(&self) -> Value {
        let (body, encoded) = self.body();
        let arn = |kind: &str, id: &str| format!("arn:aws:vpc-lattice:{REGION}:{ACCOUNT}:{kind}/{id}-0bf3f2882e9cc805a");
        json!({
            "version": "2.0",
            "path": self.parts.uri.path(),
            "method": self.parts.method.as_str(),
            "headers": lists(&self.headers()),
            "queryStringParameters": lists(&self.undecoded()),
            "body": body,
            "isBase64Encoded": encoded,
            "requestContext": {
                "serviceNetworkArn": arn("servicenetwork", "sn"),
                "serviceArn": arn("service", "svc"),
                "targetGroupArn": arn("targetgroup", "tg"),
                "identity": { "sourceVpcArn": format!("arn:aws:ec2:{REGION}:{ACCOUNT}:vpc/vpc-0b8276c84697e7339") },
                "region": REGION,
                "timeEpoch": (self.milliseconds() * 1_000).to_string(),
            },
        })
    }

    fn milliseconds(&self) -> u64 {
        self.now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
    }

    /// The client's headers, and those that the services add.
    fn headers(&self) -> Vec<(String, String)> {
        let value = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let sent = self.parts.headers.iter().filter(|(name, _)| *name != "x-amzn-trace-id");
        let mut headers: Vec<_> = sent.map(|(name, sent)| (name.as_str().to_owned(), value(sent))).collect();
        for (name, value) in [
            ("x-amzn-trace-id", self.trace_header.clone()),
            ("x-forwarded-for", self.client.ip().to_string()),
            ("x-forwarded-port", self.client.port().to_string()),
            ("x-forwarded-proto", "http".to_owned()),
        ] {
            headers.push((name.to_owned(), value));
        }
        headers
    }

    fn undecoded(&self) -> Vec<(String, String)> {
        let pairs = self.parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Null where there is none.
    fn body(&self) -> (Value, bool) {
        if self.body.is_empty() {
            return (Value::Null, false);
        }
        let kind = self.parts.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let (body, encoded) = encode(&self.body, kind);
        (Value::String(body), encoded)
    }
}

fn text(headers: &HeaderMap, name: axum::http::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Of each name its last value.
pub(super) fn last(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

/// Of each name all its values.
pub(super) fn lists(pairs: &[(String, String)]) -> Map<String, Value> {
    let mut lists = Map::new();
    for (name, value) in pairs {
        if let Value::Array(values) = lists.entry(name.clone()).or_insert_with(|| json!([])) {
            values.push(json!(value));
        }
    }
    lists
}

fn or_null(map: Map<String, Value>) -> Value {
    if map.is_empty() { Value::Null } else { Value::Object(map) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_whole_part_of_the_path() {
        let rest = Gateway::RestApi { stage: "prod".to_owned() };
        for (path, behind) in
            [("/prod/a", Some("/a")), ("/prod", Some("/")), ("/prod/", Some("/")), ("/product", None), ("/a", None)]
        {
            assert_eq!(rest.path(path), behind, "{path}");
        }
        assert_eq!(Gateway::HttpApi { stage: "$default".to_owned() }.path("/a"), Some("/a"));
        assert_eq!(Gateway::VpcLattice.path("/a"), Some("/a"));
    }
}
