//! Errors are redacted once on their way to Lambda, including those outside of an invocation.

use super::{Runtime, api, bomb, echo, faults::patiently};
use crate::{
    export::Given,
    invocation::{Hooks, Shared},
    runtime::snapstart,
    service::{HandlerLayer, RuntimeLayer},
    settings::Settings,
    xray::{Redaction, Redactor},
};
use lambda_runtime::{BoxFuture, Error, LambdaInvocation, SnapStartResource, service_fn};
use serde_json::Value;
use std::sync::Arc;
use tower::layer::layer_fn;

/// A redactor whose result shows how often it was called.
fn configured() -> Arc<Shared> {
    let mark = |_: &str, value: &str| Redaction::Replace(format!("({value})").into());
    let settings = Settings { redactor: Some(Redactor::new(mark)), ..Settings::default() };
    Shared::new(settings, Hooks::default(), Given::default())
}

fn fake() -> (api::Fake, super::Shared) {
    let (fake, mut shared) = super::api(1);
    shared.configured = configured();
    (fake, shared)
}

fn told(posted: &api::Request) -> (String, String) {
    let body: Value = serde_json::from_str(&posted.text()).expect("JSON");
    let text = |name: &str| body[name].as_str().expect("text").to_owned();
    assert_eq!(posted.endpoint(), "error");
    (text("errorType"), text("errorMessage"))
}

fn pair(kind: &str, message: &str) -> (String, String) {
    (kind.to_owned(), message.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_redacted_once_under_both_layers_and_under_none() {
    for layered in [true, false] {
        let (fake, shared) = fake();
        let settings = Arc::clone(&shared.configured);
        let running = if layered {
            let handler = tower::Layer::layer(&HandlerLayer::of(Arc::clone(&settings)), service_fn(echo));
            tokio::spawn(Runtime::with(handler, shared).layer(RuntimeLayer::of(settings)).run_concurrent())
        } else {
            tokio::spawn(Runtime::with(service_fn(echo), shared).run_concurrent())
        };
        fake.event("first", &[], r#"{"do":"fail"}"#);
        let posted = patiently(fake.posted("first"), "a failure").await;
        assert_eq!(told(&posted), pair("(Error)", "(no stock)"), "{layered}");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_layer_is_redacted() {
    for panics in [true, false] {
        let (fake, shared) = fake();
        let layer = layer_fn(move |_| {
            service_fn(move |_: LambdaInvocation| async move {
                assert!(!panics, "no stock");
                Err::<(), Error>("no stock".into())
            })
        });
        let runtime = Runtime::with(service_fn(echo), shared).layer(layer);
        let running = tokio::spawn(runtime.run_concurrent());
        fake.event("first", &[], "1");
        let posted = patiently(fake.posted("first"), "a layer").await;
        let expected =
            if panics { pair("(Lifecycle.Panic)", "(a layer panicked: no stock)") } else { pair("(Error)", "(no stock)") };
        assert_eq!(told(&posted), expected);
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_stream_is_redacted() {
    let (fake, shared) = fake();
    let running = tokio::spawn(Runtime::with(service_fn(bomb), shared).run_concurrent());
    fake.event("first", &[], "1");
    let posted = patiently(fake.posted("first"), "a stream").await;
    assert_eq!(posted.trailer("lambda-runtime-function-error-type"), Some("(Lifecycle.Panic)"));
    running.abort();
}

/// A hook that fails.
struct Failing;

impl SnapStartResource for Failing {
    fn before_snapshot(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Err("no stock".into()) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_hook_is_redacted_for_lambda_and_for_main() {
    let (fake, shared) = fake();
    let ended = snapstart::restore(&shared, &[Arc::new(Failing)]).await.expect_err("an error");
    let posted = fake.request(|request| request.line.ends_with("/init/error")).await;
    assert_eq!(told(&posted), pair("(Error)", "(no stock)"));
    assert_eq!(ended.to_string(), "(no stock)");
}
