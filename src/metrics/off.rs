//! The same calls without the feature `metrics-emf`: nothing is measured.
#![allow(clippy::unused_self, reason = "the same calls with and without the feature")]

use crate::{Invocation, invocation::Shared};

pub(crate) fn begun(_: &Invocation) {}

pub(crate) fn posted(_: &Invocation) {}

pub(crate) fn finished(_: &Invocation, _: &Spent) {}

pub(crate) fn blocked(_: &Invocation) {}

pub(crate) fn cut_off(_: &Invocation) {}

pub(crate) fn shut_down(_: &Shared) {}

pub(crate) struct InitTimer;

impl InitTimer {
    pub(crate) fn begin(_: &Shared, _: &str) -> Self {
        Self
    }

    pub(crate) fn end(self, _: &Shared) {}
}

pub(crate) fn init_failed(_: &Shared) {}

#[derive(Default)]
pub(crate) struct Spent {
    pub(crate) flush: Stopwatch,
    pub(crate) work: Stopwatch,
}

impl Spent {
    pub(crate) fn new(_: &Invocation) -> Self {
        Self::default()
    }

    pub(crate) fn left_out(&mut self, _: u32) {}
}

#[derive(Default)]
pub(crate) struct Stopwatch;

impl Stopwatch {
    pub(crate) fn start_if(&mut self, _: bool) {}

    pub(crate) fn stop(&mut self) {}
}
