#![doc = include_str!("links.md")]
#![doc = include_str!("../docs/settings.md")]

#[cfg(feature = "metrics-emf")]
mod metrics;
mod reader;

#[cfg(feature = "metrics-emf")]
pub(crate) use metrics::Metrics;

use crate::{
    directives,
    environment::variable,
    notice::{Problem, Warning},
    propagation::{CorrelationId, Propagators},
    urls,
    xray::{MAX_TRACE, Redactor},
};
use lambda_runtime::Diagnostic;
use opentelemetry::KeyValue;
use reader::Reader;
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    fmt,
    str::FromStr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// How spans are sent to X-Ray.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Export {
    /// The X-Ray daemon, which Lambda runs beside every function.
    #[default]
    Udp,
    /// Standard output, one document a line, for inspection.
    Stdout,
    /// None: only your own exporters get the spans.
    None,
    /// X-Ray's API, with the client that [`Builder::xray_api`](crate::Builder::xray_api) was given.
    #[cfg(feature = "xray-api")]
    Api,
    /// The port of the X-Ray daemon, as OTLP in place of documents, for accounts with
    /// [Transaction Search](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Transaction-Search.html).
    ///
    /// | | |
    /// |---|---|
    /// | invocations | all: those that Lambda samples are marked `T1S`, the others `T1U` |
    /// | a span | as an [`exporter`](crate::Builder::exporter) gets it, in the trace that X-Ray's header names |
    /// | [`trace_budget`](crate::Builder::trace_budget), [`in_progress`](crate::Builder::in_progress) | do not apply |
    /// | a span of more than 47 KB | loses its largest attributes, events and links, which are counted in it; this is logged once (`span_too_long`) |
    ///
    /// AWS's own distributions of OpenTelemetry send this format on Lambda. AWS does not document it, so it may change.
    #[cfg(feature = "otlp-udp")]
    OtlpUdp,
}

impl Export {
    /// True where X-Ray gets only what Lambda samples.
    pub(crate) fn is_sampled(self) -> bool {
        #[cfg(feature = "otlp-udp")]
        if self == Self::OtlpUdp {
            return false;
        }
        self != Self::None
    }
}

/// How to treat a caller that a W3C `traceparent` names, in a request, an invocation or a message.
///
/// It is read if [`Propagator::TraceContext`](crate::Propagator::TraceContext) is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceParent {
    /// The work is done in the caller's trace, below the caller's span.
    Continue,
    /// The work is done in the trace that X-Ray's header names, and links to the caller.
    Link,
}

/// How to treat work after the response that is not done in its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Unfinished {
    /// It has its budget, then it is cancelled.
    #[default]
    Wait,
    /// It is cancelled as soon as it waits for something.
    Cancel,
    /// It freezes with the environment and continues in the next invocation, if there is one. Node calls this
    /// `callbackWaitsForEmptyEventLoop = false`.
    Freeze,
}

/// The bytes of a trace that may be needed by the service's segments and by the documents of invocations in progress.
const LAMBDAS_OWN: usize = 20_000;

/// Links that X-Ray shows of one trace.
const LINKS_OF_A_TRACE: usize = 100;

/// The keys that every line of the log has.
#[derive(Clone, Default)]
pub(crate) struct LogKeys {
    pub(crate) own: Vec<KeyValue>,
    pub(crate) standard: bool,
}

