//! Who is measured.

use crate::{linked::Linked, sinks::Sinks};

/// A bootstrap and its configuration.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// The description in the table.
    pub(crate) what: &'static str,
    /// Its package in `benches/contenders`.
    pub(crate) package: &'static str,
    /// Its program in that package.
    pub(crate) program: &'static str,
    pub(crate) linked: Linked,
    pub(crate) log_format: &'static str,
    env: &'static [(&'static str, &'static str)],
    /// Whether it exports its spans.
    pub(crate) exports: bool,
    /// Whether it exports them to a daemon or a collector, which may be absent.
    pub(crate) receiver: bool,
    /// Whether it is in the charts, which compare what a user would choose between.
    pub(crate) charted: bool,
}

impl Contender {
    /// The variables it gets beside Lambda's.
    pub(crate) fn env(&self, sinks: &Sinks) -> Vec<(&'static str, String)> {
        // `cargo run` names its own folders there, and the loader of a contender would look into each: more than half of its system calls.
        let mut env = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", sinks.otlp.clone()), ("LD_LIBRARY_PATH", String::new())];
        env.extend(self.env.iter().map(|&(key, value)| (key, value.to_owned())));
        env
    }

    /// The variable that switches off what starts when the first event has been asked for. How much of it is done when a figure of that moment is
    /// taken, is chance. A function with less than a core does it before.
    pub(crate) fn without_warm_up(&self) -> Option<(&'static str, &'static str)> {
        let is_small = self.env.contains(&SMALL);
        (!is_small).then_some(("LAMBDA_LIFECYCLE_WARM_UP", "off"))
    }
}

/// Those that can be built here.
pub(crate) fn measurable() -> impl Iterator<Item = &'static Contender> {
    CONTENDERS.iter().filter(|contender| contender.linked.missing().is_none())
}

/// Less than the memory that gives one core.
const SMALL: (&str, &str) = ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");

const NO_LOG: &[(&str, &str)] = &[("LAMBDA_LIFECYCLE_LOG", "off")];

/// What Lambda sets for clients of AWS services.
const SDK: &[(&str, &str)] = &[
    ("LAMBDA_LIFECYCLE_LOG", "off"),
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "none"),
    ("AWS_SESSION_TOKEN", "none"),
];

const BARE: Contender = Contender {
    name: "bare",
    what: "`lambda_runtime` alone, no log; the spans go nowhere",
    package: "bare",
    program: "bare",
    linked: Linked::Dynamically,
    log_format: "Text",
    env: &[],
    exports: false,
    receiver: false,
    charted: true,
};

const OURS: Contender = Contender {
    name: "ours",
    what: "all four stages, default features, documents to the X-Ray daemon, no log",
    package: "ours",
    program: "ours",
    env: NO_LOG,
    exports: true,
    receiver: true,
    ..BARE
};

const SWITCHED: Contender = Contender { exports: false, receiver: false, charted: false, ..OURS };

/// For the table of stages, beside `bare` and `ours`. Switching a stage off with a variable changes what runs, not what is linked.
pub(crate) const ABLATION: &[Contender] = &[
    Contender {
        name: "ours_loop",
        what: "the library's loop alone, in place of `lambda_runtime`'s: no layer, no subscriber",
        program: "ours_loop",
        ..SWITCHED
    },
    Contender {
        name: "ours_loop_deadline",
        what: "the loop and the layer around the handler: deadline, watchdog and outcomes",
        program: "ours_loop_deadline",
        ..SWITCHED
    },
    Contender {
        name: "ours_loop_layers",
        what: "the loop and both layers: also the trace of invocations and work after the response; no subscriber",
        program: "ours_loop_layers",
        ..SWITCHED
    },
    Contender {
        name: "ours, trace off",
        what: "all stages linked, `LAMBDA_LIFECYCLE_TRACE=false`",
        env: &[("LAMBDA_LIFECYCLE_LOG", "off"), ("LAMBDA_LIFECYCLE_TRACE", "false")],
        ..SWITCHED
    },
    Contender {
        name: "ours, watchdog off",
        what: "all stages linked, `LAMBDA_LIFECYCLE_WATCHDOG=false`: no thread is started",
        env: &[("LAMBDA_LIFECYCLE_LOG", "off"), ("LAMBDA_LIFECYCLE_WATCHDOG", "false")],
        ..SWITCHED
    },
];

