//! Work that an invocation stores for after its response.

use super::{CURRENT, Invocation};
use crate::notice;
use opentelemetry::{Context as OtelContext, context::FutureExt as _};
use std::{
    future::Future,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

/// Work of any kind. Boxed where it is spawned: Tokio's part of a task is compiled for each type of future.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The work an invocation has stored for after its response.
#[derive(Default)]
pub(crate) struct Deferred(Mutex<Stored>);

#[derive(Default)]
struct Stored {
    work: Vec<Work>,
    closed: bool,
    /// The stage, where it waits for work that is under way.
    stage: Option<Waker>,
}

impl Deferred {
    pub(crate) fn push(&self, owner: &Invocation, work: Work) {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if owner.is_detached() || stored.closed {
            drop(stored);
            // Nobody posts a response for a detached invocation, nor one more for one that is over: the work would never run.
            if let Ok(handle) = tokio::runtime::Handle::try_current() {
                let here = OtelContext::current();
                let is_owners = owner.is_detached() || here.get::<Invocation>().is_some_and(|invocation| invocation.is(owner));
                // Without the invocation in it, its spans would belong to nothing.
                let context = if is_owners { here } else { owner.context_without_span() };
                let work: Work = Box::pin(CURRENT.scope(owner.clone(), work).with_context(context));
                drop(handle.spawn(work));
            } else {
                notice::warn(format_args!("after_response outside of an invocation and of a Tokio runtime: the work is dropped"));
            }
            return;
        }
        stored.work.push(work);
        let stage = stored.stage.take();
        drop(stored);
        if let Some(stage) = stage {
            stage.wake();
        }
    }

    /// The stage is over: what is stored from here on begins at once. Gives back what was stored and not begun.
    pub(crate) fn close(&self) -> Vec<Work> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.closed = true;
        std::mem::take(&mut stored.work)
    }

    /// As [`close`](Self::close) if nothing is stored; false if something is.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stored.closed |= stored.work.is_empty();
        stored.closed
    }

    /// True when the stage is over.
    #[cfg(feature = "aws-sdk")]
    pub(crate) fn is_closed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).work.is_empty()
    }

    pub(crate) fn take(&self) -> Vec<Work> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).work)
    }

    /// Ready when something is stored.
    pub(crate) fn poll_stored(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !stored.work.is_empty() {
            return Poll::Ready(());
        }
        stored.stage = Some(cx.waker().clone());
        Poll::Pending
    }
}
