//! Who is measured.

use crate::sinks::Sinks;

/// A bootstrap and what it is told.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// What it is, for the table's reader.
    pub(crate) what: &'static str,
    /// Its package in `benches/contenders`.
    pub(crate) package: &'static str,
    pub(crate) log_format: &'static str,
    env: &'static [(&'static str, &'static str)],
    /// Whether it hands on its spans.
    pub(crate) exports: bool,
    /// Whether it is in the charts.
    pub(crate) charted: bool,
}

impl Contender {
    /// The variables it gets beside Lambda's.
    pub(crate) fn env(&self, sinks: &Sinks) -> Vec<(&'static str, String)> {
        let mut env = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", sinks.otlp.clone())];
        env.extend(self.env.iter().map(|&(key, value)| (key, value.to_owned())));
        env
    }
}

/// In the order of the tables. The first is what the others are compared with.
pub(crate) const CONTENDERS: &[Contender] = &[
    Contender {
        name: "bare",
        what: "`lambda_runtime` alone, no log; the spans go nowhere",
        package: "bare",
        log_format: "Text",
        env: &[],
        exports: false,
        charted: true,
    },
    Contender {
        name: "ours",
        what: "all four stages, default features, documents to the X-Ray daemon, no log",
        package: "ours",
        log_format: "Text",
        env: &[("LAMBDA_LIFECYCLE_LOG", "off")],
        exports: true,
        charted: true,
    },
    Contender {
        name: "bare_json",
        what: "`lambda_runtime` with its own default log, as JSON; the spans go nowhere",
        package: "bare_json",
        log_format: "JSON",
        env: &[],
        exports: false,
        charted: true,
    },
    Contender {
        name: "ours_json",
        what: "as ours, with its log as JSON",
        package: "ours",
        log_format: "JSON",
        env: &[],
        exports: true,
        charted: true,
    },
    Contender {
        name: "lambda_otel_lite",
        what: "`lambda-otel-lite` with its defaults: OTLP as lines on standard output, before the answer; no log",
        package: "contender_lambda_otel_lite",
        log_format: "Text",
        env: &[],
        exports: true,
        charted: true,
    },
    Contender {
        name: "otel_layer",
        what: "`lambda_runtime`'s OpenTelemetry layer, OTLP over HTTP to a collector on this machine, flushed after the answer; no log",
        package: "otel_layer",
        log_format: "Text",
        env: &[],
        exports: true,
        charted: true,
    },
];
