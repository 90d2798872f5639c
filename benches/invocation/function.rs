//! The function that is measured, and what stands for `lambda_runtime` around it.

use lambda_lifecycle::Invocation;
use lambda_runtime::{Context as LambdaContext, Error, LambdaEvent, LambdaInvocation};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    cell::Cell,
    fmt::Debug,
    future::Future,
    hint::black_box,
    marker::PhantomData,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use tower::Service;
use tracing::Instrument;

/// When the last invocation was answered.
pub(crate) type Answered = Rc<Cell<Option<Instant>>>;

/// What the handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Spans(u32),
    Token,
    Annotate,
    AfterResponse,
}

pub(crate) async fn handle(work: Work, event: LambdaEvent<Value>) -> Result<Value, Error> {
    match work {
        Work::Spans(count) => {
            for number in 0..count {
                async { black_box(number) }.instrument(tracing::info_span!("step", number, kind = "two fields")).await;
            }
        }
        Work::Token => drop(black_box(Invocation::current().cancellation_token())),
        Work::Annotate => Invocation::current().annotate("plan", "gold"),
        Work::AfterResponse => Invocation::current().after_response(async {}),
    }
    tokio::task::yield_now().await;
    Ok(event.payload)
}

/// Decodes, calls, encodes, and yields where `lambda_runtime` posts.
pub(crate) struct Runtime<H, P, R> {
    handler: H,
    encode: fn(R) -> Vec<u8>,
    answered: Answered,
    payload: PhantomData<fn() -> P>,
}

impl<H, P, R> Runtime<H, P, R> {
    pub(crate) fn new(handler: H, encode: fn(R) -> Vec<u8>, answered: Answered) -> Self {
        Self { handler, encode, answered, payload: PhantomData }
    }
}

impl<H, P, R> Service<LambdaInvocation> for Runtime<H, P, R>
where
    H: Service<LambdaEvent<P>, Response = R>,
    H::Future: 'static,
    H::Error: Debug,
    P: DeserializeOwned,
    R: 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let payload = serde_json::from_slice(&event.body).expect("the event is JSON");
        let future = self.handler.call(LambdaEvent::new(payload, event.context));
        let (encode, answered) = (self.encode, Rc::clone(&self.answered));
        Box::pin(async move {
            let answer = future.await.map_err(|error| format!("{error:?}"))?;
            black_box(encode(answer));
            tokio::task::yield_now().await;
            answered.set(Some(Instant::now()));
            Ok(())
        })
    }
}

pub(crate) fn context(header: &str) -> LambdaContext {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
    let mut context = LambdaContext::default();
    "8476a536-e9f4-11e8-9739-2dfe598c3fcd".clone_into(&mut context.request_id);
    context.deadline = u64::try_from(now).unwrap_or_default() + 850_000;
    context.xray_trace_id = Some(header.to_owned());
    "arn:aws:lambda:eu-west-1:123456789012:function:orders".clone_into(&mut context.invoked_function_arn);
    context
}

pub(crate) fn event(context: &LambdaContext) -> LambdaInvocation {
    let (parts, ()) = http::Response::new(()).into_parts();
    LambdaInvocation { parts, body: bytes::Bytes::from_static(br#"{"order":7,"sku":"tea"}"#), context: context.clone() }
}
