//! The console's server: what it serves and to whom, what it streams, and what it does.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use lambda_lifecycle_sandbox::{
    console::{Console, ConsoleBuilder},
    function::Function,
    sqs::{QueueOptions, Sqs},
    wait,
    xray::{Daemon, TraceStore},
};
use serde_json::{Value, json};
use std::future::Future;
use tokio::net::TcpStream;

const TRACE: &str = "1-5759e988-bd862e3fe1be46a994272793";

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    wait::within(what, future).await.unwrap_or_else(|expired| panic!("{expired}"))
}

async fn start(builder: ConsoleBuilder) -> Console {
    within("the start of the console", builder.start()).await.unwrap()
}

/// Sends a request with these headers beside `Host`, which the first of them may replace.
async fn request(console: &Console, method: &str, path: &str, headers: &[(&str, &str)], body: String) -> Response<Incoming> {
    let stream = TcpStream::connect(console.address()).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", console.address().to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    within("a response", sender.send_request(request.body(Full::<bytes::Bytes>::from(body)).unwrap())).await.unwrap()
}

async fn get(console: &Console, path: &str, headers: &[(&str, &str)]) -> Response<Incoming> {
    request(console, "GET", path, headers, String::new()).await
}

async fn read(response: Response<Incoming>) -> (StatusCode, Value) {
    let status = response.status();
    let body = within("a body", response.into_body().collect()).await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn post(console: &Console, path: &str, body: &Value) -> (StatusCode, Value) {
    let headers = [("content-type", "application/json")];
    read(request(console, "POST", path, &headers, body.to_string()).await).await
}

/// The first update with this key, in a stream that may begin with others.
async fn update(stream: &mut Response<Incoming>, key: &str) -> Value {
    let mut text = String::new();
    loop {
        let frame = within("an update", stream.frame()).await.expect("a stream without end").unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().expect("data")).unwrap());
        let found =
            text.lines().filter_map(|line| line.strip_prefix("data: ")).filter_map(|data| serde_json::from_str(data).ok());
        if let Some(update) = found.into_iter().find(|update: &Value| !update[key].is_null()) {
            return update;
        }
    }
}

#[tokio::test]
async fn the_page_has_a_policy_without_inline_scripts_and_loads_its_own_files() {
    let console = start(Console::builder()).await;
    for path in ["/", "/main.js", "/console.css", "/samples.json", "/icon.svg"] {
        let response = get(&console, path, &[]).await;
        assert_eq!(response.status(), 200, "{path}");
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }
    assert_eq!(get(&console, "/../Cargo.toml", &[]).await.status(), 404);
}

