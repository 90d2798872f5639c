//! One worker: fetches an event, runs the handler, makes sure that the event gets a response, and fetches the next one.

use super::{
    EventsRefused, ServiceNotReady, Shared,
    deliver::{Post, deliver, reason},
    event::{self, Ids},
    fault::{Fault, Pause},
    response_state::ResponseState,
    trace_variable,
};
use crate::{
    panics,
    runtime_api::{Failure, Reply, diagnostic},
    settings,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, response};
use lambda_runtime::{Diagnostic, Error, LambdaInvocation};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::Ordering,
    task::Poll,
};
use tower::Service;

/// The refusals in a row after which a runtime must exit, according to AWS's documentation.
pub(super) const REFUSALS: u32 = 5;

/// Stored in the extensions of an event of which only the head arrived: what happened to the rest.
#[derive(Clone, Debug)]
pub(super) struct Truncated(pub(super) String);

/// A service that is not ready for this number of events in a row will not recover.
const NOT_READY: u32 = 5;

/// The reason why a worker stops serving.
pub(super) enum Stopped {
    Refused(EventsRefused),
    NotReady {
        error: ServiceNotReady,
        /// It was ready for an earlier event.
        was_ready: bool,
    },
}

impl Stopped {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Refused(error) => error.into(),
            Self::NotReady { error, .. } => error.into(),
        }
    }
}

/// Serves as one of several workers, until the Runtime API permanently refuses all of them.
pub(super) async fn serve<S>(shared: &Shared, service: &mut S, workers: u32) -> Stopped
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    let mut pause = Pause::default();
    let mut refusals = 0;
    let (mut not_ready, mut was_ready, mut has_served) = (0, false, false);
    let mut warm_up = shared.take_warm_up();
    if warm_up.is_some() {
        // So that the first poll below sends the request.
        shared.client.connect().await;
    }
    loop {
        let request = shared.client.get(shared.next.clone());
        let mut next = pin!(shared.client.call(request, true));
        let mut came = Poll::Pending;
        if let Some(warm_up) = warm_up.take() {
            came = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
            if came.is_pending() {
                // The time until the event arrives.
                let _ = panics::catch(|| warm_up(&shared.configured));
            }
        }
        let came = match came {
            Poll::Ready(came) => came,
            Poll::Pending => next.await,
        };
        let event = match came {
            Ok(Reply { parts, body }) => match parts.status {
                // An emulator without an event responds with this status to every request.
                StatusCode::NO_CONTENT => {
                    pause.reset();
                    None
                }
                status if status.is_success() => Some(event(shared, parts, body)),
                status => {
                    let reason = reason(&body);
                    shared.faults.report(Fault::Refused, "next", format_args!("status {status}: {reason}"));
                    refusals += 1;
                    if refusals == REFUSALS {
                        shared.refused.fetch_add(1, Ordering::Relaxed);
                    }
                    if refusals >= REFUSALS && shared.refused.load(Ordering::Relaxed) >= workers {
                        return Stopped::Refused(EventsRefused { status: status.as_u16(), attempts: refusals, reason });
                    }
                    shared.faults.failed();
                    pause.wait().await;
                    continue;
                }
            },
            Err(Failure::BodyBroken(parts, _)) if parts.status.is_success() => {
                Some(truncated(shared, *parts, "the connection broke before its end"))
            }
            Err(Failure::BodyStalled(parts)) if parts.status.is_success() => {
                Some(truncated(shared, *parts, "nothing more was received for a minute"))
            }
            Err(failure) => {
                shared.faults.report(Fault::of(&failure), "next", format_args!("{failure}"));
                Some(Err(()))
            }
        };
        if std::mem::take(&mut refusals) >= REFUSALS {
            shared.refused.fetch_sub(1, Ordering::Relaxed);
        }
        match event {
            Some(Ok((ids, invocation))) => {
                shared.faults.recovered();
                pause.reset();
                if workers == 1 && shared.configured.settings.trace_variable {
                    trace_variable::set(invocation.context.xray_trace_id.as_deref());
                }
                if let Err(source) = handle(shared, service, &ids, invocation).await {
                    not_ready += 1;
                    if not_ready == NOT_READY {
                        let error = ServiceNotReady { events: not_ready, source };
                        return Stopped::NotReady { error, was_ready };
                    }
                } else {
                    (not_ready, was_ready) = (0, true);
                }
                if !std::mem::replace(&mut has_served, true) {
                    settings::warn_of_unknown_variables();
                }
            }
            Some(Err(())) => {
                shared.faults.failed();
                pause.wait().await;
            }
            None => Pause::shortest().await,
        }
    }
}

