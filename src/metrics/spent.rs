//! The durations of the stage after the response.

use crate::{Invocation, clock};
use std::time::{Duration, Instant};

/// The durations of the stage's parts, if metrics are enabled.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    /// The time of sending spans.
    pub(crate) flush: Stopwatch,
    /// The time of work that was stored for after the response, and of hooks.
    pub(crate) work: Stopwatch,
    pub(super) spans_left_out: u32,
}

/// Sums the time between its starts and its stops.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    is_on: bool,
    started: Option<Instant>,
    pub(super) total: Option<Duration>,
}

impl Spent {
    pub(crate) fn new(invocation: &Invocation) -> Self {
        let watch = || Stopwatch { is_on: invocation.is_measured(), ..Stopwatch::default() };
        Self { flush: watch(), work: watch(), spans_left_out: 0 }
    }

    /// Whether anything was measured.
    pub(super) fn has_some(&self) -> bool {
        self.flush.total.is_some() || self.work.total.is_some() || self.spans_left_out > 0
    }

    /// Counts spans beyond X-Ray's limit.
    pub(crate) fn left_out(&mut self, spans: u32) {
        self.spans_left_out = self.spans_left_out.saturating_add(spans);
    }
}

impl Stopwatch {
    /// Starts it if metrics are enabled.
    pub(crate) fn start_if(&mut self, condition: bool) {
        if condition && self.is_on {
            self.started = Some(clock::now());
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(started) = self.started.take() {
            let passed = clock::now().saturating_duration_since(started);
            self.total = Some(self.total.unwrap_or_default() + passed);
        }
    }
}
