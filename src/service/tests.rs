//! Layers and lifecycles in one process, in paused time. A stand-in for Lambda receives the responses of the handler's layer.

use super::{HandlerLayer, Payload, TrackedStream};
use crate::{Builder, DeadlineExceeded, Export, Invocation, Lifecycle, Outcome, Report, xray::Redaction};
use bytes::Bytes;
use lambda_runtime::{
    Diagnostic, Error, FunctionResponse, IntoFunctionResponse, LambdaEvent, LambdaInvocation, service_fn, streaming::Body,
};
use opentelemetry::Value as OtelValue;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use serde_json::{Value, json, value::RawValue};
use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tower::{Layer, Service};

const TRACED: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// The response or the error that was posted to Lambda.
type Posted = Result<String, Diagnostic>;

/// A stand-in for Lambda's Runtime API and the loop around it.
#[derive(Clone)]
struct Api<H> {
    handler: H,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl<H> Service<LambdaInvocation> for Api<H>
where
    H: Service<
            LambdaEvent<Payload<Value>>,
            Response = FunctionResponse<Box<RawValue>, TrackedStream<Body>>,
            Error = Diagnostic,
            Future: Send + 'static,
        >,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let payload = serde_json::from_slice(&event.body).expect("the event is JSON");
        let response = self.handler.call(LambdaEvent::new(payload, event.context));
        let posted = Arc::clone(&self.posted);
        Box::pin(async move {
            let response = response.await.map(|response| match response {
                FunctionResponse::BufferedResponse(response) => response.get().to_owned(),
                FunctionResponse::StreamingResponse(_) => "a stream".to_owned(),
            });
            posted.lock().expect("no panic").push(response);
            Ok(())
        })
    }
}

fn event(timeout: Duration) -> LambdaInvocation {
    let deadline = SystemTime::now() + timeout;
    let mut context = lambda_runtime::Context::default();
    "request".clone_into(&mut context.request_id);
    context.deadline = deadline.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    context.xray_trace_id = Some(TRACED.to_owned());
    let (parts, ()) = http::Response::new(()).into_parts();
    LambdaInvocation { parts, body: Bytes::from_static(b"{}"), context }
}

/// Runs one invocation of a lifecycle to the end of its stage after the response, and returns the post.
async fn invoke<H, R, E>(life: &Lifecycle, handler: H) -> Posted
where
    H: Service<LambdaEvent<Value>, Response = R, Error = E>,
    H::Future: Send + 'static,
    E: Into<Diagnostic> + Debug + 'static,
    R: IntoFunctionResponse<Value, Body> + Send + 'static,
{
    invoke_with(life, json!({}), handler).await
}

/// The same with this event.
async fn invoke_with<H, R, E>(life: &Lifecycle, payload: Value, handler: H) -> Posted
where
    H: Service<LambdaEvent<Value>, Response = R, Error = E>,
    H::Future: Send + 'static,
    E: Into<Diagnostic> + Debug + 'static,
    R: IntoFunctionResponse<Value, Body> + Send + 'static,
{
    let posted = Arc::default();
    let api = Api { handler: life.handler_layer().layer(handler), posted: Arc::clone(&posted) };
    let event = LambdaInvocation { body: payload.to_string().into(), ..event(Duration::from_secs(10)) };
    life.runtime_layer().layer(api).call(event).await.expect("the response was posted");
    posted.lock().expect("no panic").pop().expect("a response")
}

#[derive(Clone, Debug, Default)]
struct Collected(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Collected {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("no panic").extend(batch);
        Ok(())
    }
}

impl Collected {
    fn spans(&self) -> Vec<SpanData> {
        self.0.lock().expect("no panic").clone()
    }

    fn annotations(&self, key: &str) -> Vec<OtelValue> {
        let attributes = self.spans().into_iter().flat_map(|span| span.attributes);
        let wanted = attributes.filter(|attribute| attribute.key.as_str() == key);
        wanted.map(|attribute| attribute.value).collect()
    }
}