#[tokio::test]
async fn requests_of_another_host_origin_or_site_are_refused() {
    let sqs = Sqs::start().await.unwrap();
    let queue = sqs.create_queue("orders", QueueOptions::default()).await.unwrap();
    let console = start(Console::builder().queue(&queue)).await;
    let own = format!("http://{}", console.address());
    let evil: [&[(&str, &str)]; 4] = [
        &[("host", "rebound.example")],
        &[("origin", "http://evil.example")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
    ];
    for headers in evil {
        for path in ["/", "/api/snapshot", "/api/updates"] {
            assert_eq!(get(&console, path, headers).await.status(), 403, "{path} {headers:?}");
        }
        let headers = [headers, &[("content-type", "application/json")]].concat();
        let body = json!({ "queue": "orders", "body": "evil" }).to_string();
        assert_eq!(request(&console, "POST", "/api/send", &headers, body).await.status(), 403, "{headers:?}");
    }
    // A form of another site can send this without a preflight request.
    let form =
        request(&console, "POST", "/api/send", &[("content-type", "text/plain")], r#"{"queue":"orders","body":""}"#.into()).await;
    assert_eq!(form.status(), 415);
    assert_eq!(queue.counts().visible, 0);
    assert_eq!(get(&console, "/api/snapshot", &[("origin", &own), ("sec-fetch-site", "same-origin")]).await.status(), 200);
}

#[tokio::test]
async fn an_update_has_what_came_after_the_snapshot() {
    let traces = TraceStore::new();
    let put =
        |id: &str| traces.put_fetched(json!({ "trace_id": TRACE, "id": id, "name": "f", "start_time": 1.0, "end_time": 2.0 }));
    put("00000000000000aa");
    let console = start(Console::builder().traces(&traces)).await;
    let (_, snapshot) = read(get(&console, "/api/snapshot", &[]).await).await;
    assert_eq!(snapshot["documents"].as_array().map(Vec::len), Some(1));
    let path = format!("/api/updates?since={}", snapshot["cursor"].as_str().unwrap());
    let mut stream = get(&console, &path, &[]).await;
    put("00000000000000bb");
    let added = update(&mut stream, "documents").await;
    assert_eq!(added["documents"].as_array().map(Vec::len), Some(1));
    assert_eq!((&added["documents"][0]["id"], &added["documents"][0]["end"]), (&json!("00000000000000bb"), &json!(2_000.0)));
    // One with the cursor of another sandbox is sent back to the snapshot.
    let (status, _) = read(get(&console, "/api/updates?since=other.0", &[]).await).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn messages_are_followed_through_their_queue() {
    let sqs = Sqs::start().await.unwrap();
    let queue = sqs.create_queue("orders", QueueOptions::default()).await.unwrap();
    let console = start(Console::builder().queue(&queue)).await;
    let (status, sent) = post(&console, "/api/send", &json!({ "queue": "orders", "body": "<b>tea</b>" })).await;
    assert_eq!(status, 200);
    let (_, snapshot) = read(get(&console, "/api/snapshot", &[]).await).await;
    let event = &snapshot["messages"][0];
    assert_eq!((&event["kind"], &event["message"], &event["body"]), (&json!("sent"), &sent["message"], &json!("<b>tea</b>")));
    assert_eq!(snapshot["facts"]["queues"][0]["name"], "orders");
    assert_eq!(post(&console, "/api/send", &json!({ "queue": "others", "body": "" })).await.0, 404);
}

#[tokio::test]
async fn a_function_is_invoked_and_its_failure_is_on_record() {
    // It ends before it asks for an event.
    let function = Function::builder("ends", "/bin/true").build().await;
    let console = start(Console::builder().function(&function)).await;
    let (_, snapshot) = read(get(&console, "/api/snapshot", &[]).await).await;
    let mut stream = get(&console, &format!("/api/updates?since={}", snapshot["cursor"].as_str().unwrap()), &[]).await;
    let body = json!({ "function": "ends", "payload": r#"{"id":7}"#, "count": 2 });
    let (status, started) = post(&console, "/api/invoke", &body).await;
    assert_eq!((status, started["invocations"].as_array().map(Vec::len)), (StatusCode::OK, Some(2)));
    let request = started["invocations"][0]["request"].as_str().unwrap();
    let calls = update(&mut stream, "calls").await;
    assert!(calls["calls"].as_array().is_some_and(|calls| calls.iter().any(|call| call["request"] == request)), "{calls}");
    let (_, event) = read(get(&console, &format!("/api/event?function=ends&request={request}"), &[]).await).await;
    assert_eq!(event["payload"], r#"{"id":7}"#);
    for (body, expected) in [
        (json!({ "function": "other" }), StatusCode::NOT_FOUND),
        (json!({ "function": "ends", "payload": "{" }), StatusCode::BAD_REQUEST),
        (json!({ "function": "ends", "like": "unknown" }), StatusCode::NOT_FOUND),
        (json!({ "function": "ends", "fault": "flood" }), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(post(&console, "/api/invoke", &body).await.0, expected, "{body}");
    }
}

/// A function that ends before it asks for an event, with its daemon.
async fn with_daemon() -> (Daemon, Console) {
    let daemon = Daemon::start().await.unwrap();
    let function = Function::builder("ends", "/bin/true").build().await;
    let console = start(Console::builder().daemon(&daemon).function(&function)).await;
    (daemon, console)
}

fn sender(daemon: &Daemon) -> std::net::UdpSocket {
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.connect(daemon.address()).unwrap();
    sender
}

fn outage(fault: &str, ms: u64) -> Value {
    json!({ "function": "ends", "payload": "{}", "fault": fault, "ms": ms })
}

#[tokio::test]
async fn a_daemon_that_is_absent_refuses_what_is_sent() {
    let (daemon, console) = with_daemon().await;
    assert_eq!(post(&console, "/api/invoke", &outage("daemon_absent", 3_600_000)).await.0, StatusCode::OK);
    let sender = sender(&daemon);
    sender.send(b"{}").unwrap();
    assert_eq!(sender.recv(&mut [0; 1]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_daemon_reads_again_after_an_outage() {
    let (daemon, console) = with_daemon().await;
    for (fault, id) in [("daemon_absent", "00000000000000aa"), ("daemon_slow", "00000000000000bb")] {
        assert_eq!(post(&console, "/api/invoke", &outage(fault, 0)).await.0, StatusCode::OK);
        within("the daemon", daemon.settle()).await.unwrap();
        let document = json!({ "trace_id": TRACE, "id": id, "name": "f", "start_time": 1.5e9, "end_time": 1.6e9 });
        sender(&daemon).send(format!("{{\"format\":\"json\",\"version\":1}}\n{document}").as_bytes()).unwrap();
        daemon.store().wait_for(1, |document| document.id == id).await.unwrap();
    }
}

#[tokio::test]
async fn a_console_without_a_daemon_refuses_its_faults() {
    let function = Function::builder("ends", "/bin/true").build().await;
    let console = start(Console::builder().function(&function)).await;
    assert_eq!(post(&console, "/api/invoke", &outage("daemon_slow", 0)).await.0, StatusCode::BAD_REQUEST);
}
