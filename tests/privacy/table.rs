//! The table: what is in which output.

use crate::{
    calls::{Call, calls},
    outputs::{Output, Outputs, Way},
    support::{Tested, ensure, test},
};
use lambda_lifecycle_sandbox::function::FunctionBuilder;
use libtest_mimic::Trial;
use std::{collections::BTreeSet, fmt::Write as _};

use Output::{Datagrams, ErrorResponse, Exporter, InitError, LogJson, LogText, Otlp, Stdout};

const NOWHERE: &[Output] = &[];
const TRACE: &[Output] = &[Datagrams, Otlp, Stdout, Exporter];
const LOG: &[Output] = &[LogText, LogJson];
const TRACE_AND_LOG: &[Output] = &[Datagrams, Otlp, Stdout, Exporter, LogText, LogJson];
const ALL_OF_AN_INVOCATION: &[Output] = &[Datagrams, Otlp, Stdout, Exporter, LogText, LogJson, ErrorResponse];
const ALL_OF_INIT: &[Output] = &[LogText, LogJson, InitError];

/// Each canary, and the outputs it is in. With a redactor that knows canaries it is in none.
pub(crate) const TABLE: [(&str, &[Output]); 55] = [
    // Data of the event: only the fields that the README names.
    ("MARKED-event-value-x", NOWHERE),
    ("MARKED-event-key-x", NOWHERE),
    ("MARKED-client-context-x", NOWHERE),
    ("MARKED-execution-name-x", TRACE),
    ("MARKED-tenant-x", TRACE),
    ("MARKED-http-body-x", NOWHERE),
    ("MARKED-http-header-x", NOWHERE),
    ("MARKED-http-cookie-x", NOWHERE),
    ("MARKED-http-authorization-x", NOWHERE),
    ("MARKED-http-forwarded-for-x", NOWHERE),
    ("MARKED-http-source-ip-x", NOWHERE),
    ("MARKED-http-query-x", NOWHERE),
    ("MARKED-http-path-x", TRACE),
    ("MARKED-http-user-agent-x", TRACE),
    ("MARKED-message-body-x", NOWHERE),
    ("MARKED-message-attribute-x", NOWHERE),
    ("MARKED-message-group-x", NOWHERE),
    ("MARKED-message-id-x", TRACE_AND_LOG),
    ("MARKED-record-data-x", NOWHERE),
    ("MARKED-record-image-x", NOWHERE),
    ("MARKED-record-key-x", NOWHERE),
    ("MARKED-record-header-x", NOWHERE),
    // Events that cannot be decoded.
    ("MARKED-decoding-value-x", NOWHERE),
    ("MARKED-decoding-key-x", NOWHERE),
    ("MARKED-decoding-map-key-x", NOWHERE),
    ("MARKED-decoding-expected-a-x", NOWHERE),
    ("MARKED-decoding-invalid-number-x", NOWHERE),
    ("MARKED-decoding-invalid-value-x", NOWHERE),
    ("MARKED-decoding-missing-field-x", NOWHERE),
    ("MARKED-decoding-own-words-x", NOWHERE),
    ("MARKED-decoding-message-x", NOWHERE),
    // Texts of the handler.
    ("MARKED-error-x", ALL_OF_AN_INVOCATION),
    ("MARKED-panic-x", ALL_OF_AN_INVOCATION),
    ("MARKED-error-type-x", ALL_OF_AN_INVOCATION),
    ("MARKED-stream-error-x", ALL_OF_AN_INVOCATION),
    ("MARKED-stream-panic-x", ALL_OF_AN_INVOCATION),
    ("MARKED-message-error-x", TRACE_AND_LOG),
    ("MARKED-message-panic-x", TRACE_AND_LOG),
    ("MARKED-error-event-x", TRACE_AND_LOG),
    ("MARKED-info-event-x", LOG),
    ("MARKED-log-field-x", LOG),
    ("MARKED-span-field-x", TRACE),
    ("MARKED-span-name-x", TRACE),
    ("MARKED-span-event-x", TRACE),
    ("MARKED-link-x", TRACE),
    ("MARKED-status-x", TRACE),
    ("MARKED-annotation-x", TRACE),
    ("MARKED-resource-x", &[Otlp, Exporter]),
    // Texts of other services.
    ("MARKED-aws-json-x", NOWHERE),
    ("MARKED-aws-xml-x", NOWHERE),
    ("MARKED-url-password-x", NOWHERE),
    ("MARKED-url-query-x", NOWHERE),
    ("MARKED-init-error-x", ALL_OF_INIT),
    ("MARKED-init-panic-x", ALL_OF_INIT),
    ("MARKEDInitTypeX", ALL_OF_INIT),
];

/// A test for each way to run the functions: the outputs of one exclude those of the other.
pub(crate) fn tests() -> Vec<Trial> {
    let mut tests = Vec::new();
    for way in [Way::Plain, Way::Structured, Way::Otlp] {
        tests.push(test(format!("{way:?}: every canary is in the outputs that the table names, and in no other"), move || {
            plain(way, false)
        }));
        tests.push(test(format!("{way:?}: metrics hold no canary that the table does not name"), move || plain(way, true)));
        tests.push(test(format!("{way:?}: with a redactor no canary is in any output"), move || redacted(way)));
    }
    tests
}

async fn plain(way: Way, metrics: bool) -> Tested {
    let outputs = run(way, false, metrics).await?;
    if metrics {
        ensure(!outputs.with("CloudWatchMetrics").is_empty(), "no metrics")?;
    }
    let mut wrong = String::new();
    for (canary, places) in TABLE {
        let expected: BTreeSet<Output> = places.iter().copied().filter(|output| way.has(*output)).collect();
        let found = outputs.with(canary);
        if found != expected {
            let _ = writeln!(wrong, "{canary} is in {found:?}, expected {expected:?}: {}", outputs.example(canary));
        }
    }
    ensure(wrong.is_empty(), wrong)
}

async fn redacted(way: Way) -> Tested {
    let outputs = run(way, true, true).await?;
    let found = outputs.with("MARKED");
    ensure(found.is_empty(), format!("in {found:?}: {}", outputs.example("MARKED")))?;
    let redacted = outputs.with("(redacted)");
    let wanted: BTreeSet<Output> = Output::ALL.into_iter().filter(|output| way.has(*output)).collect();
    ensure(redacted == wanted, format!("redacted in {redacted:?}, expected {wanted:?}: this test shows nothing of the others"))
}

async fn run(way: Way, redact: bool, metrics: bool) -> Result<Outputs, libtest_mimic::Failed> {
    let calls = calls();
    let mentioned: String = calls.iter().map(Call::text).collect();
    for (canary, _) in TABLE {
        ensure(mentioned.contains(canary), format!("no call brings in {canary}"))?;
    }
    let change = |function: FunctionBuilder| {
        let function = if redact { function.env("REDACT", "on") } else { function };
        if metrics { function.env("LAMBDA_LIFECYCLE_METRICS_NAMESPACE", "Shop") } else { function }
    };
    Outputs::of(calls, way, change).await
}
