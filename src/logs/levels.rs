//! Which events are lines of the log: at once, in sampled invocations only, or only where their invocation fails.

use crate::{Invocation, directives::highest_level};
use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::filter::Targets;

/// The levels by target. The last two are off unless they are set.
pub(super) struct Levels {
    pub(super) always: Targets,
    /// In invocations that are recorded.
    pub(super) sampled: Targets,
    /// Kept by the invocation until it fails.
    pub(super) kept: Targets,
}

/// The destination of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Write,
    Keep,
    Ignore,
}

impl Levels {
    /// False of what is never a line.
    pub(super) fn may_want(&self, metadata: &Metadata<'_>) -> bool {
        self.would_enable(metadata.target(), *metadata.level())
    }

    pub(super) fn would_enable(&self, target: &str, level: Level) -> bool {
        [&self.always, &self.sampled, &self.kept].iter().any(|targets| targets.would_enable(target, &level))
    }

    pub(super) fn is_always(&self, metadata: &Metadata<'_>) -> bool {
        self.always.would_enable(metadata.target(), metadata.level())
    }

    /// Of an event that is not wanted always.
    pub(super) fn fate(&self, metadata: &Metadata<'_>, invocation: Option<&Invocation>) -> Fate {
        let Some(invocation) = invocation.filter(|invocation| !invocation.is_detached()) else { return Fate::Ignore };
        let (target, level) = (metadata.target(), metadata.level());
        if invocation.is_recorded() && self.sampled.would_enable(target, level) {
            Fate::Write
        } else if !self.kept.would_enable(target, level) {
            Fate::Ignore
        } else if invocation.has_released_lines() {
            Fate::Write
        } else {
            Fate::Keep
        }
    }

    pub(super) fn highest(&self) -> LevelFilter {
        [&self.always, &self.sampled, &self.kept].map(highest_level).into_iter().max().unwrap_or(LevelFilter::OFF)
    }
}
