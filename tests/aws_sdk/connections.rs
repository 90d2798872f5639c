//! Connections that are opened before the first invocation, and how they survive a freeze.

use crate::{
    agent::Agent,
    function::Probe,
    service::{Fate, Manner, Received, Service},
    support::{Stage, Tested, ensure, test, within},
};
use lambda_lifecycle_sandbox::function::{FunctionBuilder, TraceMode};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::net::TcpListener;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("connect: the first call makes no handshake, and nothing was signed, sent or written before it", first_call),
        test("connect: without it the first call makes the handshake", without),
        test("connect: a call that is refused has connected", refused),
        test("connect: credentials that have expired connect, and the error of the call says so", expired),
        test("connect: expired credentials of a container are asked for again by the first call", renewed),
        test("connect: a container without its agent is a warning, and Init continues", without_agent),
        test("connect: a service that cannot be reached is a warning, and Init continues", unreachable),
        test("connect: a certificate that is not trusted is a warning, and Init continues", untrusted),
        test("connect: a proxy that refuses is a warning, and Init continues", refusing_proxy),
        test("connect: without credentials there is a warning, and Init continues", without_credentials),
        test("connect: a service that does not respond leaves the other initializers their time", silent),
        test("connect: a service that closes the connection is a warning", closes),
        test("connect: a plain HTTP client too", plain_http),
        test("presigning is not a call: it has no span, and the URL has no trace header", presigned),
        test("freeze: a connection that the service closed meanwhile fails no call and is not retried", closed_in_a_freeze),
        test("freeze: connections dropped on thaw are not used again", dropped_on_thaw),
        test("freeze: what a gateway forgot fails the first attempt where nothing is dropped", forgotten_in_a_freeze),
        test("SnapStart: connections from before the snapshot are not used", snap_start),
    ]
}

async fn function(
    probe: Probe,
    service: &Service,
    change: impl FnOnce(FunctionBuilder) -> FunctionBuilder,
) -> Result<Stage, Failed> {
    Stage::with(probe, TraceMode::PassThrough, |function| {
        change(
            function
                .env("AWS_REGION", "eu-west-1")
                .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
                .env("AWS_SECRET_ACCESS_KEY", "none")
                .env("AWS_SESSION_TOKEN", "token")
                .env("AWS_ENDPOINT_URL", service.url())
                .env("SSL_CERT_FILE", service.authority()),
        )
    })
    .await
}

async fn invoke(stage: &Stage) -> Result<Value, Failed> {
    let answer = stage.invoke(json!({})).await?;
    Ok(serde_json::from_slice(&answer.result.map_err(|error| format!("{error:?}"))?)?)
}

/// The message was sent with one attempt, and the connection had been opened if `connected` says so.
fn sent_at_once(said: &Value, connected: bool) -> Tested {
    let (sent, attempts) = (said["sent"] == true, &said["attempts"]);
    ensure(sent && *attempts == 1 && (said["connected"] == true) == connected, said.to_string())
}

/// The function works, and a warning says that it connects by itself.
async fn connects_later(stage: &Stage) -> Result<Value, Failed> {
    let said = invoke(stage).await?;
    ensure(said["connected"] == false, said.to_string())?;
    let reported = stage.reported_as("code", "connection_not_opened");
    ensure(!reported.is_empty(), format!("no warning: {:?}", stage.function.logs()))?;
    Ok(said)
}

async fn first_call() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    let stage = function(Probe::Connects, &service, |function| function).await?;
    stage.function.warm_up().await?;
    let [head]: [Received; 1] = service.received().try_into().map_err(|received| format!("{received:?}"))?;
    ensure(head.line == "HEAD / HTTP/1.1", format!("{head:?}"))?;
    for name in ["authorization", "x-amz-security-token", "x-amz-target", "x-amz-date", "content-type"] {
        ensure(head.header(name).is_none(), format!("{head:?}"))?;
    }
    sent_at_once(&invoke(&stage).await?, true)?;
    sent_at_once(&invoke(&stage).await?, true)?;
    let received = service.received();
    ensure(service.handshakes() == 1, format!("{} handshakes: {received:?}", service.handshakes()))?;
    let messages = received.iter().filter(|request| request.header("x-amz-target") == Some("AmazonSQS.SendMessage")).count();
    ensure(received.len() == 3 && messages == 2, format!("{received:?}"))
}

async fn without() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    let stage = function(Probe::NoConnection, &service, |function| function).await?;
    stage.function.warm_up().await?;
    ensure(service.handshakes() == 0, "Init connected")?;
    sent_at_once(&invoke(&stage).await?, false)?;
    ensure(service.handshakes() == 1, "the call did not connect")
}

