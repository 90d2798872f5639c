//! The description of a function that an expired wait shows.

use super::shared::Shared;
use crate::wait::Describe;
use std::fmt::Write as _;

/// How many events, lines and documents are shown.
const SHOWN: usize = 30;

impl Describe for Shared {
    fn describe(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "function {}", self.settings.name);
        show(&mut text, "timeline", &self.timeline.entries(), ToString::to_string);
        show(&mut text, "log", &self.logs.entries(), |line| line.text.chars().take(300).collect());
        let traces = &self.settings.traces;
        let _ = writeln!(text, "  {traces:?}");
        show(&mut text, "documents", &traces.history(), |document| {
            let outcome = document.annotation("outcome").unwrap_or("-");
            let state = if document.in_progress { "in progress" } else { outcome };
            format!("{} {} {:?} {state}", document.trace_id, document.id, document.name)
        });
        text
    }
}

fn show<T>(text: &mut String, what: &str, all: &[T], line: impl Fn(&T) -> String) {
    let left_out = all.len().saturating_sub(SHOWN);
    let _ = writeln!(text, "  {what}: {}, of which the last {}", all.len(), all.len() - left_out);
    for one in &all[left_out..] {
        let _ = writeln!(text, "    {}", line(one));
    }
}
