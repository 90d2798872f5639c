//! The function that is measured, and the stand-in for `lambda_runtime` around it.

use lambda_lifecycle::{
    Invocation, Lifecycle,
    metrics::Unit,
    service::{HandlerLayer, RuntimeLayer},
};
use lambda_runtime::{Context as LambdaContext, Error, FunctionResponse, LambdaEvent, LambdaInvocation, streaming::Body};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    fmt::Debug,
    future::Future,
    hint::black_box,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tower::{Layer, Service};
use tracing::Instrument;

/// The moment of the last response.
#[derive(Clone, Debug, Default)]
pub struct Answered(Arc<AtomicU64>);

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Answered {
    /// Records that the response is sent now.
    pub fn set(&self) {
        self.0.store(u64::try_from(BEGAN.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The time from `moment` to the response.
    pub fn since(&self, moment: Instant) -> Duration {
        (*BEGAN + Duration::from_nanos(self.0.load(Relaxed))).saturating_duration_since(moment)
    }
}

/// The work of the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// So many spans, of two fields each.
    Spans(u32),
    /// Takes the cancellation token.
    Token,
    /// Annotates the invocation.
    Annotate,
    /// Records three metrics.
    Metrics,
    /// Registers work after the response that does nothing.
    AfterResponse,
}

/// The handler.
pub async fn handle(work: Work, event: LambdaEvent<Value>) -> Result<Value, Error> {
    match work {
        Work::Spans(count) => {
            for number in 0..count {
                async { black_box(number) }.instrument(tracing::info_span!("step", number, kind = "two fields")).await;
            }
        }
        Work::Token => drop(black_box(Invocation::current().cancellation_token())),
        Work::Annotate => Invocation::current().annotate("plan", "gold"),
        Work::Metrics => {
            let invocation = Invocation::current();
            invocation.metric("OrdersPlaced", 1, Unit::Count);
            invocation.metric("ItemsPerOrder", event.payload.as_object().map_or(0, serde_json::Map::len), Unit::Count);
            invocation.metric("PaymentLatency", 83.5, Unit::Milliseconds);
        }
        Work::AfterResponse => Invocation::current().after_response(async {}),
    }
    tokio::task::yield_now().await;
    Ok(event.payload)
}

/// Decodes, calls, encodes, and yields where `lambda_runtime` posts.
pub struct Runtime<H, P, R> {
    handler: H,
    encode: fn(R) -> Vec<u8>,
    answered: Answered,
    payload: PhantomData<fn() -> P>,
}

impl<H: Clone, P, R> Clone for Runtime<H, P, R> {
    fn clone(&self) -> Self {
        Self { handler: self.handler.clone(), encode: self.encode, answered: self.answered.clone(), payload: PhantomData }
    }
}

/// A handler as [`bare`] and [`ours`] take it.
pub trait Handler: Service<LambdaEvent<Value>, Response = Value, Error = Error, Future: Send + 'static> + Clone + Send {}

impl<H> Handler for H where H: Service<LambdaEvent<Value>, Response = Value, Error = Error, Future: Send + 'static> + Clone + Send {}

/// The handler with nothing but the stand-in for `lambda_runtime` around it.
pub fn bare<H: Handler>(handler: H, answered: Answered) -> Runtime<H, Value, Value> {
    Runtime::new(handler, |answer| serde_json::to_vec(&answer).expect("a value encodes"), answered)
}

/// The same with both layers of the library.
pub fn ours<H: Handler + 'static>(
    handler: H,
    answered: Answered,
) -> impl Service<LambdaInvocation, Response = (), Error = Error, Future: Send> + Clone + Send {
    layered(handler, answered, RuntimeLayer::new(), HandlerLayer::new())
}

/// The same with those of a lifecycle.
pub fn of_lifecycle<H: Handler + 'static>(
    handler: H,
    answered: Answered,
    life: &Lifecycle,
) -> impl Service<LambdaInvocation, Response = (), Error = Error, Future: Send> + Clone + Send {
    layered(handler, answered, life.runtime_layer(), life.handler_layer())
}

fn layered<H: Handler + 'static>(
    handler: H,
    answered: Answered,
    around: RuntimeLayer,
    inside: HandlerLayer<Value, Body>,
) -> impl Service<LambdaInvocation, Response = (), Error = Error, Future: Send> + Clone + Send {
    let encode = |answer| match answer {
        FunctionResponse::BufferedResponse(answer) => serde_json::to_vec(&answer).expect("a value encodes"),
        FunctionResponse::StreamingResponse(_) => Vec::new(),
    };
    around.layer(Runtime::new(inside.layer(handler), encode, answered))
}

impl<H, P, R> Runtime<H, P, R> {
    /// Wraps the handler; `encode` writes its response.
    pub fn new(handler: H, encode: fn(R) -> Vec<u8>, answered: Answered) -> Self {
        Self { handler, encode, answered, payload: PhantomData }
    }
}

impl<H, P, R> Service<LambdaInvocation> for Runtime<H, P, R>
where
    H: Service<LambdaEvent<P>, Response = R>,
    H::Future: Send + 'static,
    H::Error: Debug,
    P: DeserializeOwned,
    R: 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let payload = serde_json::from_slice(&event.body).expect("the event is JSON");
        let future = self.handler.call(LambdaEvent::new(payload, event.context));
        let (encode, answered) = (self.encode, self.answered.clone());
        Box::pin(async move {
            let answer = future.await.map_err(|error| format!("{error:?}"))?;
            black_box(encode(answer));
            tokio::task::yield_now().await;
            answered.set();
            Ok(())
        })
    }
}

/// The context of an invocation with that trace header.
pub fn context(header: &str) -> LambdaContext {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let mut context = LambdaContext::default();
    "8476a536-e9f4-11e8-9739-2dfe598c3fcd".clone_into(&mut context.request_id);
    context.deadline = u64::try_from(now).unwrap_or_default() + 850_000;
    context.xray_trace_id = Some(header.to_owned());
    "arn:aws:lambda:eu-west-1:123456789012:function:orders".clone_into(&mut context.invoked_function_arn);
    context
}

/// An event with that context.
pub fn event(context: &LambdaContext) -> LambdaInvocation {
    let (parts, ()) = http::Response::new(()).into_parts();
    LambdaInvocation { parts, body: bytes::Bytes::from_static(br#"{"order":7,"sku":"tea"}"#), context: context.clone() }
}