/// All settings. Built by [`Lifecycle::builder`](crate::Lifecycle::builder).
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) log: bool,
    pub(crate) log_span_fields: bool,
    pub(crate) log_keys: LogKeys,
    /// Lines that are kept until their invocation fails.
    pub(crate) log_buffer: Targets,
    pub(crate) log_buffer_bytes: usize,
    /// Lines of invocations that are recorded.
    pub(crate) log_sampled: Targets,
    pub(crate) correlation_id: Option<CorrelationId>,
    pub(crate) trace: bool,
    pub(crate) trace_filter: Targets,
    pub(crate) trace_events: LevelFilter,
    /// `None`: the default, which depends on what came with the caller.
    pub(crate) trace_parent: Option<TraceParent>,
    /// `None`: the default, which depends on the destinations.
    pub(crate) propagators: Option<Propagators>,
    pub(crate) export: Export,
    pub(crate) trace_print: bool,
    pub(crate) in_progress: bool,
    pub(crate) trace_budget: usize,
    pub(crate) trace_variable: bool,
    pub(crate) aws_error_messages: bool,
    pub(crate) trace_sends: usize,
    /// `None`: the default, if the platform's limit is short.
    pub(crate) init_budget: Option<Duration>,
    pub(crate) warm_up: bool,
    pub(crate) deadline: bool,
    pub(crate) grace: Option<Duration>,
    pub(crate) reserve: Option<Duration>,
    pub(crate) watchdog: bool,
    pub(crate) unfinished: Unfinished,
    pub(crate) after_response_budget: Option<Duration>,
    pub(crate) shutdown_budget: Duration,
    pub(crate) annotations: Vec<String>,
    pub(crate) redactor: Option<Redactor>,
    #[cfg(feature = "metrics-emf")]
    pub(crate) metrics: Metrics,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: true,
            log_span_fields: true,
            log_keys: LogKeys::default(),
            log_buffer: Targets::new(),
            log_buffer_bytes: 20 * 1024,
            log_sampled: Targets::new(),
            correlation_id: None,
            trace: true,
            trace_filter: Targets::new().with_default(tracing::Level::INFO),
            trace_events: LevelFilter::ERROR,
            trace_parent: None,
            propagators: None,
            export: Export::default(),
            trace_print: false,
            in_progress: true,
            trace_budget: MAX_TRACE - LAMBDAS_OWN,
            trace_variable: true,
            aws_error_messages: false,
            trace_sends: LINKS_OF_A_TRACE,
            init_budget: None,
            warm_up: true,
            deadline: true,
            grace: None,
            reserve: None,
            watchdog: true,
            unfinished: Unfinished::default(),
            after_response_budget: None,
            shutdown_budget: Duration::from_millis(450),
            annotations: Vec::new(),
            redactor: None,
            #[cfg(feature = "metrics-emf")]
            metrics: Metrics::default(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown
            .field("log", &self.log)
            .field("log_span_fields", &self.log_span_fields)
            .field("log_keys", &self.log_keys.own.len())
            .field("log_standard_keys", &self.log_keys.standard)
            .field("log_buffer", &self.log_buffer.to_string())
            .field("log_buffer_bytes", &self.log_buffer_bytes)
            .field("log_sampled", &self.log_sampled.to_string())
            .field("correlation_id", &self.correlation_id)
            .field("trace", &self.trace)
            .field("trace_filter", &self.trace_filter.to_string())
            .field("trace_events", &self.trace_events)
            .field("trace_parent", &self.trace_parent)
            .field("propagators", &self.propagators)
            .field("export", &self.export)
            .field("trace_print", &self.trace_print)
            .field("in_progress", &self.in_progress)
            .field("trace_budget", &self.trace_budget)
            .field("trace_variable", &self.trace_variable)
            .field("aws_error_messages", &self.aws_error_messages)
            .field("trace_sends", &self.trace_sends)
            .field("init_budget", &self.init_budget)
            .field("warm_up", &self.warm_up)
            .field("deadline", &self.deadline)
            .field("grace", &self.grace)
            .field("reserve", &self.reserve)
            .field("watchdog", &self.watchdog)
            .field("unfinished", &self.unfinished)
            .field("after_response_budget", &self.after_response_budget)
            .field("shutdown_budget", &self.shutdown_budget)
            .field("annotations", &self.annotations)
            .field("redactor", &self.redactor.is_some());
        #[cfg(feature = "metrics-emf")]
        shown.field("metrics", &self.metrics);
        shown.finish()
    }
}

