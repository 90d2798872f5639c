//! A function that ends as its event says, so that `deploy/verify` can compare what the caller, the log and X-Ray show with what must be there.
//!
//! `{"act": "respond"}` and its siblings are in [`Act`]. The variable `PLANTED_FAULT` makes one of them wrong, to show that the comparison
//! notices it.

use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, deadline::fallback, service_fn};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How long the work after a response takes.
const WORK: Duration = Duration::from_millis(300);

/// Invocations of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

#[derive(Deserialize)]
struct Event {
    act: Act,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Act {
    /// Responds with the number of the invocation in its process.
    Respond,
    /// Returns an error.
    Fail,
    /// Panics.
    Panic,
    /// Waits for longer than the deadline.
    Wait,
    /// Ends the process.
    Abort,
    /// Responds, and works after that.
    AfterResponse,
    /// The same; the log says when the work was done.
    Billed,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    if !is_planted("init-spans") {
        life.init("outcomes", async { Ok::<_, Error>(()) }).await?;
    }
    if is_planted("deadline") {
        return life.run(fallback(service_fn(end), |_| json!("a response at the deadline"))).await;
    }
    life.run(service_fn(end)).await
}

/// Whether the fault of this assertion is planted.
fn is_planted(assertion: &str) -> bool {
    std::env::var("PLANTED_FAULT").is_ok_and(|planted| planted == assertion)
}

async fn end(event: LambdaEvent<Event>) -> Result<Value, Error> {
    let invocation = Invocation::current();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
    match event.payload.act {
        Act::Respond => {
            respond();
            Ok(json!({ "number": if is_planted("response") && number == 1 { 0 } else { number } }))
        }
        Act::Fail => Err(if is_planted("error") { "something else" } else { "failed as asked" }.into()),
        Act::Panic => panic!("{}", if is_planted("panic") { "something else" } else { "panicked as asked" }),
        Act::Wait => std::future::pending().await,
        Act::Abort => std::process::abort(),
        Act::AfterResponse if is_planted("after-response") => {
            work().await;
            Ok(json!({ "number": number }))
        }
        Act::AfterResponse => {
            invocation.after_response(work());
            Ok(json!({ "number": number }))
        }
        Act::Billed => {
            let logged = async {
                work().await;
                tracing::info!("work is done");
            };
            if is_planted("billed") {
                drop(tokio::spawn(logged))
            } else {
                invocation.after_response(logged)
            }
            Ok(json!({ "number": number }))
        }
    }
}

#[tracing::instrument]
fn respond() {
    if is_planted("log") {
        println!("{}", json!({ "level": "INFO", "message": "responding" }));
    } else {
        tracing::info!("responding");
    }
}

#[tracing::instrument]
async fn work() {
    tokio::time::sleep(WORK).await;
}