async fn refused() -> Tested {
    let service = Service::start(Manner::Denies).await?;
    let stage = function(Probe::ConnectsWithCall, &service, |function| function).await?;
    let said = invoke(&stage).await?;
    ensure(said["connected"] == true && said["sent"] == false, said.to_string())?;
    ensure(service.handshakes() == 1, format!("{} handshakes", service.handshakes()))
}

async fn expired() -> Tested {
    let service = Service::start(Manner::Expired).await?;
    for probe in [Probe::Connects, Probe::ConnectsWithCall] {
        let stage = function(probe, &service, |function| function).await?;
        let said = invoke(&stage).await?;
        ensure(said["connected"] == true && said["sent"] == false, said.to_string())?;
        ensure(said["error"].as_str().is_some_and(|error| error.contains("ExpiredTokenException")), said.to_string())?;
    }
    ensure(service.handshakes() == 2, format!("{} handshakes", service.handshakes()))
}

fn in_container(function: FunctionBuilder, agent: &str) -> FunctionBuilder {
    let without = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    let function = without.iter().fold(function, |function, name| function.env(name, ""));
    function.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", agent)
}

async fn renewed() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    // As after a restore, long after the snapshot.
    let agent = Agent::start(&["2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"]).await?;
    let stage = function(Probe::Connects, &service, |function| in_container(function, &agent.url())).await?;
    stage.function.warm_up().await?;
    ensure(agent.tokens().len() == 1, format!("asked {} times in the Init phase", agent.tokens().len()))?;
    sent_at_once(&invoke(&stage).await?, true)?;
    sent_at_once(&invoke(&stage).await?, true)?;
    let received = service.received();
    let signed: Vec<&str> = received.iter().filter_map(|request| request.header("authorization")).collect();
    ensure(signed.len() == 2 && signed.iter().all(|signed| signed.contains("Credential=CONTAINER2/")), format!("{signed:?}"))?;
    ensure(agent.tokens().len() == 2, format!("asked {} times", agent.tokens().len()))
}

async fn without_agent() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    let unused = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    for agent in [format!("http://{unused}/"), "not a URL".to_owned(), "http://example.com/not-local".to_owned()] {
        let stage = function(Probe::Connects, &service, |function| in_container(function, &agent)).await?;
        let said = connects_later(&stage).await?;
        ensure(said["sent"] == false, format!("{agent}: {said}"))?;
    }
    Ok(())
}

async fn unreachable() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    let unused = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    let closed = format!("https://localhost:{unused}");
    for (probe, name, endpoint) in [
        (Probe::Connects, "AWS_ENDPOINT_URL", closed.as_str()),
        (Probe::ConnectsWithCall, "AWS_ENDPOINT_URL", &closed),
        (Probe::Connects, "AWS_ENDPOINT_URL", "not a URL"),
        (Probe::Connects, "AWS_ENDPOINT_URL_SQS", "not a URL"),
        (Probe::ConnectsWithCall, "AWS_ENDPOINT_URL_SQS", "ftp://localhost"),
    ] {
        let stage = function(probe, &service, |function| function.env(name, endpoint)).await?;
        let said = connects_later(&stage).await?;
        ensure(said["sent"] == false, said.to_string())?;
    }
    Ok(())
}

async fn untrusted() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    // The compiled roots do not know the service's authority.
    let stage = function(Probe::Connects, &service, |function| function.env("SSL_CERT_FILE", "")).await?;
    let said = connects_later(&stage).await?;
    ensure(said["sent"] == false && service.handshakes() == 0, said.to_string())
}

async fn refusing_proxy() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = format!("http://user:hunter2@{}", listener.local_addr()?);
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, refusal).await;
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await;
        }
    });
    let stage = function(Probe::Connects, &service, |function| function.env("HTTPS_PROXY", proxy)).await?;
    let said = connects_later(&stage).await?;
    ensure(said["sent"] == false && service.handshakes() == 0, said.to_string())?;
    ensure(asked.load(Ordering::SeqCst) > 0, "the proxy was not asked")?;
    ensure(!stage.function.logs().iter().any(|line| line.text.contains("hunter2")), "the password is in the log")?;
    // Hosts that are excepted are reached without it.
    let proxy = "http://127.0.0.1:1";
    let stage =
        function(Probe::Connects, &service, |function| function.env("HTTPS_PROXY", proxy).env("NO_PROXY", "localhost")).await?;
    sent_at_once(&invoke(&stage).await?, true)
}

