//! The state of the response to one event, shared by the service that posts it and the worker that waits for it.

use http::Extensions;
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};
use tokio::sync::Notify;

tokio::task_local! {
    /// For a service whose layers have removed the extensions from the event.
    static CURRENT: ResponseState;
}

const NONE: u8 = 0;
const BEGUN: u8 = 1;
const CONCLUDED: u8 = 2;

/// Stored in the event's extensions, so that it stays with the event in every layer, also in another task.
#[derive(Clone, Debug, Default)]
pub(super) struct ResponseState(Arc<State>);

#[derive(Debug, Default)]
struct State {
    state: AtomicU8,
    changed: Notify,
}

/// A post in progress. If it is dropped before it is concluded, it does not count.
#[must_use]
pub(super) struct Posting<'a>(&'a ResponseState);

/// True for an event that the library's own loop has fetched.
pub(crate) fn is_of_loop(extensions: &Extensions) -> bool {
    extensions.get::<ResponseState>().is_some()
}

impl ResponseState {
    pub(super) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().or_else(|| CURRENT.try_with(Self::clone).ok()).unwrap_or_default()
    }

    /// Runs the handling of the event.
    pub(super) fn scope<F: Future>(&self, handled: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.clone(), handled)
    }

    pub(super) fn begin(&self) -> Posting<'_> {
        self.set(BEGUN);
        Posting(self)
    }

    /// Whether the Runtime API has got a response. If a layer's task is posting one, this waits for it.
    pub(super) async fn is_concluded(&self) -> bool {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            match self.0.state.load(Ordering::Acquire) {
                BEGUN => changed.await,
                state => return state == CONCLUDED,
            }
        }
    }

    fn set(&self, state: u8) {
        self.0.state.store(state, Ordering::Release);
        self.0.changed.notify_waiters();
    }
}

impl Posting<'_> {
    /// The Runtime API has confirmed the response, or is not called any more.
    pub(super) fn conclude(self) {
        self.0.set(CONCLUDED);
    }
}

impl Drop for Posting<'_> {
    fn drop(&mut self) {
        let abandoned = self.0.0.state.compare_exchange(BEGUN, NONE, Ordering::AcqRel, Ordering::Relaxed);
        if abandoned.is_ok() {
            self.0.0.changed.notify_waiters();
        }
    }
}
