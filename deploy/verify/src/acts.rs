//! The acts of `examples/outcomes.rs`, with what must come of each: the rows of docs/outcomes.md.

use crate::{parts::Class, target::Invoked};

/// The result that the caller must get.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// A response with this key, whose value is neither 0 nor false.
    Response(&'static str),
    /// An error, whose type and message contain these.
    Error(&'static str, &'static str),
    /// The platform's error.
    Ended,
}

/// The span that the trace of a sampled invocation must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The outcome, and whether it is a fault.
    Finished(&'static str, bool),
    /// An invocation without an end.
    Unfinished,
    /// No span of an invocation.
    Nothing,
}

/// One invocation with its expected result.
#[derive(Debug)]
pub(crate) struct Act {
    /// For most rows also the id of the assertion about it.
    pub(crate) label: &'static str,
    pub(crate) event: &'static str,
    pub(crate) class: Class,
    /// Its row in docs/outcomes.md.
    pub(crate) row: Option<&'static str>,
    pub(crate) caller: Caller,
    pub(crate) shown: Shown,
}

const fn act(label: &'static str, event: &'static str, class: Class, row: &'static str, caller: Caller, shown: Shown) -> Act {
    Act { label, event, class, row: Some(row), caller, shown }
}

const fn further(label: &'static str, event: &'static str) -> Act {
    Act { label, event, class: Class::Plain, row: None, caller: NUMBER, shown: RESPONDED }
}

const NUMBER: Caller = Caller::Response("number");
pub(crate) const RESPONDED: Shown = Shown::Finished("responded", false);
const PANICKED: Shown = Shown::Finished("panicked", true);
const PANIC: Caller = Caller::Error("Lifecycle.Panic", "panicked as asked");