struct Observed {
    life: Lifecycle,
    spans: Collected,
    reports: Arc<Mutex<Vec<Report>>>,
}

fn observed(configure: impl FnOnce(Builder) -> Builder) -> Observed {
    let (spans, reports) = (Collected::default(), Arc::<Mutex<Vec<Report>>>::default());
    let kept = Arc::clone(&reports);
    let builder = Lifecycle::builder().log(false).export(Export::None).exporter(spans.clone()).after_response(move |report| {
        kept.lock().expect("no panic").push(report);
        async {}
    });
    Observed { life: configure(builder).build(), spans, reports }
}

impl Observed {
    fn outcomes(&self) -> Vec<&'static str> {
        let reports = self.reports.lock().expect("no panic");
        reports.iter().map(|report| report.outcome.as_ref().map_or("none", Outcome::as_str)).collect()
    }
}

/// Waits until the token is cancelled, and returns the elapsed milliseconds.
async fn until_soft(_: LambdaEvent<Value>) -> Result<Value, Error> {
    let (invocation, began) = (Invocation::current(), tokio::time::Instant::now());
    invocation.annotate("card", "4111");
    invocation.cancellation_token().cancelled().await;
    Ok(json!(began.elapsed().as_millis() as u64))
}

#[tokio::test(start_paused = true)]
async fn lifecycles_with_different_settings_work_side_by_side() {
    let ms = Duration::from_millis;
    let one = observed(|builder| builder.grace(ms(1_000)).reserve(ms(1_000)));
    let two = observed(|builder| {
        let redact = |key: &str, _: &str| if key.contains("card") { Redaction::Remove } else { Redaction::Keep };
        builder.grace(ms(3_000)).reserve(ms(2_000)).redact(redact)
    });
    let (first, second) = tokio::join!(invoke(&one.life, service_fn(until_soft)), invoke(&two.life, service_fn(until_soft)));
    // The deadline uses the system's clock, of which some milliseconds may have passed.
    let rounded = |posted: Posted| posted.expect("a response").parse::<f64>().map(|ms| (ms / 1_000.0).round());
    assert_eq!((rounded(first), rounded(second)), (Ok(8.0), Ok(5.0)));
    assert_eq!((one.outcomes(), two.outcomes()), (vec!["responded"], vec!["responded"]));
    assert_eq!((one.spans.annotations("card"), two.spans.annotations("card")), (vec![OtelValue::from("4111")], vec![]));
}

/// A user's error that wraps the deadline's.
#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("the search took too long")]
    Slow(#[source] DeadlineExceeded),
    #[error("the search is not possible")]
    Impossible,
}

async fn search() -> Result<Value, DeadlineExceeded> {
    Invocation::current().within(std::future::pending()).await
}

#[tokio::test(start_paused = true)]
async fn the_deadlines_error_keeps_its_meaning() {
    let boxed = service_fn(async |_: LambdaEvent<Value>| -> Result<Value, Error> { Ok(search().await?) });
    let wrapped = service_fn(async |_: LambdaEvent<Value>| -> Result<Value, Error> {
        search().await.map_err(AppError::Slow).map_err(Into::into)
    });
    let diagnosed = service_fn(async |_: LambdaEvent<Value>| -> Result<Value, Diagnostic> {
        search().await.map_err(|error| Diagnostic { error_type: format!("{error:?}"), error_message: error.to_string() })
    });
    let anyhow = service_fn(async |_: LambdaEvent<Value>| -> Result<Value, lambda_runtime::Error> {
        use anyhow::Context as _;
        Ok(search().await.context("while searching")?)
    });
    let rolled_back = service_fn(async |_: LambdaEvent<Value>| -> Result<Value, lambda_runtime::Error> {
        use anyhow::Context as _;
        let found = search().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        // It is refused at once, with a separate timing.
        let _ = search().await;
        Ok(found.context("while searching")?)
    });
    let other = service_fn(async |_: LambdaEvent<Value>| -> Result<Value, Error> {
        let _ = search().await;
        Err(AppError::Impossible.into())
    });
    let observed = observed(|builder| builder);
    let types = [
        invoke(&observed.life, boxed).await,
        invoke(&observed.life, wrapped).await,
        invoke(&observed.life, diagnosed).await,
        invoke(&observed.life, anyhow).await,
        invoke(&observed.life, rolled_back).await,
        invoke(&observed.life, other).await,
    ]
    .map(|posted| posted.expect_err("an error").error_type);
    let exceeded = "Lifecycle.DeadlineExceeded";
    assert_eq!(types, [exceeded, exceeded, exceeded, exceeded, exceeded, "Error"]);
    let exceeded = "deadline_exceeded";
    assert_eq!(observed.outcomes(), [exceeded, exceeded, exceeded, exceeded, exceeded, "failed"]);
}

