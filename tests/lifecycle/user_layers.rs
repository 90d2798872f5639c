//! The user's own tower layers around whole invocations.

use crate::{
    behavior::{Do, Probe},
    http::http_event,
    support::{Stage, Tested, ensure, function_error, test},
};
use axum::{Router, routing::get};
use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, service_fn};
use lambda_lifecycle_sandbox::function::TraceMode;
use lambda_runtime::LambdaInvocation;
use libtest_mimic::Trial;
use serde_json::Value;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};
use tower::{Layer, Service};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("the user's layers start before the invocation and end after its background work", || around(Probe::UserLayers)),
        test("the user's layers wrap a router too", || around(Probe::UserLayersHttp)),
        test("a failing layer of the user is an error response, and the process survives", failing),
    ]
}

async fn around(probe: Probe) -> Tested {
    let stage = Stage::new(probe, TraceMode::Active).await?;
    let answer = stage.invoke(http_event("/")).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.wait_for_logs("layers: outer ended", 1).await?;
    let logged = stage.logged("layers: ");
    let expected = ["outer began", "inner began", "handler", "background work", "inner ended", "outer ended"];
    ensure(logged.iter().map(|line| line.trim_start_matches("layers: ")).eq(expected), format!("{logged:?}"))?;
    stage.settle().await?;
    stage.is_sound()
}

async fn failing() -> Tested {
    let stage = Stage::new(Probe::UserLayers, TraceMode::Active).await?;
    let answer = stage.invoke(Do::Refuse).await?;
    let (_, message) = function_error(&answer)?;
    ensure(message.contains("refused by a layer"), message)?;
    stage.lives().await
}

/// Prints when an invocation starts and ends at its position, and refuses those that ask for it.
#[derive(Clone)]
struct Observe<S> {
    inner: S,
    place: &'static str,
}

struct ObserveLayer(&'static str);

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, place: self.0 }
    }
}

impl<S> Service<LambdaInvocation> for Observe<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error, Future: Send + 'static>,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, event: LambdaInvocation) -> Self::Future {
        let place = self.place;
        if serde_json::from_slice::<Do>(&event.body).is_ok_and(|act| act == Do::Refuse) {
            return Box::pin(async { Err("refused by a layer".into()) });
        }
        println!("layers: {place} began");
        let handled = self.inner.call(event);
        Box::pin(async move {
            let handled = handled.await;
            println!("layers: {place} ended");
            handled
        })
    }
}

fn work() {
    println!("layers: handler");
    Invocation::current().after_response(async { println!("layers: background work") });
}

/// Runs the function `probe`, if it is one of these.
pub(crate) async fn run(probe: Probe) -> Option<Result<(), Error>> {
    let life = || Lifecycle::from_env().layer(ObserveLayer("inner")).layer(ObserveLayer("outer"));
    Some(match probe {
        Probe::UserLayers => {
            let handler = service_fn(async |_: LambdaEvent<Value>| {
                work();
                Ok::<_, Error>(())
            });
            life().run_concurrent(handler).await
        }
        Probe::UserLayersHttp => life().serve(Router::new().route("/", get(async || work()))).await,
        _ => return None,
    })
}
