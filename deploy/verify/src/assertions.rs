//! The assertions, as data: what is asserted, how it is read, and the fault that makes it fail.

use crate::{
    checks::{self, Verdict},
    observed::Observed,
    parts::Part,
};

/// Where the fault of an assertion is planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The function itself does something else: `PLANTED_FAULT` of `examples/outcomes.rs`.
    Function,
    /// A variable of the function.
    Variable(&'static str, &'static str),
    /// Documents are changed or lost on their way to the daemon.
    Relay,
    /// Lambda's pollers do something else.
    Mapping,
}

/// One assertion.
pub(crate) struct Assertion {
    pub(crate) id: &'static str,
    /// The claim.
    pub(crate) claim: &'static str,
    /// How it is read.
    pub(crate) source: &'static str,
    /// The part of the walk that it is about.
    pub(crate) part: Part,
    pub(crate) fault: Fault,
    pub(crate) check: fn(&Observed) -> Verdict,
}

const INVOKE: &str = "Invoke";
const XRAY: &str = "X-Ray";
const LOGS: &str = "CloudWatch Logs";
const BOTH: &str = "Invoke, X-Ray";

const fn traced(
    id: &'static str,
    claim: &'static str,
    source: &'static str,
    fault: Fault,
    check: fn(&Observed) -> Verdict,
) -> Assertion {
    Assertion { id, claim, source, part: Part::Traced, fault, check }
}

/// A row of docs/outcomes.md: the act has the id of the assertion.
macro_rules! row {
    ($id:literal, $claim:literal) => {
        traced($id, $claim, BOTH, Fault::Function, |observed| checks::row(observed, $id))
    };
}