impl Settings {
    /// The defaults, overridden by the environment. Each invalid variable is logged once in a process.
    pub(crate) fn from_env() -> Self {
        let mut settings = Self::default();
        settings.read_env().into_iter().for_each(Problem::log_once);
        settings
    }

    /// True where invocations keep lines below the log's level.
    pub(crate) fn keeps_lines(&self) -> bool {
        self.log && directives::highest_level(&self.log_buffer) > LevelFilter::OFF
    }

    /// True if an invocation continues the trace of the caller that W3C's fields name.
    pub(crate) fn continues_invocations(&self) -> bool {
        self.trace_parent != Some(TraceParent::Link)
    }

    /// True if a message of a batch does. By default it links to its caller: a batch has several, and X-Ray's documents are the same
    /// with and without an exporter.
    pub(crate) fn continues_messages(&self) -> bool {
        self.trace_parent == Some(TraceParent::Continue)
    }

    /// The trace contexts that are read and sent.
    pub(crate) fn propagators(&self) -> Propagators {
        self.propagators.unwrap_or(Propagators::XRAY)
    }

    /// An error's text as it may be exported: its URLs shortened, and redacted.
    pub(crate) fn error_text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = urls::without_secrets(text);
        match &self.redactor {
            Some(redactor) => redactor.text("exception.message", text).unwrap_or_default(),
            None => text,
        }
    }

    /// An error as it may be posted to Lambda and its caller: its type and its message.
    pub(crate) fn redacted(&self, error: Diagnostic) -> Diagnostic {
        let error_message = self.error_text(&error.error_message).into_owned();
        let error_type = match &self.redactor {
            Some(redactor) => redactor.error_type(error.error_type),
            None => error.error_type,
        };
        Diagnostic { error_type, error_message }
    }

    /// Reads the variables, and returns a problem for each that is invalid.
    ///
    /// Searches for one name after the other, because a copy of all variables costs more than twice as many instructions.
    pub(crate) fn read_env(&mut self) -> Vec<Problem> {
        self.read(&variable)
    }

    /// The settings that the layer for the user's own subscriber needs before the lifecycle is built. Invalid ones are
    /// logged when it is built.
    pub(crate) fn of_layer_from_env() -> Self {
        let mut settings = Self::default();
        settings.read(&|name| [TRACE_FILTER, TRACE_EVENTS].contains(&name).then(|| variable(name)).flatten());
        settings
    }

    /// Whether a variable of this name is read.
    fn is_variable(name: &str) -> bool {
        let found = Cell::new(false);
        Self::default().read(&|known| {
            found.set(found.get() || known == name);
            None
        });
        found.get()
    }

    /// The names of all variables that are read.
    #[cold]
    pub(crate) fn variables() -> Vec<String> {
        let asked = RefCell::new(Vec::new());
        Self::default().read(&|name| {
            asked.borrow_mut().push(name.to_owned());
            None
        });
        asked.into_inner()
    }

    fn read(&mut self, get: &dyn Fn(&str) -> Option<String>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut reader = Reader { get, problems: &mut problems };
        reader.switch("LAMBDA_LIFECYCLE_LOG", &mut self.log);
        reader.switch("LAMBDA_LIFECYCLE_LOG_SPAN_FIELDS", &mut self.log_span_fields);
        reader.switch("LAMBDA_LIFECYCLE_LOG_STANDARD_KEYS", &mut self.log_keys.standard);
        reader.targets("LAMBDA_LIFECYCLE_LOG_BUFFER", &mut self.log_buffer);
        reader
            .set("LAMBDA_LIFECYCLE_LOG_BUFFER_BYTES", "a number of bytes", &mut self.log_buffer_bytes, |text| text.parse().ok());
        reader.targets("LAMBDA_LIFECYCLE_LOG_SAMPLED", &mut self.log_sampled);
        reader.set("LAMBDA_LIFECYCLE_CORRELATION_ID", CorrelationId::EXPECTED, &mut self.correlation_id, |text| {
            CorrelationId::parse(text).map(Some)
        });
        reader.switch("LAMBDA_LIFECYCLE_TRACE", &mut self.trace);
        reader.targets(TRACE_FILTER, &mut self.trace_filter);
        let levels = "off, error, warn, info, debug or trace";
        reader.set(TRACE_EVENTS, levels, &mut self.trace_events, |text| text.parse().ok());
        reader.set("LAMBDA_LIFECYCLE_TRACE_PARENT", "continue or link", &mut self.trace_parent, |text| match text {
            "continue" => Some(Some(TraceParent::Continue)),
            "link" => Some(Some(TraceParent::Link)),
            _ => None,
        });
        reader.propagators("OTEL_PROPAGATORS", &mut self.propagators);
        reader.set("LAMBDA_LIFECYCLE_TRACE_EXPORT", "udp, stdout or none", &mut self.export, |text| match text {
            "udp" => Some(Export::Udp),
            "stdout" => Some(Export::Stdout),
            "none" => Some(Export::None),
            #[cfg(feature = "xray-api")]
            "api" => Some(Export::Api),
            #[cfg(feature = "otlp-udp")]
            "otlp-udp" => Some(Export::OtlpUdp),
            _ => None,
        });
        reader.switch("LAMBDA_LIFECYCLE_TRACE_PRINT", &mut self.trace_print);
        reader.switch("LAMBDA_LIFECYCLE_TRACE_IN_PROGRESS", &mut self.in_progress);
        reader.set("LAMBDA_LIFECYCLE_TRACE_BUDGET", "a number of bytes", &mut self.trace_budget, |text| text.parse().ok());
        reader.switch("LAMBDA_LIFECYCLE_TRACE_VARIABLE", &mut self.trace_variable);
        reader.switch("LAMBDA_LIFECYCLE_TRACE_AWS_ERROR_MESSAGES", &mut self.aws_error_messages);
        reader.set("LAMBDA_LIFECYCLE_TRACE_SENDS", "a number of calls", &mut self.trace_sends, |text| text.parse().ok());
        reader.set("LAMBDA_LIFECYCLE_INIT_BUDGET", MILLISECONDS, &mut self.init_budget, |text| milliseconds(text).map(Some));
        reader.switch("LAMBDA_LIFECYCLE_WARM_UP", &mut self.warm_up);
        reader.switch("LAMBDA_LIFECYCLE_DEADLINE", &mut self.deadline);
        reader.set("LAMBDA_LIFECYCLE_DEADLINE_GRACE", MILLISECONDS, &mut self.grace, |text| milliseconds(text).map(Some));
        reader.set("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", MILLISECONDS, &mut self.reserve, |text| milliseconds(text).map(Some));
        reader.switch("LAMBDA_LIFECYCLE_WATCHDOG", &mut self.watchdog);
        reader.set("LAMBDA_LIFECYCLE_AFTER_RESPONSE", "wait, cancel or freeze", &mut self.unfinished, |text| match text {
            "wait" => Some(Unfinished::Wait),
            "cancel" => Some(Unfinished::Cancel),
            "freeze" => Some(Unfinished::Freeze),
            _ => None,
        });
        reader.set("LAMBDA_LIFECYCLE_AFTER_RESPONSE_BUDGET", MILLISECONDS, &mut self.after_response_budget, |text| {
            milliseconds(text).map(Some)
        });
        reader.set("LAMBDA_LIFECYCLE_SHUTDOWN_BUDGET", MILLISECONDS, &mut self.shutdown_budget, milliseconds);
        #[cfg(feature = "metrics-emf")]
        self.metrics.read(&mut reader);
        problems
    }
}

