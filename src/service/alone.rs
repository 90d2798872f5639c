//! The work of the surrounding layers, for a layer that is used alone.

use crate::{Invocation, after_response::release, invocation::CURRENT, metrics};
use opentelemetry::Context;

/// An invocation that the layer itself has started.
#[derive(Debug)]
pub(super) struct Alone {
    invocation: Invocation,
    context: Context,
}

impl Alone {
    pub(super) fn new(invocation: &Invocation) -> Self {
        Self { invocation: invocation.clone(), context: invocation.context_without_span() }
    }

    /// Runs a part of the handler inside of the invocation.
    pub(super) fn within<T>(&self, run: impl FnOnce() -> T) -> T {
        let _attached = self.context.clone().attach();
        CURRENT.sync_scope(self.invocation.clone(), run)
    }
}

/// When the handler ends, in any way, its metrics are written and its work for after the response starts.
impl Drop for Alone {
    fn drop(&mut self) {
        metrics::posted(&self.invocation);
        metrics::finished(&self.invocation, &metrics::Spent::default());
        release(&self.invocation);
    }
}