/// In this order. `abort` comes first: the process that it ends makes the next invocation a cold start.
#[rustfmt::skip]
pub(crate) const ACTS: [Act; 26] = [
    act("abort", r#"{"act":"abort"}"#, Class::Plain, "`process::abort`", Caller::Ended, Shown::Unfinished),
    act("response", r#"{"act":"respond"}"#, Class::Plain, "response", NUMBER, RESPONDED),
    act("error", r#"{"act":"fail"}"#, Class::Plain, "error", Caller::Error("", "failed as asked"), Shown::Finished("failed", true)),
    act("panic", r#"{"act":"panic"}"#, Class::Plain, "panic in the handler", PANIC, PANICKED),
    further("respond-again", r#"{"act":"respond"}"#),
    further("after-response", r#"{"act":"after_response"}"#),
    further("billed", r#"{"act":"billed"}"#),
    act("panic-in-constructor", r#"{"act":"panic_in_constructor"}"#, Class::Plain, "panic in the constructor of the future", PANIC, PANICKED),
    act("undecodable", r#"{"act":5}"#, Class::Plain, "undecodable payload",
        Caller::Error("Lifecycle.UndecodableEvent", "column"), Shown::Finished("undecodable_event", true)),
    act("panic-in-deserialize", r#"{"act":"panic_in_deserialize"}"#, Class::Plain, "panic in `Deserialize`", PANIC, PANICKED),
    act("panic-in-serialize", r#"{"act":"panic_in_serialize"}"#, Class::Plain, "panic in `Serialize`", PANIC, PANICKED),
    act("error-in-serialize", r#"{"act":"fail_in_serialize"}"#, Class::Plain, "error in `Serialize`",
        Caller::Error("Lifecycle.UnencodableResponse", "failed as asked"), Shown::Finished("unencodable_response", true)),
    act("too-large", r#"{"act":"too_large"}"#, Class::Plain, "response too large",
        Caller::Error("Lifecycle.ResponseTooLarge", ""), Shown::Finished("response_too_large", true)),
    act("panicking-hook", r#"{"act":"panic_in_hook"}"#, Class::Hooks, "panicking hook", NUMBER, RESPONDED),
    act("kill", r#"{"act":"kill"}"#, Class::Plain, "kill by the platform", Caller::Ended, Shown::Unfinished),
    act("shut-down", r#"{"act":"terminate"}"#, Class::Plain, "SIGTERM while busy", Caller::Ended, Shown::Finished("shut_down", true)),
    act("deadline", r#"{"act":"wait"}"#, Class::Deadline, "deadline while awaiting",
        Caller::Error("Lifecycle.DeadlineExceeded", ""), Shown::Finished("deadline_exceeded", true)),
    act("cleanup", r#"{"act":"clean_up"}"#, Class::CleanUp, "deadline with cleanup", Caller::Response("cleaned_up"), RESPONDED),
    act("hung-work", r#"{"act":"hang_after_response"}"#, Class::HungWork, "hung background work", NUMBER, RESPONDED),
    act("blocked", r#"{"act":"block"}"#, Class::Blocking, "deadline while blocking", Caller::Ended, Shown::Finished("blocked", true)),
    act("memory", r#"{"act":"use_memory"}"#, Class::Memory, "memory used up", Caller::Ended, Shown::Unfinished),
    act("stream-deadline", r#"{"act":"wait"}"#, Class::StreamDeadline, "deadline in a stream",
        Caller::Error("Lifecycle.DeadlineExceeded", ""), Shown::Finished("deadline_exceeded", true)),
    act("stream-error", r#"{"act":"fail"}"#, Class::Stream, "error in a stream",
        Caller::Error("Lifecycle.StreamBroken", "failed as asked"), Shown::Finished("stream_broken", true)),
    act("stream-panic", r#"{"act":"panic"}"#, Class::Stream, "panic in a stream", PANIC, PANICKED),
    act("init-failure", r#"{"act":"respond"}"#, Class::InitFails, "init failure", Caller::Error("", "failed as asked"), Shown::Nothing),
    act("init-over-budget", r#"{"act":"respond"}"#, Class::InitHangs, "init over budget",
        Caller::Error("Lifecycle.InitOverBudget", "outcomes"), Shown::Nothing),
];

/// Rows of docs/outcomes.md that no caller can bring about.
pub(crate) const NOT_WALKED: [(&str, &str); 7] = [
    ("response refused as too large", "the library refuses such a response before Lambda can"),
    ("late response", "Lambda ends an on-demand process at the deadline"),
    ("refused response", "only Lambda can refuse a response"),
    ("broken connection", "only Lambda can break the connection"),
    ("SIGTERM while idle", "Lambda decides when it ends an idle process"),
    ("hung exporter", "the functions of the stack have no exporter"),
    ("absent daemon", "Lambda runs a daemon for each environment"),
];

impl Act {
    /// Whether the caller got what it must get.
    pub(crate) fn check_caller(&self, invoked: &Invoked) -> Result<(), String> {
        let text = |key: &str| invoked.payload[key].as_str().unwrap_or_default();
        let fits = match self.caller {
            Caller::Response(key) => {
                let value = &invoked.payload[key];
                invoked.function_error.is_none() && (value.as_u64().is_some_and(|number| number > 0) || value == true)
            }
            Caller::Error(kind, message) => {
                invoked.function_error.is_some() && text("errorType").contains(kind) && text("errorMessage").contains(message)
            }
            // `Sandbox.Timedout` and `Runtime.ExitError` are the platform's types.
            Caller::Ended => invoked.function_error.is_some() && !text("errorType").starts_with("Lifecycle."),
        };
        if fits { Ok(()) } else { Err(format!("the caller of {} got {}", self.label, invoked.shown())) }
    }
}

/// The act with this label.
pub(crate) fn act_named(label: &str) -> Option<&'static Act> {
    ACTS.iter().find(|act| act.label == label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_outcome_is_walked_or_has_a_reason() {
        let page = include_str!("../../../docs/outcomes.md");
        let rows = page.lines().skip_while(|line| !line.starts_with("| outcome |")).skip(2);
        let rows = rows.map_while(|line| line.strip_prefix('|')).filter_map(|row| row.split('|').next());
        let mut documented: Vec<&str> = rows.map(str::trim).collect();
        let mut known: Vec<&str> = ACTS.iter().filter_map(|act| act.row).chain(NOT_WALKED.map(|(row, _)| row)).collect();
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, documented);
    }
}
