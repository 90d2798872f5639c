//! Layers that take the event elsewhere, or do not wait for its response.

use super::{Log, Runtime, api, api::Wrong, echo, faults::patiently};
use lambda_runtime::{Error, LambdaInvocation, service_fn};
use std::time::Duration;
use tower::{Layer, Service, layer::layer_fn};

fn posts(fake: &api::Fake, id: &str) -> Vec<String> {
    let of_it = format!("/{id}/");
    let api = fake.lock();
    api.requests.iter().filter(|request| request.line.contains(&of_it)).map(|request| request.endpoint().to_owned()).collect()
}

/// What the layer does with the call of the service below it.
#[derive(Clone, Copy, Debug)]
enum Calls {
    /// In a task of its own, which it waits for.
    Spawned,
    /// In a task of its own, which is posting the response when the layer is done.
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
        // The response is given up, so the error is the first that Lambda gets.
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
        assert_eq!(log.of("fault").len(), expected.len() - 1, "{case}");
        running.abort();
    }
}
