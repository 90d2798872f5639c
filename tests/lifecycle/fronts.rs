//! One axum router behind each service that puts HTTP in front of a function, and with a real WebSocket client.

use crate::{
    behavior::Probe,
    support::{Stage, Tested, ensure, test, within},
};
use axum::{
    Router,
    body::to_bytes,
    extract::Request,
    http::{StatusCode, header::SET_COOKIE},
    response::{AppendHeaders, IntoResponse, Response},
    routing::any,
};
use futures_util::{SinkExt as _, StreamExt as _};
use lambda_http::request::RequestContext;
use lambda_lifecycle::{Error, Lifecycle};
use lambda_lifecycle_sandbox::{
    function::TraceMode,
    url::{FunctionUrl, Gateway, HttpFront, WebSocketApi},
    xray::Document,
};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest as _},
};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("fronts: the same router behind a function URL, API Gateway, a load balancer and VPC Lattice", same_router),
        test("fronts: a WebSocket client connects, sends, gets messages and disconnects", web_socket),
        test("fronts: a WebSocket client that the function refuses is not let in", web_socket_refused),
        test("fronts: a WebSocket client gets an error for a message that fails", web_socket_fails),
    ]
}

pub(crate) async fn serve(life: Lifecycle) -> Result<(), Error> {
    life.serve(Router::new().route("/", any(socket)).route("/orders/{id}", any(shown))).await
}

/// Shows the parts of a request that reached the router.
async fn shown(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let all = |name: &str| -> Vec<_> { parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect() };
    let shown = json!({
        "method": parts.method.as_str(), "path": parts.uri.path(), "query": parts.uri.query(),
        "mine": all("x-mine"), "cookies": all("cookie"), "body": body.to_vec(),
    });
    (StatusCode::CREATED, AppendHeaders([(SET_COOKIE, "a=1"), (SET_COOKIE, "b=2")]), shown.to_string()).into_response()
}

async fn socket(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Some(RequestContext::WebSocket(context)) = parts.extensions.get::<RequestContext>() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let message = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let message = String::from_utf8_lossy(&message).into_owned();
    match context.route_key.as_deref() {
        Some("$connect") if parts.uri.query() == Some("token=let+me+in") => StatusCode::OK.into_response(),
        Some("$connect") => StatusCode::FORBIDDEN.into_response(),
        Some("$disconnect") => {
            println!("disconnected: {}", context.connection_id.as_deref().unwrap_or_default());
            StatusCode::OK.into_response()
        }
        Some("place") => {
            let (host, stage) = (context.domain_name.as_deref(), context.stage.as_deref());
            let id = context.connection_id.as_deref().unwrap_or_default();
            let path = format!("/{}/@connections/{id}", stage.unwrap_or_default());
            let pushed = exchange(host.unwrap_or_default(), "POST", &path, "", b"pushed").await;
            let status = pushed.map_or(0, |reply| reply.status);
            format!("placed {message} {status}").into_response()
        }
        Some("fail") => panic!("planned"),
        key => format!("{} {message}", key.unwrap_or_default()).into_response(),
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn headers(&self, name: &str) -> Vec<&str> {
        let named = |line: &'_ str| line.split_once(": ").is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().filter(|line| named(line)).filter_map(|line| line.split_once(": ")).map(|(_, value)| value).collect()
    }
}

async fn exchange(address: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Reply, Error> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or("no head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
    Ok(Reply { status, head: head.to_owned(), body: body.to_owned() })
}

/// The library's document of the invocation whose trace a response names.
async fn document(stage: &Stage, reply: &Reply) -> Result<Arc<Document>, Failed> {
    stage.settle().await?;
    stage.documents_are_valid()?;
    let named = reply.headers("x-amzn-trace-id");
    let root = named.first().and_then(|header| header.strip_prefix("Root=")).ok_or("no trace")?;
    stage.only("the invocation's", |document| document.trace_id == root && document.annotation("trigger").is_some())
}

enum Front {
    Url(FunctionUrl),
    Gateway(HttpFront),
}

impl Front {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Url(url) => url.address(),
            Self::Gateway(front) => front.address(),
        }
    }
}

