//! The parts of an invocation that the metrics use.

use super::{Invocation, Measured, Notes};
use crate::clock;
use std::time::Instant;

impl Invocation {
    /// `None` if metrics are disabled.
    pub(crate) fn measured(&self) -> Option<&Measured> {
        self.0.measured.as_deref()
    }

    /// The time when its event was received.
    pub(crate) fn received(&self) -> Instant {
        self.0.facts.received
    }

    /// Records that the handler has ended.
    pub(super) fn mark_handled(&self) {
        if let Some(measured) = self.measured() {
            measured.lock().handled = Some(clock::now());
        }
    }
}

impl Notes {
    /// Whether the invocation failed, for its caller or for the platform.
    pub(crate) fn is_fault(&self) -> bool {
        match &self.outcome {
            Some(outcome) => outcome.diagnostic().is_some() || self.http_status.is_some_and(|status| status >= 500),
            None => self.handled,
        }
    }
}
