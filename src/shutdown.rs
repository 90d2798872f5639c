#![doc = include_str!("../docs/shutdown.md")]

use crate::{
    after_response::{hooks, stages},
    invocation::Work,
    trace,
};
use lambda_runtime::Error;
use lambda_runtime_api_client::{PooledClient, body::Body, build_request};
use std::{
    future::Future,
    io,
    os::unix::net,
    pin::pin,
    time::{Duration, Instant},
};
use tokio::{io::AsyncReadExt, net::UnixStream};

/// The platform gives 500 ms; the rest is for the process to end.
const TIME: Duration = Duration::from_millis(450);

/// The Init phase is short, and an emulator may leave a request it does not know unanswered.
const REGISTERING: Duration = Duration::from_secs(1);

const NAME: &str = "lambda-lifecycle";

/// Serves until it ends by itself, or until the platform ends the environment.
pub(crate) async fn serve(serving: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    // Pinned once: it is eleven kilobytes. And kept until the end: dropping it would end the spans of what is under way as if it
    // were over.
    let mut serving = pin!(serving);
    let wanted = hooks().wants_shutdown() || trace::flushes_at_shutdown();
    // Boxed, for as a rule nobody wants it, and it would make the future of every function larger.
    let mut terminated = if wanted { Box::pin(listen()).await } else { None };
    tokio::select! {
        biased;
        () = received(terminated.as_mut()) => {}
        ended = &mut serving => return ended,
    }
    Box::pin(end()).await;
    Ok(())
}

/// SIGTERM, listened for before it can be sent: a byte in a pipe, and no feature of Tokio's, which would cost every runtime of the process 5 % of
/// a bare start's instructions whether anybody listens or not.
async fn listen() -> Option<UnixStream> {
    match pipe() {
        Ok(terminated) => {
            register().await;
            Some(terminated)
        }
        Err(error) => {
            crate::notice::warn(format_args!("shutdown hooks will not run: SIGTERM cannot be listened for ({error})"));
            None
        }
    }
}

fn pipe() -> io::Result<UnixStream> {
    let (terminated, handler) = net::UnixStream::pair()?;
    terminated.set_nonblocking(true)?;
    let terminated = UnixStream::from_std(terminated)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, handler)?;
    Ok(terminated)
}

/// Never, where nobody listens.
async fn received(terminated: Option<&mut UnixStream>) {
    if let Some(terminated) = terminated
        && terminated.read_u8().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

async fn end() {
    // Without timers nothing is bounded but by the platform's kill.
    let timers = crate::clock::timers_run();
    let until = timers.then(|| Instant::now() + TIME);
    tracing::debug!("SIGTERM: shutdown hooks and a last flush");
    let stages = stages();
    stages.close();
    if timers && tokio::time::timeout(TIME / 3 * 2, stages.wait()).await.is_err() {
        tracing::warn!(unfinished = stages.len(), "work after the response is cut off by the shutdown");
    }
    trace::report_shutdown();
    hooks().run_shutdown(until).await;
    trace::flush_at_shutdown(until).await;
}

/// Registers an internal extension that asks for no events, and waits for the one it will not get in a task of its own: by asking
/// for it an extension says that it is ready.
async fn register() {
    let client = PooledClient::builder().build();
    let request = build_request()
        .method("POST")
        .uri("/2020-01-01/extension/register")
        .header("lambda-extension-name", NAME)
        .header("content-type", "application/json")
        .body(Body::from(r#"{"events":[]}"#.to_owned()));
    let response = match request {
        Ok(request) if crate::clock::timers_run() => match tokio::time::timeout(REGISTERING, client.call(request)).await {
            Ok(response) => response,
            Err(_) => Err("no answer within a second".into()),
        },
        Ok(request) => client.call(request).await,
        Err(error) => Err(error.into()),
    };
    let refused = match response {
        Ok(response) if response.status().is_success() => {
            match response.headers().get("lambda-extension-identifier").cloned() {
                Some(id) => {
                    let next = build_request().uri("/2020-01-01/extension/event/next").header("lambda-extension-identifier", id);
                    if let Ok(next) = next.body(Body::empty()) {
                        // The client lives as long as its call.
                        let call: Work = Box::pin(async move { drop(client.call(next).await) });
                        tokio::spawn(call);
                    }
                    return;
                }
                None => "no identifier was given".to_owned(),
            }
        }
        Ok(response) => format!("status {}", response.status()),
        Err(error) => error.to_string(),
    };
    crate::notice::warn(format_args!("no extension could be registered, so shutdown hooks will not run here: {refused}"));
}
