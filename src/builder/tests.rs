//! That options, variables and their page agree.

use crate::settings::Settings;
use std::collections::BTreeSet;

/// The files that have methods.
const SOURCES: [&str; 6] = [
    include_str!("mod.rs"),
    include_str!("log.rs"),
    include_str!("trace.rs"),
    include_str!("exporters.rs"),
    include_str!("metrics.rs"),
    include_str!("hooks.rs"),
];

/// Each variable, and the method that sets the same in code.
const BOTH: [(&str, &str); 30] = [
    ("LOG", "log"),
    ("LOG_SPAN_FIELDS", "log_span_fields"),
    ("LOG_STANDARD_KEYS", "log_standard_keys"),
    ("LOG_BUFFER", "log_buffer"),
    ("LOG_BUFFER_BYTES", "log_buffer_bytes"),
    ("LOG_SAMPLED", "log_sampled"),
    ("CORRELATION_ID", "correlation_id"),
    ("TRACE", "trace"),
    ("TRACE_FILTER", "trace_filter"),
    ("TRACE_EVENTS", "trace_events"),
    ("TRACE_PARENT", "trace_parent"),
    ("OTEL_PROPAGATORS", "propagators"),
    ("TRACE_EXPORT", "export"),
    ("TRACE_PRINT", "trace_print"),
    ("TRACE_IN_PROGRESS", "in_progress"),
    ("TRACE_BUDGET", "trace_budget"),
    ("TRACE_VARIABLE", "trace_variable"),
    ("TRACE_AWS_ERROR_MESSAGES", "aws_error_messages"),
    ("TRACE_SENDS", "trace_sends"),
    ("INIT_BUDGET", "init_budget"),
    ("WARM_UP", "warm_up"),
    ("DEADLINE", "deadline"),
    ("DEADLINE_GRACE", "grace"),
    ("DEADLINE_RESERVE", "reserve"),
    ("WATCHDOG", "watchdog"),
    ("AFTER_RESPONSE", "unfinished"),
    ("AFTER_RESPONSE_BUDGET", "after_response_budget"),
    ("SHUTDOWN_BUDGET", "shutdown_budget"),
    ("METRICS_NAMESPACE", "metrics_namespace"),
    ("METRICS_BUILT_IN", "metrics_built_in"),
];

/// Options that are set in code only, with the reason.
const IN_CODE: [(&str, &str); 17] = [
    ("log_key", "a value has a type, and a key of the deployment is a variable that code reads"),
    ("exporter", "an exporter is a value"),
    ("async_exporter", "an exporter is a value"),
    ("sampler", "OTEL_TRACES_SAMPLER sets it, with OpenTelemetry's name"),
    ("resource_attribute", "OTEL_RESOURCE_ATTRIBUTES sets it, with OpenTelemetry's name"),
    ("xray_api", "a client is a value"),
    ("flush", "it concerns exporters, which are set in code"),
    ("metrics_dimensions", "they are pairs of names and values"),
    ("service_name", "its variable is `POWERTOOLS_SERVICE_NAME`, which functions in all languages share"),
    ("annotations", "which attributes may be indexed is decided where they are made"),
    ("redact", "a redactor is code"),
    ("after_response", "a hook is code"),
    ("on_unfinished", "a hook is code"),
    ("on_thaw", "a hook is code"),
    ("before_snapshot", "a hook is code"),
    ("after_restore", "a hook is code"),
    ("on_shutdown", "a hook is code"),
];

#[test]
fn every_variable_has_a_method_and_every_method_a_variable_or_a_reason() {
    let methods: BTreeSet<&str> = SOURCES
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| line.strip_prefix("    pub fn "))
        .filter_map(|line| line.split(['(', '<']).next())
        .collect();
    let both = BOTH.iter();
    let full = |variable: &str| {
        if variable.starts_with("OTEL_") { variable.to_owned() } else { format!("LAMBDA_LIFECYCLE_{variable}") }
    };
    let variables: Vec<String> = both.clone().map(|(variable, _)| full(variable)).collect();
    assert_eq!(variables, Settings::variables());
    let listed = both.map(|(_, method)| *method).chain(IN_CODE.map(|(method, _)| method)).collect();
    assert_eq!(methods, listed);
    assert!(IN_CODE.iter().all(|(_, reason)| !reason.is_empty()));
}

#[test]
fn the_page_of_the_settings_has_every_variable_and_every_method() {
    let rows = include_str!("../../docs/settings.md").lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<Vec<&str>> =
        rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches(['`', '|', ' '])).collect()).collect();
    let of_variables =
        rows.iter().filter(|row| row.len() == 5).map(|row| (row[0].trim_start_matches("LAMBDA_LIFECYCLE_"), row[1]));
    assert_eq!(of_variables.collect::<Vec<_>>(), BOTH);
    let of_methods = rows.iter().filter(|row| row.len() == 2).map(|row| row[0]);
    assert_eq!(of_methods.collect::<Vec<_>>(), IN_CODE.map(|(method, _)| method));
}