const TRACE_FILTER: &str = "LAMBDA_LIFECYCLE_TRACE_FILTER";
const TRACE_EVENTS: &str = "LAMBDA_LIFECYCLE_TRACE_EVENTS";

const PREFIX: &str = "LAMBDA_LIFECYCLE_";

/// Logs each variable whose name resembles a setting of this library but is not one, once in a process.
///
/// It copies all variables, so a lifecycle calls it after the first response, when it delays no caller, or when the function ends
/// earlier.
#[cold]
#[inline(never)]
pub(crate) fn warn_of_unknown_variables() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::Relaxed) {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| may_be_ours(name));
        unknown_variables(names).into_iter().for_each(Problem::log_once);
    }
}

/// True for the library's own variables, and false for other common ones: `LAMBDA_TASK_ROOT` and `LAMBDA_RUNTIME_DIR` are
/// Lambda's.
fn may_be_ours(name: &str) -> bool {
    name.get(.."LAMBDA_L".len()).is_some_and(|begin| begin.eq_ignore_ascii_case("LAMBDA_L"))
}

/// Variables with names similar to this library's, each with the closest known name.
fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<Problem> {
    /// The limit for a name without this library's prefix, which may belong to other software.
    const TYPOS: usize = 3;
    let mut known = None;
    names
        .filter(|name| !Settings::is_variable(name))
        .filter_map(|name| {
            let known = known.get_or_insert_with(Settings::variables);
            let distance = |known: &String| distance(&name.to_ascii_uppercase(), known);
            let closest = known.iter().min_by_key(|known| distance(known))?;
            let ours = name.starts_with(PREFIX) || distance(closest) <= TYPOS;
            ours.then(|| Problem { expected: Some(closest.clone()), name: Some(name), ..Problem::new(Warning::SettingUnknown) })
        })
        .collect()
}

