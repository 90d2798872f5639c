//! Work that an invocation stores for after its response.

use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

/// Work of any kind. It is boxed where it is spawned, because Tokio's task code is compiled for each type of future.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The work that an invocation has stored for after its response, and its handling: an `S`.
pub(crate) struct Deferred<S: 'static>(Mutex<Stored<S>>);

struct Stored<S: 'static> {
    work: Vec<Work>,
    stage: Option<&'static S>,
    closed: bool,
    /// The stage's task, if it waits for running work.
    waiting: Option<Waker>,
}

impl<S> Default for Deferred<S> {
    fn default() -> Self {
        Self(Mutex::new(Stored { work: Vec::new(), stage: None, closed: false, waiting: None }))
    }
}

impl<S> Deferred<S> {
    /// Stores work, or returns it if the stage is over.
    pub(crate) fn push(&self, work: Work, stage: &'static S) -> Result<(), Work> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.closed {
            return Err(work);
        }
        stored.work.push(work);
        stored.stage = Some(stage);
        let waiting = stored.waiting.take();
        drop(stored);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        Ok(())
    }

    /// The stage is over, and work that is stored from here on starts at once. Returns the stored work that has not started.
    pub(crate) fn close(&self) -> Vec<Work> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.closed = true;
        std::mem::take(&mut stored.work)
    }

    /// Like [`close`](Self::close) if nothing is stored; otherwise returns false.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.closed |= stored.work.is_empty();
        stored.closed
    }

    /// True if the stage is over.
    #[cfg(feature = "aws-sdk")]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    /// `None` if nothing was ever stored.
    pub(crate) fn stage(&self) -> Option<&'static S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).stage
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).work.is_empty()
    }

    pub(crate) fn take(&self) -> Vec<Work> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).work)
    }

    /// Ready when work is stored.
    pub(crate) fn poll_stored(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !stored.work.is_empty() {
            return Poll::Ready(());
        }
        stored.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}