/// In the order of the tables. The first is the baseline.
pub(crate) const CONTENDERS: &[Contender] = &[
    BARE,
    OURS,
    Contender {
        name: "bare_local",
        what: "as bare, on Tokio's local runtime (`#[tokio::main(flavor = \"local\")]`)",
        program: "bare_local",
        charted: false,
        ..BARE
    },
    Contender {
        name: "ours_local",
        what: "as ours, on Tokio's local runtime",
        program: "ours_local",
        receiver: false,
        charted: false,
        ..OURS
    },
    Contender {
        name: "ours_no_warm_up",
        what: "as ours_local, with `LAMBDA_LIFECYCLE_WARM_UP=off`",
        program: "ours_local",
        env: &[("LAMBDA_LIFECYCLE_LOG", "off"), ("LAMBDA_LIFECYCLE_WARM_UP", "off")],
        receiver: false,
        charted: false,
        ..OURS
    },
    Contender {
        name: "ours_128_mb",
        what: "as ours_local, told that it has 128 MB: its watchdog's thread starts and it warms up in the Init phase, as below 1,769 MB",
        program: "ours_local",
        env: &[("LAMBDA_LIFECYCLE_LOG", "off"), SMALL],
        receiver: false,
        charted: false,
        ..OURS
    },
    Contender {
        name: "ours_init",
        what: "ours, stage 1 alone: an initializer in the Init phase; no log",
        program: "ours_init",
        exports: false,
        receiver: false,
        charted: false,
        ..OURS
    },
    Contender {
        name: "ours_deadline",
        what: "ours, stage 2 alone: the layer around the handler; no log",
        program: "ours_deadline",
        exports: false,
        receiver: false,
        charted: false,
        ..OURS
    },
    Contender {
        name: "ours_trace",
        what: "ours, stage 3 alone: both layers, no deadline; no log",
        program: "ours_trace",
        receiver: false,
        charted: false,
        ..OURS
    },
    Contender {
        name: "ours_after_response",
        what: "ours, stage 4 alone: the layer around the runtime, with a piece of work that does nothing; no log",
        program: "ours_after_response",
        exports: false,
        receiver: false,
        charted: false,
        ..OURS
    },
    Contender {
        name: "ours_shutdown",
        what: "as ours, with a shutdown hook, for which it registers an extension",
        program: "ours_shutdown",
        receiver: false,
        charted: false,
        ..OURS
    },
    Contender {
        name: "ours_registry",
        what: "as ours, with `tracing_subscriber::registry()` and `Lifecycle::tracing_layer()` in place of the library's own subscriber",
        program: "ours_registry",
        charted: false,
        ..OURS
    },
    Contender {
        name: "bare_json",
        what: "`lambda_runtime` with its own default log, as JSON; the spans go nowhere",
        package: "bare_json",
        program: "bare_json",
        log_format: "JSON",
        ..BARE
    },
    Contender {
        name: "spans_alone",
        what: "`lambda_runtime` with tracing-opentelemetry's layer, whose spans are dropped when they end: what the spans cost before anything \
               is done with them; no log",
        package: "spans_alone",
        program: "spans_alone",
        charted: false,
        ..BARE
    },
    Contender {
        name: "spans_alone_local",
        what: "as spans_alone, on Tokio's local runtime",
        package: "spans_alone",
        program: "spans_alone_local",
        charted: false,
        ..BARE
    },
    Contender { name: "ours_json", what: "as ours, with its log as JSON", log_format: "JSON", env: &[], receiver: false, ..OURS },
    Contender {
        name: "bare_sdk",
        what: "as bare, with a client of SQS in its state, configured by `aws_config` with ring; no call is made",
        package: "bare_sdk",
        program: "bare_sdk",
        env: SDK,
        charted: false,
        ..BARE
    },
    Contender {
        name: "ours_sdk",
        what: "as ours, with a client of SQS in its state, configured by `aws_sdk::config`; no call is made; no log",
        package: "ours_sdk",
        program: "ours_sdk",
        env: SDK,
        receiver: false,
        charted: false,
        ..OURS
    },
    Contender {
        name: "lambda_otel_lite",
        what: "`lambda-otel-lite` with its defaults: OTLP as lines on standard output, before the response; no log",
        package: "contender_lambda_otel_lite",
        program: "contender_lambda_otel_lite",
        exports: true,
        ..BARE
    },
    Contender {
        name: "otel_layer",
        what: "`lambda_runtime`'s OpenTelemetry layer, OTLP over HTTP to a collector on this machine, flushed after the response; no log",
        package: "otel_layer",
        program: "otel_layer",
        exports: true,
        receiver: true,
        ..BARE
    },
    Contender {
        name: "otel_lambda_tower",
        what: "`opentelemetry-lambda-tower` as its README shows it, with the exporter of `otel_layer`; no log. It flushes before the answer, and \
               knows HTTP, SQS and SNS events only: this one's extractor is its README's example, so the spans start a separate trace",
        package: "otel_lambda_tower",
        program: "otel_lambda_tower",
        exports: true,
        receiver: true,
        ..BARE
    },
    Contender {
        name: "awssdk_instrumentation",
        what: "`awssdk-instrumentation` with its default features, no SDK client: documents to the X-Ray daemon, flushed after the answer; its \
               own JSON log, which is silent below errors. Its macro writes a multi-threaded `main`: this is the README's expansion of it",
        package: "contender_awssdk_instrumentation",
        program: "contender_awssdk_instrumentation",
        exports: true,
        receiver: true,
        ..BARE
    },
    Contender { name: "bare_static", what: "as bare, linked statically with glibc", linked: Linked::Statically, ..BARE },
    Contender {
        name: "ours_static",
        what: "as ours, linked statically with glibc",
        linked: Linked::Statically,
        receiver: false,
        ..OURS
    },
    Contender { name: "bare_musl", what: "as bare, linked statically with musl", linked: Linked::ToMusl, charted: false, ..BARE },
    Contender {
        name: "ours_musl",
        what: "as ours, linked statically with musl",
        linked: Linked::ToMusl,
        receiver: false,
        charted: false,
        ..OURS
    },
];

/// For the table of many events at once.
pub(crate) const CONCURRENT: [&Contender; 3] = [
    &Contender { package: "bare_concurrent", program: "bare_concurrent", ..BARE },
    &Contender { package: "ours_concurrent", program: "ours_concurrent", ..OURS },
    &Contender { package: "spans_alone", program: "spans_alone_concurrent", ..BARE },
];