/// A batch of one message whose producer X-Ray did not sample, for a lifecycle without X-Ray.
#[cfg(feature = "sqs")]
async fn handle_unsampled_message(continues: bool) -> (Vec<SpanData>, String) {
    let observed = observed(|builder| builder);
    let (sent, mut received) = tokio::sync::mpsc::unbounded_channel();
    let handle = move |message: crate::sqs::Message<String>| {
        let sent = sent.clone();
        async move {
            let _ = sent.send(message.invocation.trace_header().map(|header| header.to_string()));
            Ok::<_, Error>(())
        }
    };
    let batch = if continues { crate::sqs::batch(handle).continue_traces() } else { crate::sqs::batch(handle) };
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let mut batch = batch.clone();
        async move {
            let records = serde_json::from_value(event.payload)?;
            let response = batch.call(LambdaEvent::new(records, event.context)).await?;
            Ok::<_, Error>(serde_json::to_value(response)?)
        }
    });
    let producer = "Root=1-11111111-bd862e3fe1be46a994272793;Parent=1111111111111111;Sampled=0";
    let record = json!({
        "messageId": "m1", "receiptHandle": "r", "body": "\"text\"", "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:orders", "attributes": { "AWSTraceHeader": producer },
    });
    invoke_with(&observed.life, json!({ "Records": [record] }), handler).await.expect("a response");
    (observed.spans.spans(), received.recv().await.flatten().unwrap_or_default())
}