/// The number of characters that must be inserted, removed or replaced to turn one text into the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

const MILLISECONDS: &str = "a number of milliseconds";

fn milliseconds(text: &str) -> Option<Duration> {
    u32::from_str(text).ok().map(|ms| Duration::from_millis(ms.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(pairs: &[(&'static str, &'static str)]) -> (Settings, Vec<Problem>) {
        let variables: BTreeMap<_, _> = pairs.iter().copied().collect();
        let mut settings = Settings::default();
        let problems = settings.read(&|name| variables.get(name).map(ToString::to_string));
        (settings, problems)
    }

    #[test]
    fn every_variable_of_the_table_is_read_and_each_is_in_the_table() {
        let documented: Vec<_> = documented().into_iter().map(|row| row[0].trim_matches('`')).collect();
        assert_eq!(Settings::variables(), documented);
    }

    /// The cells of each variable in `docs/settings.md`.
    fn documented() -> Vec<Vec<&'static str>> {
        let rows = include_str!("../docs/settings.md").lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
        let rows = rows.map(|row| row.split(" | ").map(str::trim).collect::<Vec<_>>());
        rows.filter(|row| row.len() == 5).collect()
    }

    #[test]
    fn the_documented_default_of_a_variable_changes_nothing() {
        let alone = |cell: &'static str| cell.strip_prefix('`')?.strip_suffix('`').filter(|value| !value.contains('`'));
        let mut compared = 0;
        for row in documented() {
            let (name, Some(default)) = (row[0].trim_matches('`'), alone(row[4])) else { continue };
            let (settings, problems) = read(&[(name, default)]);
            assert_eq!(problems, Vec::<Problem>::new(), "{name}");
            assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()), "{name}={default}");
            compared += 1;
        }
        assert!(compared > 15, "{compared}");
    }

    #[test]
    fn a_misspelled_variable_is_named_with_the_closest_one() {
        for (written, meant) in [
            ("LAMBDA_LIFECYCLE_TRACE_EXPORTS", "LAMBDA_LIFECYCLE_TRACE_EXPORT"),
            ("LAMBDA_LIFECYCLE_DEADLINE_GRACE_MS", "LAMBDA_LIFECYCLE_DEADLINE_GRACE"),
            ("LAMBDA_LIFECYCLE_WATCH_DOG", "LAMBDA_LIFECYCLE_WATCHDOG"),
            ("LAMBDA_LIFECYLE_TRACE", "LAMBDA_LIFECYCLE_TRACE"),
            ("LAMBDA_LIFE_CYCLE_TRACE", "LAMBDA_LIFECYCLE_TRACE"),
            ("lambda_lifecycle_trace", "LAMBDA_LIFECYCLE_TRACE"),
            ("LAMBDA_LIFECYCLE_", "LAMBDA_LIFECYCLE_LOG"),
        ] {
            assert!(may_be_ours(written), "{written}");
            let problems = unknown_variables([written.to_owned()].into_iter());
            let [problem] = problems.as_slice() else { panic!("{written}: {problems:?}") };
            let named = (problem.warning, problem.name.as_deref(), problem.expected.as_deref());
            assert_eq!(named, (Warning::SettingUnknown, Some(written), Some(meant)));
        }
    }

    #[test]
    fn variables_of_ours_and_of_others_are_no_problem() {
        let others =
            ["LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "LAMBDA_LOG_BUCKET", "LAMBDA_LAYER_VERSION", "LÄMBDA_LIFE", "L", ""];
        let names = Settings::variables().into_iter().chain(others.map(str::to_owned)).filter(|name| may_be_ours(name));
        assert_eq!(unknown_variables(names), Vec::<Problem>::new());
    }

    #[test]
    fn what_is_understood_is_taken_over() {
        let (settings, problems) = read(&[
            ("LAMBDA_LIFECYCLE_TRACE", "OFF"),
            ("LAMBDA_LIFECYCLE_INIT_BUDGET", "1500"),
            ("LAMBDA_LIFECYCLE_DEADLINE_GRACE", "0"),
            ("LAMBDA_LIFECYCLE_AFTER_RESPONSE", "freeze"),
            ("LAMBDA_LIFECYCLE_TRACE_FILTER", "warn,orders=debug"),
        ]);
        assert_eq!(problems, Vec::<Problem>::new());
        assert!(!settings.trace);
        assert_eq!(settings.init_budget, Some(Duration::from_millis(1_500)));
        assert_eq!(settings.grace, Some(Duration::ZERO));
        assert_eq!(settings.unfinished, Unfinished::Freeze);
        assert!(settings.trace_filter.would_enable("orders", &tracing::Level::DEBUG));
    }

    #[test]
    fn an_unknown_propagator_is_told_and_the_others_count() {
        let (settings, problems) = read(&[("OTEL_PROPAGATORS", "b3,tracecontext")]);
        let told: Vec<_> = problems.iter().map(|problem| (problem.warning, problem.value.as_deref())).collect();
        assert_eq!(told, [(Warning::PropagatorUnknown, Some("b3"))]);
        let known = settings.propagators();
        assert_eq!((known.xray, known.trace_context, known.baggage), (false, true, false));
        let (settings, problems) = read(&[("OTEL_PROPAGATORS", "b3")]);
        assert_eq!((settings.propagators, problems.len()), (None, 1));
    }

    #[test]
    fn what_is_not_understood_is_told_and_changes_nothing() {
        for name in [
            "LAMBDA_LIFECYCLE_LOG",
            "LAMBDA_LIFECYCLE_TRACE_EXPORT",
            "LAMBDA_LIFECYCLE_TRACE_BUDGET",
            "LAMBDA_LIFECYCLE_TRACE_SENDS",
            "LAMBDA_LIFECYCLE_DEADLINE_RESERVE",
            "LAMBDA_LIFECYCLE_AFTER_RESPONSE",
        ] {
            let (settings, problems) = read(&[(name, "maybe, who knows")]);
            assert_eq!(problems.len(), 1, "{name}");
            let named = (problems[0].warning, problems[0].name.as_deref(), problems[0].value.as_deref());
            assert_eq!(named, (Warning::SettingInvalid, Some(name), Some("maybe, who knows")));
            assert!(problems[0].expected.is_some(), "{name}");
            assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()), "{name}");
        }
    }
}
