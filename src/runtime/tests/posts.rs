//! The posts, byte for byte.

use super::{Log, api::Wrong, echo, run, serve, stream};
use base64::{Engine, prelude::BASE64_STANDARD};
use lambda_runtime::{Error, LambdaInvocation, service_fn};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tower::{Layer, Service, util::BoxCloneService};

fn names(headers: &[(String, String)]) -> Vec<&str> {
    headers.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_buffered_response() {
    let (fake, watch, running) = serve(1);
    fake.event("8476a536", &[("lambda-runtime-invocation-id", "attempt-1")], r#"{"a":[1,"ü"]}"#);
    let posted = fake.posted("8476a536").await;
    assert_eq!(posted.line, "POST /2018-06-01/runtime/invocation/8476a536/response");
    assert_eq!(names(&posted.headers), ["user-agent", "host", "lambda-runtime-invocation-id", "content-length"]);
    assert!(posted.header("user-agent").is_some_and(|agent| agent.starts_with("aws-lambda-rust/")));
    assert_eq!(posted.header("lambda-runtime-invocation-id"), Some("attempt-1"));
    assert_eq!(posted.text(), r#"{"a":[1,"ü"]}"#);
    let next = fake.request(|request| request.endpoint() == "next").await;
    assert_eq!(next.line, "GET /2018-06-01/runtime/invocation/next");
    assert_eq!(names(&next.headers), ["user-agent", "host"]);
    fake.event("second", &[], "1");
    let posted = fake.posted("second").await;
    assert_eq!(posted.header("lambda-runtime-invocation-id"), None);
    assert_eq!(watch.outcome("8476a536"), Some("unknown"));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn an_error() {
    let (fake, watch, running) = serve(1);
    for (event, kind, part, outcome) in [
        (r#"{"do":"fail"}"#, "Error", "no stock", "failed"),
        (r#"{"do":"panic"}"#, "Lifecycle.Panic", "fuse was lit", "panicked"),
        (r#"{"do":"#, "Lifecycle.UndecodableEvent", "line 1 column 6", "undecodable_event"),
    ] {
        fake.event(outcome, &[("lambda-runtime-invocation-id", "attempt-2")], event);
        let posted = fake.posted(outcome).await;
        assert_eq!(posted.line, format!("POST /2018-06-01/runtime/invocation/{outcome}/error"));
        assert_eq!(posted.header("lambda-runtime-function-error-type"), Some(kind));
        assert_eq!(posted.header("lambda-runtime-invocation-id"), Some("attempt-2"));
        let body: Value = serde_json::from_str(&posted.text()).expect("JSON");
        assert!(body["errorType"] == kind && body["errorMessage"].as_str().is_some_and(|text| text.contains(part)), "{body}");
        let cause: Value = posted.header("lambda-runtime-function-xray-error-cause").expect("a cause").parse().expect("JSON");
        assert_eq!(cause["exceptions"][0], json!({ "type": kind, "message": body["errorMessage"], "stack": [] }));
        fake.event("after", &[], "1");
        fake.posted("after").await;
        assert_eq!(watch.outcome(outcome), Some(outcome));
    }
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream() {
    let (fake, shared) = super::api(1);
    let (_, running) = run(service_fn(stream), shared);
    fake.event("s", &[("lambda-runtime-invocation-id", "attempt-1")], r#"{"chunks":3}"#);
    let posted = fake.posted("s").await;
    assert_eq!(posted.line, "POST /2018-06-01/runtime/invocation/s/response");
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("lambda-runtime-function-response-mode", "streaming"),
        ("content-type", "application/vnd.awslambda.http-integration-response"),
        ("lambda-runtime-invocation-id", "attempt-1"),
    ] {
        assert_eq!(posted.header(name), Some(value));
    }
    let announced: Vec<&str> =
        posted.headers.iter().filter(|(name, _)| name == "trailer").map(|(_, value)| value.as_str()).collect();
    assert_eq!(announced, ["Lambda-Runtime-Function-Error-Type", "Lambda-Runtime-Function-Error-Body"]);
    let prelude = r#"{"statusCode":200,"headers":{"content-type":"application/octet-stream"},"cookies":[]}"#;
    assert_eq!(posted.text(), format!("{prelude}\0\0\0\0\0\0\0\0chunk 0;chunk 1;chunk 2;"));
    assert_eq!(posted.trailers, []);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_ends_with_a_trailer() {
    let (fake, shared) = super::api(1);
    let (_, running) = run(service_fn(stream), shared);
    fake.event("s", &[], r#"{"chunks":2,"then":"fail"}"#);
    let posted = fake.posted("s").await;
    assert!(posted.text().ends_with("\0chunk 0;chunk 1;"), "{}", posted.text());
    assert_eq!(posted.trailer("lambda-runtime-function-error-type"), Some("Error"));
    assert_eq!(trailed(&posted), json!({ "errorType": "Error", "errorMessage": "pipe burst" }));
    // The connection can still be used.
    fake.event("again", &[], r#"{"chunks":1}"#);
    assert!(fake.posted("again").await.text().ends_with("chunk 0;"));
    assert_eq!(fake.lock().connections, 1);
    running.abort();
}

/// The error in a trailer.
fn trailed(posted: &super::api::Request) -> Value {
    let body = BASE64_STANDARD.decode(posted.trailer("lambda-runtime-function-error-body").expect("a body")).expect("base64");
    serde_json::from_slice(&body).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn a_trailer_tells_no_secrets_of_a_url() {
    let (fake, shared) = super::api(1);
    let (_, running) = run(service_fn(stream), shared);
    fake.event("s", &[], r#"{"then":"fail at a URL"}"#);
    let trailer = trailed(&fake.posted("s").await);
    assert_eq!(trailer, json!({ "errorType": "Error", "errorMessage": "no connection to http://host/path" }));
    running.abort();
    let (fake, shared) = super::api(1);
    let (_, running) = run(service_fn(super::bomb), shared);
    fake.event("s", &[], "{}");
    let trailer = trailed(&fake.posted("s").await);
    assert_eq!(trailer["errorType"], "Lifecycle.Panic");
    assert!(
        trailer["errorMessage"].as_str().is_some_and(|text| text.ends_with("no connection to http://host/path")),
        "{trailer}"
    );
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_to_a_caller_who_is_gone_ends() {
    for (wrong, outcome) in [
        (Wrong::Close, "undelivered_response"),
        (Wrong::CloseEarly, "undelivered_response"),
        (Wrong::Status(410), "late_response"),
        (Wrong::Status(413), "response_too_large"),
    ] {
        let (log, _guard) = Log::start();
        let (fake, shared) = super::api(1);
        let (watch, running) = run(service_fn(stream), shared);
        fake.wrong("response", [wrong]);
        fake.event("s", &[], r#"{"chunks":100000}"#);
        fake.event("again", &[], r#"{"chunks":1}"#);
        assert!(fake.posted("again").await.text().ends_with("chunk 0;"));
        assert_eq!((watch.outcome("s"), log.of("outcome")), (Some(outcome), vec![outcome.to_owned()]), "{wrong:?}");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_is_not_taken_for_a_stall() {
    let (log, _guard) = Log::start();
    let (fake, shared) = super::api(1);
    let slow = service_fn(|_: lambda_runtime::LambdaEvent<Value>| async {
        let (mut sender, body) = lambda_runtime::streaming::channel();
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
                if sender.send_data("x".into()).await.is_err() {
                    return;
                }
            }
        });
        Ok::<_, Error>(lambda_runtime::StreamResponse {
            metadata_prelude: lambda_runtime::MetadataPrelude::default(),
            stream: body,
        })
    });
    let (_, running) = run(slow, shared);
    fake.event("s", &[], "{}");
    assert!(fake.posted("s").await.text().ends_with("\0xxx"));
    assert_eq!(log.faults(), Vec::<String>::new());
    running.abort();
}

/// The misbehavior of a user's layer, once; afterwards it forwards every event.
#[derive(Clone, Copy, Debug)]
enum Layered {
    Fails,
    PanicsInCall,
    PanicsInFuture,
    DropsTheService,
    IsNotReady,
    PanicsWhenAskedForReadiness,
    FailsAfterTheResponse,
}

#[tokio::test(start_paused = true)]
async fn whatever_a_layer_does_the_event_has_a_response_and_the_loop_goes_on() {
    for (does, kind) in [
        (Layered::Fails, Some("Error")),
        (Layered::PanicsInCall, Some("Lifecycle.Panic")),
        (Layered::PanicsInFuture, Some("Lifecycle.Panic")),
        (Layered::DropsTheService, Some("Lifecycle.NoResponse")),
        (Layered::IsNotReady, Some("Error")),
        (Layered::PanicsWhenAskedForReadiness, Some("Lifecycle.Panic")),
        (Layered::FailsAfterTheResponse, None),
    ] {
        for workers in [1, 8] {
            let case = format!("{does:?} × {workers}");
            let (log, _guard) = Log::start();
            let (fake, shared) = super::api(workers);
            let runtime = super::Runtime::with(service_fn(echo), shared).layer(odd(does));
            let running = tokio::spawn(runtime.run_concurrent());
            fake.event("first", &[], "1");
            let posted = fake.posted("first").await;
            assert_eq!(posted.header("lambda-runtime-function-error-type"), kind, "{case}");
            assert!(!posted.text().contains("SECRET"), "{case}: {}", posted.text());
            for event in 0..2 * workers {
                fake.event(&format!("e{event}"), &[], "2");
            }
            for event in 0..2 * workers {
                assert_eq!(fake.posted(&format!("e{event}")).await.text(), "2", "{case}");
            }
            assert_eq!(log.faults(), ["invocation_without_response"], "{case}");
            let of_it = fake.lock().requests.iter().filter(|request| request.line.contains("/first/")).count();
            assert_eq!(of_it, 1, "{case}");
            running.abort();
        }
    }
}

type Boxed = BoxCloneService<LambdaInvocation, (), Error>;

fn odd<S>(does: Layered) -> impl Layer<S, Service = Odd>
where
    S: Service<LambdaInvocation, Response = (), Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let done = Arc::new(AtomicBool::new(false));
    tower::layer::layer_fn(move |inner: S| Odd { inner: BoxCloneService::new(inner), does, done: Arc::clone(&done) })
}

#[derive(Clone)]
struct Odd {
    inner: Boxed,
    does: Layered,
    done: Arc<AtomicBool>,
}

impl Service<LambdaInvocation> for Odd {
    type Response = ();
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        if matches!(self.does, Layered::IsNotReady | Layered::PanicsWhenAskedForReadiness)
            && !self.done.swap(true, Ordering::Relaxed)
        {
            assert!(!matches!(self.does, Layered::PanicsWhenAskedForReadiness), "not ready at all");
            return std::task::Poll::Ready(Err("not ready".into()));
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let inner = self.inner.call(event);
        if self.done.swap(true, Ordering::Relaxed) {
            return inner;
        }
        match self.does {
            Layered::PanicsInCall => panic!("fuse was lit"),
            Layered::PanicsInFuture => Box::pin(async { panic!("{}", super::URL) }),
            Layered::Fails => Box::pin(async { Err("no".into()) }),
            Layered::FailsAfterTheResponse => Box::pin(async move {
                inner.await?;
                Err("too late".into())
            }),
            _ => Box::pin(async { Ok(()) }),
        }
    }
}