/// All assertions, in the order of the report.
#[rustfmt::skip]
pub(crate) const ASSERTIONS: [Assertion; 42] = [
    traced("response", "The caller gets the handler's response.", INVOKE, Fault::Function, |observed| checks::caller(observed, "response")),
    traced("error", "The caller gets the handler's error.", INVOKE, Fault::Function, |observed| checks::caller(observed, "error")),
    traced("panic", "A panic reaches the caller as Lifecycle.Panic, and the process serves the next invocation.", INVOKE, Fault::Function, checks::panic),
    traced("deadline", "The caller gets Lifecycle.DeadlineExceeded before Lambda ends the invocation.", INVOKE, Fault::Function,
        |observed| checks::caller(observed, "deadline")),
    traced("outcomes", "The trace names the outcome of each invocation.", XRAY, Fault::Relay, checks::outcomes),
    traced("faults", "Failed invocations are faults in the trace, and no others.", XRAY, Fault::Relay, checks::faults),
    row!("panic-in-constructor", "A panic before the handler's future exists is a panic of the handler."),
    row!("undecodable", "An event that cannot be decoded is refused with its line and column."),
    row!("panic-in-deserialize", "A panic while the event is decoded is a panic of the handler."),
    row!("panic-in-serialize", "A panic while the response is encoded is a panic of the handler."),
    row!("error-in-serialize", "A response that cannot be encoded is Lifecycle.UnencodableResponse."),
    row!("too-large", "A response that Lambda would refuse is Lifecycle.ResponseTooLarge."),
    row!("cleanup", "A handler that responds when its token is canceled has responded in time."),
    row!("blocked", "Lambda ends a handler that blocks its thread, and the trace says that it was blocked."),
    row!("stream-deadline", "A stream that is not done at the deadline breaks off with Lifecycle.DeadlineExceeded."),
    row!("stream-error", "A stream that fails breaks off with Lifecycle.StreamBroken."),
    row!("stream-panic", "A stream that panics breaks off with Lifecycle.Panic."),
    row!("shut-down", "An invocation that SIGTERM cuts off is in the trace as shut down."),
    traced("hung-work", "Work after the response that never ends is canceled, and is a fault in the trace.", BOTH, Fault::Function, checks::hung_work),
    traced("panicking-hook", "A hook that panics affects neither the response nor the next hook.", "Invoke, CloudWatch Logs", Fault::Function,
        checks::panicking_hook),
    traced("init-failure", "The caller gets the error of an initializer that fails.", INVOKE, Fault::Function,
        |observed| checks::caller(observed, "init-failure")),
    traced("init-over-budget", "The caller gets the name of an initializer that exceeds its budget.", INVOKE, Fault::Function,
        |observed| checks::caller(observed, "init-over-budget")),
    traced("in-progress", "An invocation whose process ends is in the trace, unfinished.", BOTH,
        Fault::Variable("LAMBDA_LIFECYCLE_TRACE_IN_PROGRESS", "off"), checks::in_progress),
    traced("init-spans", "The first invocation of a process has the spans of its initializers.", XRAY, Fault::Function, checks::init_spans),
    traced("after-response", "Work after the response ends after the caller has its response.", XRAY, Fault::Function, checks::after_response),
    traced("billed", "Work after the response is done before the environment is frozen, and it is billed.", LOGS, Fault::Function, checks::billed),
    traced("billed-without-work", "Without work after the response, none is measured and none is billed.", LOGS, Fault::Function, checks::billed_without),
    traced("times", "The handler's time that the library measured is within the times of Lambda and of the caller.", "Invoke, CloudWatch Logs",
        Fault::Function, checks::times),
    traced("sent", "X-Ray shows every document that a function logged as sent.", "CloudWatch Logs, X-Ray", Fault::Relay, checks::sent),
    traced("log", "A log line carries the request id and the trace id of its invocation.", LOGS, Fault::Function, checks::log),
    traced("metrics", "The metrics of an invocation name its outcome once, as the trace does.", "CloudWatch Logs, X-Ray", Fault::Function, checks::metrics),
    traced("metrics-found", "CloudWatch has each value that the functions wrote as metrics, once.", "CloudWatch Logs, CloudWatch",
        Fault::Variable("LAMBDA_LIFECYCLE_METRICS_NAMESPACE", "Elsewhere"), checks::metrics_found),
    Assertion {
        id: "not-sampled", claim: "Without sampling, callers get the same responses and errors.", source: INVOKE, part: Part::NotSampled,
        fault: Fault::Function, check: |observed| checks::environment(observed, Part::NotSampled),
    },
    Assertion {
        id: "not-sampled-silent", claim: "An invocation that is not sampled sends no documents.", source: "CloudWatch Logs, X-Ray",
        part: Part::NotSampled, fault: Fault::Function, check: checks::silent,
    },
    Assertion {
        id: "pass-through", claim: "Under PassThrough, callers get the same responses and errors.", source: INVOKE, part: Part::PassThrough,
        fault: Fault::Function, check: |observed| checks::environment(observed, Part::PassThrough),
    },
    Assertion {
        id: "managed", claim: "On Managed Instances, callers get the same responses and errors, and the trace has the same outcomes.",
        source: BOTH, part: Part::Managed, fault: Fault::Function, check: |observed| checks::environment(observed, Part::Managed),
    },
    Assertion {
        id: "sqs-node", claim: "The call to SQS is in the sender's trace, with its operation and the queue's URL.", source: XRAY, part: Part::Orders,
        fault: Fault::Relay, check: checks::sqs_node,
    },
    Assertion {
        id: "sqs-map", claim: "The trace map has the queue as a node, which the sender calls.", source: "X-Ray", part: Part::Orders,
        fault: Fault::Relay, check: checks::sqs_map,
    },
    Assertion {
        id: "links", claim: "Lambda's segment of the worker links to the trace of the sender.", source: XRAY, part: Part::Orders,
        fault: Fault::Mapping, check: checks::links,
    },
    Assertion {
        id: "partial-batch", claim: "A message that succeeds is delivered once, although another of its queue fails.", source: LOGS,
        part: Part::Orders, fault: Fault::Mapping, check: checks::partial_batch,
    },
    Assertion {
        id: "redelivery", claim: "A message that fails is delivered again, and then succeeds.", source: LOGS, part: Part::Orders,
        fault: Fault::Mapping, check: checks::redelivery,
    },
    Assertion {
        id: "fifo-order", claim: "A message of a FIFO queue waits until the one before it is done or in the dead-letter queue.", source: LOGS,
        part: Part::Movements, fault: Fault::Mapping, check: checks::fifo_order,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_the_assertions() {
        let page = include_str!("../../../docs/verify.md");
        let table = page.lines().skip_while(|line| *line != "| assertion | claim | read from |").skip(2);
        let rows: Vec<String> = table.take_while(|line| line.starts_with("| `")).map(|line| line.replace('`', "")).collect();
        let wanted: Vec<String> = ASSERTIONS
            .iter()
            .map(|assertion| format!("| {} | {} | {} |", assertion.id, assertion.claim, assertion.source))
            .collect();
        assert_eq!(rows, wanted);
    }

    #[test]
    fn every_act_of_a_row_has_an_assertion() {
        let has = |id: &str| ASSERTIONS.iter().any(|assertion| assertion.id == id);
        let rows = crate::acts::ACTS.iter().filter(|act| act.row.is_some()).map(|act| act.label);
        // The three that leave an unfinished invocation have one assertion.
        let without: Vec<&str> = rows.filter(|label| !has(label)).collect();
        assert_eq!(without, ["abort", "kill", "memory"]);
    }
}
