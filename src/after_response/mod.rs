//! Stage 4: after the response. Work that runs when the caller has its answer, before the next event is asked for.
//!
//! A handler stores such work with [`Invocation::after_response`]; position A spawns it once the answer was posted, so it delays
//! no answer, whatever it does. It has until the invocation's hard point; what is unfinished then is cancelled and logged.

use crate::{invocation::CURRENT, invocation::Invocation, outcome::panic_message};
use opentelemetry::{Context, context::FutureExt as _};
use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Instant,
};
use tokio::task::JoinSet;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The work an invocation has stored for after its response.
#[derive(Default)]
pub(crate) struct Deferred(Mutex<Vec<Work>>);

impl Deferred {
    pub(crate) fn push(&self, owner: &Invocation, work: Work) {
        if owner.request_id().is_empty() {
            // Nobody posts a response for a detached invocation: the work would never run.
            if let Ok(handle) = tokio::runtime::Handle::try_current() {
                drop(handle.spawn(CURRENT.scope(owner.clone(), work)));
            } else {
                tracing::warn!("after_response outside of an invocation and of a Tokio runtime: the work is dropped");
            }
            return;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(work);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn take(&self) -> Vec<Work> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What became of the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) finished: usize,
    pub(crate) panicked: usize,
    pub(crate) cancelled: usize,
}

/// Runs the stored work, and what that work stores in its turn, until all is done or `until`.
pub(crate) async fn run(invocation: &Invocation, context: &Context, until: Option<Instant>) -> Report {
    let mut report = Report::default();
    let mut tasks = JoinSet::new();
    loop {
        for work in invocation.deferred().take() {
            tasks.spawn(CURRENT.scope(invocation.clone(), work).with_context(context.clone()));
        }
        let joined = match until {
            Some(until) => match tokio::time::timeout_at(until.into(), tasks.join_next()).await {
                Ok(joined) => joined,
                Err(_) => break,
            },
            None => tasks.join_next().await,
        };
        match joined {
            Some(Ok(())) => report.finished += 1,
            Some(Err(error)) => {
                report.panicked += 1;
                if let Ok(payload) = error.try_into_panic() {
                    tracing::error!("work after the response panicked: {}", panic_message(&*payload));
                }
            }
            None if invocation.deferred().is_empty() => return report,
            None => {}
        }
    }
    report.cancelled = tasks.len();
    tracing::warn!(
        cancelled = report.cancelled,
        "work after the response was not done before the deadline and is cancelled: move it to a queue, or raise the timeout"
    );
    tasks.shutdown().await;
    report
}