#[cfg(feature = "sqs")]
#[tokio::test(start_paused = true)]
async fn an_exporter_gets_a_message_whose_producer_x_ray_did_not_sample() {
    for continues in [false, true] {
        let (spans, header) = handle_unsampled_message(continues).await;
        let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("{name}: {spans:?}"));
        let (batch, message) = (named("process orders"), named("process"));
        let (trace, parent) = (message.span_context.trace_id().to_string(), message.parent_span_id.to_string());
        if continues {
            assert_eq!((&*trace, &*parent), ("11111111bd862e3fe1be46a994272793", "1111111111111111"));
        } else {
            assert_eq!((message.span_context.trace_id(), message.parent_span_id), {
                let context = &batch.span_context;
                (context.trace_id(), context.span_id())
            });
        }
        // The caller is the message's own span, and Lambda's or the producer's decision is sent on.
        assert!(header.contains(&format!("Parent={}", message.span_context.span_id())), "{header}");
        assert!(header.ends_with(if continues { "Sampled=0" } else { "Sampled=1" }), "{header}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_layer_alone_guesses_no_outcome() {
    let observed = observed(|builder| builder);
    let done = Arc::<Mutex<bool>>::default();
    let background = Arc::clone(&done);
    let handler = tower::service_fn(move |_: LambdaInvocation| {
        let background = Arc::clone(&background);
        async move {
            Invocation::current().after_response(async move { *background.lock().expect("no panic") = true });
            Ok::<_, Error>(())
        }
    });
    observed.life.runtime_layer().layer(handler).call(event(Duration::from_secs(3))).await.expect("it is handled");
    assert!(*done.lock().expect("no panic"));
    assert_eq!(observed.outcomes(), ["none"]);
    let spans = observed.spans.spans();
    assert!(!spans.is_empty());
    assert_eq!(observed.spans.annotations("outcome"), Vec::<OtelValue>::new());
    assert!(spans.iter().all(|span| span.status == opentelemetry::trace::Status::Unset), "{spans:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_layer_alone_begins_the_invocation() {
    let layer = HandlerLayer::new();
    let (sent, received) = tokio::sync::oneshot::channel();
    let sent = Arc::new(Mutex::new(Some(sent)));
    let handler = service_fn(move |_: LambdaEvent<Value>| {
        let sent = sent.lock().expect("no panic").take();
        async move {
            let invocation = Invocation::current();
            assert_eq!(invocation.request_id(), "request");
            let has_deadline = invocation.deadline().is_some();
            invocation.after_response(async move {
                let _ = sent.expect("one call").send(has_deadline);
            });
            Ok::<Value, Error>(search().await?)
        }
    });
    let mut service = layer.layer(handler);
    let LambdaInvocation { context, .. } = event(Duration::from_secs(3));
    let payload = serde_json::from_str::<Payload<Value>>("{}").expect("it always decodes");
    let response = service.call(LambdaEvent::new(payload, context)).await;
    assert_eq!(response.map(drop).expect_err("the deadline").error_type, "Lifecycle.DeadlineExceeded");
    assert_eq!(received.await, Ok(true));
    assert!(Invocation::try_current().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_invocation_that_a_layer_drops_keeps_its_spans_and_its_work() {
    let observed = observed(|builder| builder);
    let (sent, received) = tokio::sync::oneshot::channel();
    let sent = Arc::new(Mutex::new(Some(sent)));
    let handler = tower::service_fn(move |_: LambdaInvocation| {
        let sent = sent.lock().expect("no panic").take();
        async move {
            Invocation::current().annotate("plan", "gold");
            Invocation::current().after_response(async move {
                let _ = sent.expect("one call").send(());
            });
            std::future::pending::<Result<(), Error>>().await
        }
    });
    let invocation = observed.life.runtime_layer().layer(handler).call(event(Duration::from_secs(10)));
    assert!(tokio::time::timeout(Duration::from_secs(1), invocation).await.is_err());
    assert_eq!(received.await, Ok(()));
    // They are sent with the next invocation.
    invoke(&observed.life, service_fn(async |_: LambdaEvent<Value>| Ok::<_, Error>(json!(1)))).await.expect("a response");
    assert_eq!(observed.spans.annotations("plan"), [OtelValue::from("gold")]);
}

/// Waits until the watchdog has checked it.
fn wait_while_watched(invocation: &Invocation) {
    while invocation.is_watched() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the watchdog reports a handler that blocks its thread, or that waits.
fn is_reported(blocks: bool) -> bool {
    let observed = observed(|builder| builder);
    let handler = tower::service_fn(move |_: LambdaInvocation| async move {
        let invocation = Invocation::current();
        if blocks {
            wait_while_watched(&invocation);
        } else {
            // Woken by another thread, and not polled before that, because a handler is reported as blocking while it is polled.
            tokio::task::spawn_blocking(move || wait_while_watched(&invocation)).await?;
        }
        Ok::<_, Error>(())
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut service = observed.life.runtime_layer().layer(handler);
    runtime.block_on(async { service.call(event(Duration::from_secs(3))).await }).expect("it is handled");
    // Exporters run on a separate thread, and they get the invocation's own span in any case.
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while observed.spans.spans().is_empty() && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    observed.spans.annotations("outcome") == [OtelValue::from("blocked")]
}

#[test]
fn the_watchdog_reports_what_blocks() {
    assert!(is_reported(true));
}

#[test]
fn the_watchdog_does_not_report_what_waits() {
    assert!(!is_reported(false));
}
