//! Isolates the work of one record, so that it affects no other.

use crate::panics::{self, Panic};
use opentelemetry::Context as OtelContext;
use pin_project_lite::pin_project;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

pin_project! {
    /// Runs a future in a separate context. A panic in it, or in its drop, becomes its output.
    pub(super) struct Contained<F> {
        #[pin]
        work: Option<F>,
        context: Option<OtelContext>,
    }

    impl<F> PinnedDrop for Contained<F> {
        fn drop(this: Pin<&mut Self>) {
            // The panic hook has reported the panic, and the record counts as unfinished anyway.
            let _ = this.discard();
        }
    }
}

impl<F> Contained<F> {
    pub(super) fn new(work: F, context: Option<OtelContext>) -> Self {
        Self { work: Some(work), context }
    }

    pub(super) fn context(&self) -> Option<OtelContext> {
        self.context.clone()
    }

    fn discard(self: Pin<&mut Self>) -> Result<(), Panic> {
        let mut this = self.project();
        if this.work.is_none() {
            return Ok(());
        }
        let _attached = this.context.clone().map(OtelContext::attach);
        panics::catch(|| this.work.set(None))
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        let attached = this.context.clone().map(OtelContext::attach);
        let polled = panics::catch(|| match this.work.as_mut().as_pin_mut() {
            Some(work) => {
                let polled = work.poll(cx);
                // In the same context, and its panic is the record's too.
                if polled.is_ready() {
                    this.work.set(None);
                }
                polled
            }
            None => Poll::Pending,
        });
        drop(attached);
        match polled {
            Ok(polled) => polled.map(Ok),
            Err(panic) => {
                // A second panic says no more.
                let _ = self.discard();
                Poll::Ready(Err(panic))
            }
        }
    }
}
