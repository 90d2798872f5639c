//! Reads variables, and collects those with an invalid value.

use crate::{
    directives,
    notice::{Problem, Warning},
    propagation::Propagators,
};
use tracing_subscriber::filter::Targets;

/// The variables of one process, or of a test.
pub(super) struct Reader<'p> {
    pub(super) get: &'p dyn Fn(&str) -> Option<String>,
    pub(super) problems: &'p mut Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn set<T>(&mut self, name: &str, wanted: &str, target: &mut T, parse: impl FnOnce(&str) -> Option<T>) {
        let Some(text) = self.text(name) else { return };
        match parse(text.trim()) {
            Some(value) => *target = value,
            None => self.problems.push(Problem::invalid(name, &text, wanted)),
        }
    }

    // Not inlined, because `set` is called for every setting.
    #[inline(never)]
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|text| !text.trim().is_empty())
    }

    pub(super) fn targets(&mut self, name: &str, target: &mut Targets) {
        if let Some(targets) = (self.get)(name).and_then(|text| directives::parse(name, &text, self.problems)) {
            *target = targets;
        }
    }

    /// Unknown values are ignored. If no known one is left, the default is used.
    pub(super) fn propagators(&mut self, name: &str, target: &mut Option<Propagators>) {
        let Some(text) = self.text(name) else { return };
        let unknown = |value: &str| {
            let problem = Problem { warning: Warning::PropagatorUnknown, ..Problem::invalid(name, value, Propagators::EXPECTED) };
            self.problems.push(problem);
        };
        if let Some(propagators) = Propagators::parse(&text, unknown) {
            *target = Some(propagators);
        }
    }

    pub(super) fn switch(&mut self, name: &str, target: &mut bool) {
        self.set(name, "on or off", target, |text| match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "1" => Some(true),
            "off" | "false" | "0" => Some(false),
            _ => None,
        });
    }
}