async fn same_router() -> Tested {
    let stage = Stage::new(Probe::Fronts, TraceMode::Active).await?;
    let rest = Gateway::RestApi { stage: "prod".to_owned() };
    let http = |stage: &str| Gateway::HttpApi { stage: stage.to_owned() };
    let balancer = |multi_value_headers| Gateway::LoadBalancer { multi_value_headers };
    let both = json!(["1", "2"]);
    // Where one value of a header is all that the service's event or response can hold.
    for (gateway, prefix, trigger, mine, cookies) in [
        (None, "", "function_url", json!(["1,2"]), 2),
        (Some(rest), "/prod", "api_gateway_v1", both.clone(), 2),
        (Some(http("$default")), "", "api_gateway_v2", json!(["1,2"]), 2),
        (Some(http("prod")), "/prod", "api_gateway_v2", json!(["1,2"]), 2),
        (Some(balancer(true)), "", "load_balancer", both.clone(), 2),
        (Some(balancer(false)), "", "load_balancer", json!(["2"]), 1),
        (Some(Gateway::VpcLattice), "", "vpc_lattice", both, 1),
    ] {
        let name = format!("{gateway:?}");
        let front = match gateway {
            None => Front::Url(FunctionUrl::start(stage.function.clone()).await?),
            Some(gateway) => Front::Gateway(HttpFront::start(gateway, stage.function.clone()).await?),
        };
        let address = front.address().to_string();
        let path = format!("{prefix}/orders/a%20b?x=1&x=2&y=%26");
        let headers = "x-mine: 1\r\nx-mine: 2\r\ncookie: c=3\r\nuser-agent: test\r\ncontent-type: image/png\r\n";
        let reply = within(&name, exchange(&address, "PUT", &path, headers, b"\xff\x00")).await??;
        ensure(reply.status == 201, format!("{name}: {reply:?}"))?;
        ensure(reply.headers("set-cookie").len() == cookies, format!("{name}: {reply:?}"))?;
        let shown: Value = serde_json::from_str(&reply.body)?;
        ensure(shown["method"] == "PUT" && shown["path"] == "/orders/a%20b", format!("{name}: {shown}"))?;
        ensure(shown["body"] == json!([255, 0]) && shown["cookies"] == json!(["c=3"]), format!("{name}: {shown}"))?;
        ensure(shown["mine"] == mine, format!("{name}: {shown}"))?;
        let query = shown["query"].as_str().unwrap_or_default();
        let mut pairs: Vec<_> = query.split('&').collect();
        pairs.sort_unstable();
        let expected: &[&str] = if cookies == 1 && mine == json!(["2"]) { &["x=2", "y=%26"] } else { &["x=1", "x=2", "y=%26"] };
        ensure(pairs == expected, format!("{name}: {shown}"))?;
        let document = document(&stage, &reply).await?;
        let annotations = (document.annotation("trigger"), document.annotation("route"));
        ensure(annotations == (Some(trigger), Some("PUT /orders/{id}")), format!("{name}: {annotations:?}"))?;
        let http = document.http.clone().unwrap_or_default();
        ensure(http.status == Some(201) && http.client_ip.as_deref() == Some("127.0.0.1"), format!("{name}: {http:?}"))?;

        let missing = within(&name, exchange(&address, "GET", &format!("{prefix}/none"), "", b"")).await??;
        ensure(missing.status == 404, format!("{name}: {missing:?}"))?;
    }
    Ok(())
}

type Client = WebSocketStream<TcpStream>;

async fn client(api: &WebSocketApi, query: &str) -> Result<Result<Client, tungstenite::Error>, Failed> {
    let request = format!("{}{query}", api.url()).into_client_request()?;
    let address = request.uri().authority().ok_or("an address")?.to_string();
    let stream = TcpStream::connect(address).await?;
    Ok(within("the handshake", client_async(request, stream)).await?.map(|(client, _)| client))
}