type Fetched = Result<(Ids, LambdaInvocation), ()>;

fn event(shared: &Shared, parts: response::Parts, body: Bytes) -> Fetched {
    let Some(ids) = Ids::of(&parts.headers) else {
        let names: Vec<&str> = names(&parts.headers).collect();
        shared.faults.report(Fault::MissingRequestId, "next", format_args!("its headers are {names:?}"));
        return Err(());
    };
    let context = event::context(&parts.headers, &ids, shared.config(), &shared.faults);
    Ok((ids, LambdaInvocation { parts, body, context }))
}

fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.keys().map(http::HeaderName::as_str)
}

/// Lambda waits for the response to an event of which only the head arrived.
fn truncated(shared: &Shared, mut parts: response::Parts, why: &str) -> Fetched {
    shared.faults.report(Fault::EventLost, "next", format_args!("{why}"));
    parts.extensions.insert(Truncated(why.to_owned()));
    event(shared, parts, Bytes::new())
}

/// Handles an event. Regardless of the service and its layers, the event has a response afterwards. The error is that of a
/// service that was not ready.
async fn handle<S>(shared: &Shared, service: &mut S, ids: &Ids, mut invocation: LambdaInvocation) -> Result<(), Error>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    let state = ResponseState::default();
    invocation.parts.extensions.insert(state.clone());
    let mut ready = false;
    let ended = state.scope(guarded(service, invocation, &mut ready)).await;
    let responded = state.is_concluded().await;
    let (error, what) = match ended {
        Ok(()) if responded => return Ok(()),
        Ok(()) => {
            let message = "a layer ended the invocation without a response".to_owned();
            (
                Diagnostic { error_type: "Lifecycle.NoResponse".to_owned(), error_message: message },
                "left an event without a response",
            )
        }
        Err(Ended::Failed(error)) => (diagnostic::of_error(&error), "failed"),
        Err(Ended::Panicked(message)) => (diagnostic::panic(format!("a layer panicked: {message}")), "panicked"),
    };
    let error = shared.redacted(error);
    let message = error.error_message.clone();
    let id = &ids.request_id;
    shared.faults.report(Fault::NoResponse, "next", format_args!("a layer {what} (request {id:?}): {}", error.error_message));
    if !responded {
        // Rare, and boxed, so that it does not enlarge the loop's future.
        Box::pin(deliver(shared, ids, &state, Post::Error(error))).await;
    }
    if ready { Ok(()) } else { Err(message.into()) }
}

enum Ended {
    Failed(Error),
    Panicked(String),
}

/// Calls the service so that no panic in it can unwind into the loop.
async fn guarded<S>(service: &mut S, invocation: LambdaInvocation, ready: &mut bool) -> Result<(), Ended>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
{
    poll_fn(|cx| {
        catch(|| service.poll_ready(cx)).map_or_else(|ended| Poll::Ready(Err(ended)), |ready| ready.map_err(Ended::Failed))
    })
    .await?;
    *ready = true;
    // Made in its place, because a future of kilobytes would be copied by each function that returns it.
    let (mut future, mut invocation) = (pin!(None), Some(invocation));
    catch(|| {
        if let Some(invocation) = invocation.take() {
            future.set(Some(service.call(invocation)));
        }
    })?;
    let ended = poll_fn(|cx| {
        let polled = catch(|| future.as_mut().as_pin_mut().map_or(Poll::Pending, |future| future.poll(cx)));
        polled.map_or_else(|ended| Poll::Ready(Err(ended)), |polled| polled.map_err(Ended::Failed))
    })
    .await;
    let dropped = catch(|| future.set(None));
    ended.and(dropped)
}

fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Ended> {
    panics::catch(code).map_err(|panic| Ended::Panicked(panic.to_string()))
}
