//! Layers that move the event to another task, or do not wait for its response.

use super::{Log, Runtime, api, api::Wrong, echo, faults::patiently};
use crate::{Invocation, invocation, service::RuntimeLayer};
use lambda_runtime::{Error, LambdaEvent, LambdaInvocation, service_fn};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tower::{Layer, Service, layer::layer_fn};

fn posts(fake: &api::Fake, id: &str) -> Vec<String> {
    let of_it = format!("/{id}/");
    let api = fake.lock();
    api.requests.iter().filter(|request| request.line.contains(&of_it)).map(|request| request.endpoint().to_owned()).collect()
}

/// The way in which the layer calls the service below it.
#[derive(Clone, Copy, Debug)]
enum Calls {
    /// In a separate task, which it waits for.
    Spawned,
    /// In a separate task, which is still posting the response when the layer is done.
    Detached,
    /// For five seconds at most.
    Bounded,
}

fn layer<S>(calls: Calls) -> impl Layer<S, Service: Service<LambdaInvocation, Response = (), Error = Error> + Send + 'static>
where
    S: Service<LambdaInvocation, Response = (), Error = Error, Future: Send> + Clone + Send + 'static,
{
    layer_fn(move |inner: S| {
        let service = move |event: LambdaInvocation| {
            let called = inner.clone().call(event);
            async move {
                match calls {
                    Calls::Spawned => tokio::spawn(called).await?,
                    Calls::Detached => {
                        tokio::spawn(called);
                        tokio::time::sleep(Duration::from_secs(5)).await;
                        Ok(())
                    }
                    Calls::Bounded => tokio::time::timeout(Duration::from_secs(5), called).await?,
                }
            }
        };
        tower::util::BoxService::new(service_fn(service))
    })
}

#[tokio::test(start_paused = true)]
async fn every_event_has_one_response_wherever_a_layer_takes_it() {
    for (calls, wrong, expected) in [
        (Calls::Spawned, None, &["response"][..]),
        (Calls::Spawned, Some(Wrong::ReadSlowly), &["response"]),
        (Calls::Detached, Some(Wrong::ReadSlowly), &["response"]),
        (Calls::Bounded, None, &["response"]),
        // The layer gives up the response, so Lambda gets the error first.
        (Calls::Bounded, Some(Wrong::Stall), &["response", "error"]),
    ] {
        let case = format!("{calls:?} {wrong:?}");
        let (log, _guard) = Log::start();
        let (fake, shared) = super::api(1);
        fake.wrong("response", wrong);
        let runtime = Runtime::with(service_fn(echo), shared).layer(layer(calls));
        // Not `Send`, and it need not be.
        let local = tokio::task::LocalSet::new();
        let running = local.spawn_local(runtime.run());
        fake.event("first", &[], "1");
        fake.event("second", &[], "2");
        local.run_until(patiently(fake.posted("second"), &case)).await;
        assert_eq!(posts(&fake, "first"), expected, "{case}");
        assert_eq!(log.faults().len(), expected.len() - 1, "{case}");
        running.abort();
    }
}

/// Ready for this number of events, then never again.
#[derive(Clone)]
struct Tiring<S> {
    inner: S,
    left: u32,
}

impl<S: Service<LambdaInvocation, Response = (), Error = Error>> Service<LambdaInvocation> for Tiring<S> {
    type Response = ();
    type Error = Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        if self.left == 0 {
            return std::task::Poll::Ready(Err("worn out".into()));
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, event: LambdaInvocation) -> S::Future {
        self.left -= 1;
        self.inner.call(event)
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_any_more_does_not_serve_on() {
    // With one worker the environment ends. With several, each gets a new clone that is ready, if there is one.
    for (workers, ready_for, ends) in [(1, 0, true), (1, 3, true), (8, 0, true), (8, 3, false)] {
        let case = format!("{workers} workers, ready for {ready_for}");
        let (fake, shared) = super::api(workers);
        let tiring = layer_fn(move |inner| Tiring { inner, left: ready_for });
        let runtime = Runtime::with(service_fn(echo), shared).layer(tiring);
        let running = tokio::spawn(runtime.run_concurrent());
        for event in 0..100 {
            fake.event(&format!("e{event}"), &[], "1");
        }
        if ends {
            let ended = patiently(running, &case).await.expect("no panic").expect_err("an error");
            let error = ended.downcast_ref::<crate::runtime::ServiceNotReady>();
            assert!(error.is_some_and(|error| error.events == 5 && error.source.to_string() == "worn out"), "{case}: {ended}");
        } else {
            patiently(fake.posted("e99"), &case).await;
            assert!(!running.is_finished(), "{case}");
            running.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_handlers_layer_a_response_is_waited_for_at_shutdown() {
    for (wrong, posted) in [("response", "1"), ("error", "{")] {
        let (fake, shared) = super::api(1);
        fake.wrong(wrong, [Wrong::Stall]);
        let configured = invocation::Shared::with_defaults();
        let runtime = Runtime::with(service_fn(echo), shared).layer(RuntimeLayer::of(Arc::clone(&configured)));
        let running = tokio::spawn(runtime.run_concurrent());
        fake.event("first", &[], posted);
        patiently(fake.posted("first"), wrong).await;
        // On demand, a shutdown waits for responses that are being posted.
        assert_eq!(configured.stages.len(), 1, "{wrong}");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_handlers_layer_an_invocation_that_was_cut_off_does_not_respond() {
    let (fake, shared) = super::api(1);
    let handler = async |event: LambdaEvent<Value>| {
        // Like a shutdown that has searched the invocations in progress.
        Invocation::current().notes().cut_off = event.payload == 1;
        Ok::<_, Error>(event.payload)
    };
    let runtime = Runtime::with(service_fn(handler), shared).layer(RuntimeLayer::of(invocation::Shared::with_defaults()));
    let running = tokio::spawn(runtime.run_concurrent());
    fake.event("whole", &[], "0");
    fake.event("cut off", &[], "1");
    patiently(fake.posted("whole"), "whole").await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(posts(&fake, "cut%20off"), Vec::<String>::new());
    assert_eq!(fake.lock().handed_out, ["whole", "cut off"]);
    running.abort();
}