async fn text(client: &mut Client) -> Result<String, Failed> {
    let message = within("a message", client.next()).await?.ok_or("the connection ended")??;
    Ok(message.into_text()?.to_string())
}

async fn web_socket() -> Tested {
    let stage = Stage::new(Probe::Fronts, TraceMode::Active).await?;
    let api = WebSocketApi::builder(stage.function.clone()).route("place").two_way().start().await?;
    let mut client = client(&api, "?token=let+me+in").await??;
    client.send(Message::text(r#"{"action":"other","order":7}"#)).await?;
    ensure(text(&mut client).await? == r#"$default {"action":"other","order":7}"#, "the route of a message that names no other")?;
    client.send(Message::text("no JSON")).await?;
    ensure(text(&mut client).await? == "$default no JSON", "the route of a message that is not JSON")?;
    client.send(Message::binary(&b"bytes"[..])).await?;
    ensure(text(&mut client).await? == "$default bytes", "a binary message")?;
    // The function sends to the client before it returns.
    client.send(Message::text(r#"{"action":"place","order":7}"#)).await?;
    ensure(text(&mut client).await? == "pushed", "what is sent with @connections")?;
    ensure(text(&mut client).await? == r#"placed {"action":"place","order":7} 200"#, "the response of the route")?;

    let [id] = &api.connections()[..] else { return Err("one connection".into()) };
    let (address, path) = (api.management_endpoint(), format!("/dev/@connections/{id}"));
    let address = address.trim_start_matches("http://").trim_end_matches("/dev");
    let described = exchange(address, "GET", &path, "", b"").await?;
    ensure(described.status == 200 && described.body.contains("127.0.0.1"), format!("{described:?}"))?;

    client.close(None).await?;
    let line = stage.wait_for_logs("disconnected: ", 1).await?;
    ensure(line.ends_with(id.as_str()), line)?;
    let gone = exchange(address, "POST", &path, "", b"late").await?;
    ensure(gone.status == 410, format!("{gone:?}"))?;

    stage.settle().await?;
    stage.is_sound()?;
    let documents = stage.traces.find(|document| document.annotation("trigger").is_some());
    ensure(documents.len() == 6, format!("{} documents", documents.len()))?;
    for document in documents {
        let annotations = (document.annotation("trigger"), document.annotation("outcome"));
        ensure(annotations == (Some("websocket"), Some("responded")), format!("{annotations:?}"))?;
    }
    Ok(())
}

async fn web_socket_refused() -> Tested {
    let stage = Stage::new(Probe::Fronts, TraceMode::Active).await?;
    let api = WebSocketApi::builder(stage.function.clone()).start().await?;
    match client(&api, "").await? {
        Err(tungstenite::Error::Http(response)) if response.status() == 403 => {}
        other => return Err(format!("{other:?}").into()),
    }
    ensure(api.connections().is_empty(), "no connection")
}

async fn web_socket_fails() -> Tested {
    let stage = Stage::new(Probe::Fronts, TraceMode::Active).await?;
    let api = WebSocketApi::builder(stage.function.clone()).route_selection("$request.body.to.do").route("fail").start().await?;
    let mut client = client(&api, "?token=let+me+in").await??;
    client.send(Message::text(r#"{"to":{"do":"fail"}}"#)).await?;
    let error: Value = serde_json::from_str(&text(&mut client).await?)?;
    ensure(error["message"] == "Internal server error", error.to_string())?;
    // The other end closes, too.
    let [id] = &api.connections()[..] else { return Err("one connection".into()) };
    let address = api.management_endpoint();
    let address = address.trim_start_matches("http://").trim_end_matches("/dev");
    let deleted = exchange(address, "DELETE", &format!("/dev/@connections/{id}"), "", b"").await?;
    ensure(deleted.status == 204, format!("{deleted:?}"))?;
    let last = within("the end of the connection", client.next()).await?;
    ensure(matches!(last, Some(Ok(Message::Close(_)))), format!("{last:?}"))?;
    stage.wait_for_logs("disconnected: ", 1).await?;
    ensure(stage.processes() == 1, "the process did not live")
}