async fn without_credentials() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    let stage = function(Probe::Connects, &service, |function| {
        let without = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        let function = without.iter().fold(function, |function, name| function.env(name, ""));
        function.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", std::env::temp_dir().join("lambda-lifecycle-no-home"))
    })
    .await?;
    let said = connects_later(&stage).await?;
    ensure(said["sent"] == false, said.to_string())
}

async fn silent() -> Tested {
    let service = Service::start(Manner::Silent).await?;
    let stage =
        function(Probe::SlowConnections, &service, |function| function.env("LAMBDA_LIFECYCLE_INIT_BUDGET", "9000")).await?;
    let said = invoke(&stage).await?;
    ensure(said == "served", said.to_string())
}

async fn closes() -> Tested {
    let service = Service::start(Manner::ClosesAfterHead).await?;
    let stage = function(Probe::Connects, &service, |function| function).await?;
    let said = invoke(&stage).await?;
    ensure(said["sent"] == true && said["attempts"] == 1, said.to_string())?;
    ensure(stage.reported_as("code", "connection_closed").len() == 1, format!("{:?}", stage.problems()))
}

async fn plain_http() -> Tested {
    let connections = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/prices", listener.local_addr()?);
    let counted = Arc::clone(&connections);
    let server = axum::Router::new().fallback(async || "here");
    let counting = axum::serve::ListenerExt::tap_io(listener, move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    tokio::spawn(async move { axum::serve(counting, server).await });
    let stage = Stage::with(Probe::Http, TraceMode::PassThrough, |function| function.env("URL", url)).await?;
    let said = invoke(&stage).await?;
    ensure(said == json!({ "connected": true, "refused": false, "status": 200 }), said.to_string())?;
    let connections = connections.load(Ordering::SeqCst);
    ensure(connections == 1, format!("{connections} connections"))
}

/// Invokes once, freezes, lets the connections meet their fate, and invokes again. Returns what the second invocation says.
async fn frozen_meanwhile(probe: Probe, service: &Service, fate: Fate) -> Result<Value, Failed> {
    let stage = function(probe, service, |function| function).await?;
    sent_at_once(&invoke(&stage).await?, true)?;
    stage.function.wait_frozen().await;
    within("the fate of the connections", service.set_fate(fate)).await?;
    let said = invoke(&stage).await?;
    ensure(service.handshakes() == 2, format!("{} handshakes", service.handshakes()))?;
    Ok(said)
}

async fn closed_in_a_freeze() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    sent_at_once(&frozen_meanwhile(Probe::Connects, &service, Fate::Closed).await?, true)
}

async fn dropped_on_thaw() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    sent_at_once(&frozen_meanwhile(Probe::DropsOnThaw, &service, Fate::Forgotten).await?, true)
}

/// Shows what the test before it prevents.
async fn forgotten_in_a_freeze() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    let said = frozen_meanwhile(Probe::Connects, &service, Fate::Forgotten).await?;
    ensure(said["sent"] == true && said["attempts"] == 2, said.to_string())
}

async fn snap_start() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    for (probe, handshakes) in [(Probe::Connects, 2), (Probe::ConnectsUnderLambdaRuntime, 4)] {
        let stage = function(probe, &service, |function| function.initialization_type("snap-start")).await?;
        sent_at_once(&invoke(&stage).await?, true)?;
        ensure(service.handshakes() == handshakes, format!("{probe:?}: {} handshakes", service.handshakes()))?;
    }
    Ok(())
}

async fn presigned() -> Tested {
    let service = Service::start(Manner::Usual).await?;
    let stage = function(Probe::Presigns, &service, |function| function.trace_mode(TraceMode::Active)).await?;
    let answer = stage.invoke(json!({})).await?;
    stage.settle().await?;
    let said: Value = serde_json::from_slice(&answer.result.clone().map_err(|error| format!("{error:?}"))?)?;
    ensure(said["uri"].as_str().is_some_and(|uri| uri.contains("X-Amz-Signature=")), said.to_string())?;
    let headers = said["headers"].as_array().ok_or("no headers")?;
    ensure(!headers.iter().any(|name| name == "x-amzn-trace-id"), said.to_string())?;
    let calls = stage.traces.find(|document| document.raw["namespace"] == "aws");
    let names: Vec<_> = calls.iter().map(|document| &document.name).collect();
    ensure(names == ["SQS"], format!("{names:?}"))?;
    stage.document(&answer).await.map(drop)
}
