//! The library's own log lines: one list of warnings, each with a code that never changes, and one way to log them.

use crate::cut::Cut;
use std::{
    fmt::Display,
    sync::{Mutex, PoisonError},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Error,
    Warn,
    Info,
}

macro_rules! warnings {
    ($($name:ident = $code:literal, $severity:ident, $message:literal;)*) => {
        /// Everything the library logs from INFO on. `docs/warnings.md` has the cause and the remedy of each, in this order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(
            not(all(feature = "axum", feature = "aws-sdk", feature = "xray-api", feature = "metrics-emf")),
            allow(dead_code, reason = "some are of features that are off")
        )]
        pub(crate) enum Warning {
            $($name,)*
        }

        impl Warning {
            /// The field `code` of its line. Users search for it and alarm on it, so it never changes once it is released.
            pub(crate) const fn code(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)*
                }
            }

            const fn message(self) -> &'static str {
                match self {
                    $(Self::$name => $message,)*
                }
            }

            const fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)*
                }
            }

            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

warnings! {
    InvocationFailed = "invocation_failed", Error, "the invocation failed";
    ErrorUndelivered = "error_undelivered", Warn, "the error of an invocation was not delivered to Lambda";
    LateResponse = "late_response", Error, "the response came after the function's timeout: the caller has an error instead";
    HandlerBlocked = "handler_blocked", Error, "the handler blocks its thread past the deadline: use `spawn_blocking`, or await in between";
    ExecutorStalled = "executor_stalled", Error,
        "the executor has not run since the deadline: another task blocks its threads, or they get no CPU time";
    RequestTimedOut = "request_timed_out", Error, "the request had no response before the deadline: the caller gets 504";
    RequestInvalid = "request_invalid", Warn, "an event holds an HTTP request that is invalid: the caller gets 400";
    ResponseBodyBroken = "response_body_broken", Error, "the body of the response broke off";
    ResponseDropPanicked = "response_drop_panicked", Warn, "the destructor of a response stream panicked";

    RuntimeApiUnreachable = "runtime_api_unreachable", Warn, "Runtime API: no connection could be made";
    RuntimeApiConnectionBroken = "runtime_api_connection_broken", Warn, "Runtime API: a connection broke";
    RuntimeApiStalled = "runtime_api_stalled", Warn, "Runtime API: a request made no progress for a minute";
    RuntimeApiRefused = "runtime_api_refused", Warn, "Runtime API: a request was refused";
    RuntimeApiRecovered = "runtime_api_recovered", Info, "Runtime API: events arrive again";
    EventWithoutRequestId = "event_without_request_id", Warn, "an event without a request id was ignored";
    EventLost = "event_lost", Warn, "an event broke off after its headers";
    HeaderIgnored = "header_ignored", Warn, "a header of an event is invalid and was ignored";
    InvocationWithoutResponse = "invocation_without_response", Warn, "a layer ended an invocation without a response";
    WorkerPanicked = "worker_panicked", Warn, "a worker panicked and was replaced";
    ServingFailed = "serving_failed", Error, "the function ends with an error";
    OneEventAtATime = "one_event_at_a_time", Warn,
        "this environment takes many events at a time, and `run` serves one: use `run_concurrent` or `serve`";

    InitFailed = "init_failed", Error, "an initializer failed";
    InitOptionalFailed = "init_optional_failed", Warn, "an optional initializer failed and is tried again at first use";
    InitBlocked = "init_blocked", Warn,
        "an initializer blocked its thread until the budget of the Init phase was used up: use `init_blocking`, or do it at first use";
    InitErrorNotPosted = "init_error_not_posted", Warn, "the error of the Init phase could not be posted to Lambda";

    WorkPanicked = "work_panicked", Error, "work after the response panicked";
    WorkCancelled = "work_cancelled", Warn,
        "work after the response was not done in its time and is cancelled: move it to a queue, or raise the timeout";
    WorkStoredLate = "work_stored_late", Warn, "work after the response was stored when its time was over and is cancelled";
    WorkFrozen = "work_frozen", Info, "work after the response continues in the next invocation, if there is one";
    WorkDropped = "work_dropped", Warn, "`after_response` was called outside of an invocation and of a Tokio runtime: the work is dropped";
    HookPanicked = "hook_panicked", Error, "a hook panicked";
    HookCancelled = "hook_cancelled", Error, "a hook was not done in its time and is cancelled";
    ShutdownCutOff = "shutdown_cut_off", Warn, "invocations, or work after their responses, are cut off by the shutdown";
    ShutdownUnavailable = "shutdown_unavailable", Warn, "SIGTERM cannot be listened for: shutdown hooks will not run";
    ExtensionRetried = "extension_retried", Warn, "a request to the Extensions API failed and is repeated";
    ExtensionDelayed = "extension_delayed", Warn,
        "the registration of an extension has had no response for a second: until it has one, shutdown hooks do not run";
    ExtensionRefused = "extension_refused", Warn, "the Extensions API refused a request: shutdown hooks will not run in this environment";

    SettingInvalid = "setting_invalid", Warn, "a setting is invalid and its default is used";
    PropagatorUnknown = "propagator_unknown", Warn, "a propagator of `OTEL_PROPAGATORS` is not known here and is left out";
    SettingUnknown = "setting_unknown", Warn, "a variable is not a setting and is ignored: is its name misspelled?";
    MarginTooLong = "margin_too_long", Warn, "the grace or the reserve is as long as the invocation, and its default is used";
    TimersMissing = "timers_missing", Warn,
        "this Tokio runtime has no timers, so no deadline can be kept: build it with `enable_time` or `enable_all`";
    WatchdogMissing = "watchdog_missing", Warn, "the watchdog could not start: a handler that blocks past its deadline will not be reported";
    RedactorPanicked = "redactor_panicked", Error, "the redactor panicked: the value is left out";

    NotSampled = "not_sampled", Info,
        "this invocation is not sampled: enable active tracing (`TracingConfig: Active`) to see invocations in X-Ray";
    TraceHeaderIgnored = "trace_header_ignored", Warn, "a part of the trace header is invalid and was ignored";
    SendsNotSampled = "sends_not_sampled", Warn,
        "an invocation makes more calls that send messages than may be sampled: the others carry `Sampled=0`; see `Builder::trace_sends`";
    TraceContextCut = "trace_context_cut", Warn, "a `tracestate` or a `baggage` is beyond its limit and is sent on without some members";
    TraceContextNotSent = "trace_context_not_sent", Warn, "a message or an invocation has no room for W3C's trace context, which is left out";
    SubscriberRecordsNothing = "subscriber_records_nothing", Warn,
        "the tracing subscriber records nothing for X-Ray: build it with `tracing_subscriber::registry().with(Lifecycle::tracing_layer())`";
    FilterHidesSpans = "filter_hides_spans", Warn,
        "a filter of the tracing subscriber as a whole hides spans from the trace: give it to the log alone, with `fmt::layer().with_filter(..)`";
    EarlierLifecycleRecordsNothing = "earlier_lifecycle_records_nothing", Warn,
        "an earlier lifecycle of this process has set a subscriber that records no spans: build the one with a trace first";
    RoutesHidden = "routes_hidden", Warn,
        "the routes of requests are not recorded: put `service::RouteLayer` on the router itself, or use axum 0.8";
    TooManyAnnotations = "too_many_annotations", Warn, "an invocation has too many annotations: this key and further ones are ignored";
    LogLinesDropped = "log_lines_dropped", Warn,
        "an invocation made more lines below the log's level than its buffer holds: the first ones are left out";
    TooManyLogKeys = "too_many_log_keys", Warn, "an invocation has too many log keys: this key and further ones are ignored";
    DaemonAddressInvalid = "daemon_address_invalid", Warn, "the X-Ray daemon's address is invalid: nothing is sent to X-Ray";
    DaemonSocketUnavailable = "daemon_socket_unavailable", Warn, "no socket to the X-Ray daemon could be opened: nothing is sent to X-Ray";
    DaemonMissing = "daemon_missing", Warn, "no X-Ray daemon is listening: spans are lost";
    DaemonSocketFailed = "daemon_socket_failed", Warn, "the socket to the X-Ray daemon does not take some documents: their spans are lost";
    DocumentTooLong = "document_too_long", Warn, "a document is too long for a datagram: its span is lost";
    SpanTooLong = "span_too_long", Warn,
        "a span, or the resource, is too long for OTLP over UDP: its largest attributes, events and links are left out, or the span itself";
    SpansOverPace = "spans_over_pace", Warn,
        "spans are made faster than they may be sent to the X-Ray daemon: some are left out; sample less";
    XRayApiMissing = "xray_api_missing", Warn, "`Export::Api` needs a client, set with `Builder::xray_api`: nothing is sent to X-Ray";
    XRayApiUnreachable = "xray_api_unreachable", Warn, "X-Ray's API could not be reached: documents are lost";
    XRayApiNotCalled = "xray_api_not_called", Warn, "X-Ray's API cannot be called with this client: documents are lost";
    XRayApiRefused = "xray_api_refused", Warn, "X-Ray's API refused a call: documents are lost";
    XRayApiUnprocessed = "xray_api_unprocessed", Warn, "X-Ray's API did not process some documents, which were sent twice";
    XRayApiDelayed = "xray_api_delayed", Warn,
        "X-Ray's API did not respond before the deadline: the call continues, the invocation does not wait";
    SamplerPanicked = "sampler_panicked", Error, "the sampler panicked: the invocation is sampled";
    ExporterFailed = "exporter_failed", Warn, "an exporter did not take its spans";
    ExporterPanicked = "exporter_panicked", Warn, "an exporter panicked: its spans are lost";
    ExporterDelayed = "exporter_delayed", Warn,
        "an exporter was not done before the deadline: it continues, the invocation does not wait";
    ExporterOverrun = "exporter_overrun", Warn, "an exporter does not keep up: some spans are left out for it";

    MetricRefused = "metric_refused", Warn, "a metric is left out: its name or its value is not one that CloudWatch takes";
    MetricDimensionRefused = "metric_dimension_refused", Warn,
        "a dimension of metrics is left out: a metric has 30 of them, each with a name and a value";
    MetricMetadataRefused = "metric_metadata_refused", Warn, "metadata of metrics is left out: its key is invalid, or there are 100 already";
    MemoryNearLimit = "memory_near_limit", Warn, "the function uses nearly all of its memory: raise its memory size";

    ConnectionNotOpened = "connection_not_opened", Warn, "no connection was opened ahead of the first invocation, which opens it itself";
    ConnectionClosed = "connection_closed", Warn,
        "the service closed the connection that was opened ahead of the first invocation: give `connect` a call without `ConnectOnly`";
    AwsRegionMissing = "aws_region_missing", Warn, "no region is set: calls of AWS SDK clients will fail";
    AwsCredentialsMissing = "aws_credentials_missing", Warn, "no credentials are set: calls of AWS SDK clients may fail";
    RootCertificatesInvalid = "root_certificates_invalid", Warn, "root certificates cannot be used, and the compiled ones are used";
    RootCertificatesMissing = "root_certificates_missing", Warn,
        "the operating system has no root certificates, and the compiled ones are used: set `SSL_CERT_FILE`";

    MessageFailed = "message_failed", Error, "a message failed and will be retried";
    MessageHookPanicked = "message_hook_panicked", Error, "the hook for failed messages panicked";
    MessageDiscarded = "message_discarded", Error, "a message failed for good and will not be retried";
    DeadLetterFailed = "dead_letter_failed", Error, "the hook for dead letters failed: the message will be retried";
    BackoffFailed = "backoff_failed", Warn,
        "the visibility timeout of a failed message was not changed: the message comes again after the queue's own";
    BatchCutOff = "batch_cut_off", Warn,
        "the deadline came before the end of the batch: its unfinished messages will be retried; raise the timeout or lower the batch size";
}

/// The data of a line. A field that is `None` is left out.
#[derive(Clone, Copy, Default)]
pub(crate) struct Data<'d> {
    /// The subject of the line: a setting, header, hook, initializer, span, key, type or URL.
    pub(crate) name: Option<&'d str>,
    /// Its value.
    pub(crate) value: Option<&'d str>,
    /// A description of valid values.
    pub(crate) expected: Option<&'d str>,
    pub(crate) outcome: Option<&'d str>,
    pub(crate) error_type: Option<&'d str>,
    /// The reason, in the words of the error.
    pub(crate) error: Option<&'d dyn Display>,
    pub(crate) endpoint: Option<&'d str>,
    /// How often it happened since the last line.
    pub(crate) repeated: Option<u32>,
    /// The invocation, if the line is logged outside of it.
    pub(crate) invocation: Option<&'d str>,
    pub(crate) message_id: Option<&'d str>,
    pub(crate) receive_count: Option<u32>,
    /// Lines that are left out.
    pub(crate) dropped: Option<u64>,
    pub(crate) unfinished: Option<usize>,
    pub(crate) not_started: Option<usize>,
    pub(crate) elapsed_ms: Option<u64>,
    pub(crate) budget_ms: Option<u64>,
}

impl<'d> Data<'d> {
    pub(crate) fn error(error: &'d dyn Display) -> Self {
        Self { error: Some(error), ..Self::default() }
    }

    pub(crate) fn name(name: &'d str) -> Self {
        Self { name: Some(name), ..Self::default() }
    }

    pub(crate) fn unfinished(unfinished: usize) -> Self {
        Self { unfinished: Some(unfinished), ..Self::default() }
    }
}

/// Logs a warning. One call site for each severity, because every call site adds relocations to each start of the process.
#[cold]
#[inline(never)]
pub(crate) fn log(warning: Warning, data: Data<'_>) {
    macro_rules! event {
        ($severity:ident) => {
            tracing::$severity!(
                target: "lambda_lifecycle",
                code = warning.code(),
                name = data.name,
                value = data.value,
                expected = data.expected,
                outcome = data.outcome,
                error_type = data.error_type,
                error = data.error.map(|error| tracing::field::display(Cut(error))),
                endpoint = data.endpoint,
                repeated = data.repeated,
                invocation = data.invocation,
                message_id = data.message_id,
                receive_count = data.receive_count,
                dropped = data.dropped,
                unfinished = data.unfinished,
                not_started = data.not_started,
                elapsed_ms = data.elapsed_ms,
                budget_ms = data.budget_ms,
                "{}",
                warning.message()
            )
        };
    }
    match warning.severity() {
        Severity::Error => event!(error),
        Severity::Warn => event!(warn),
        Severity::Info => event!(info),
    }
}

/// A warning that was found before it can be logged, or that can be found several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) warning: Warning,
    pub(crate) name: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) expected: Option<String>,
    pub(crate) error: Option<String>,
}

impl Problem {
    pub(crate) fn new(warning: Warning) -> Self {
        Self { warning, name: None, value: None, expected: None, error: None }
    }

    /// A setting whose value is invalid.
    #[cold]
    #[inline(never)]
    pub(crate) fn invalid(name: &str, value: &str, expected: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            value: Some(value.to_owned()),
            expected: Some(expected.to_owned()),
            ..Self::new(Warning::SettingInvalid)
        }
    }

    #[cfg(any(feature = "aws-sdk", feature = "xray-api"))]
    pub(crate) fn because(self, error: impl Display) -> Self {
        Self { error: Some(error.to_string()), ..self }
    }

    /// Logs it once in a process, because each layer that reads the environment finds it again.
    #[cold]
    #[inline(never)]
    pub(crate) fn log_once(self) {
        static LOGGED: Mutex<Vec<Problem>> = Mutex::new(Vec::new());
        {
            let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
            if logged.contains(&self) {
                return;
            }
            logged.push(self.clone());
        }
        let error = self.error.as_ref().map(|error| error as &dyn Display);
        let (name, value, expected) = (self.name.as_deref(), self.value.as_deref(), self.expected.as_deref());
        log(self.warning, Data { name, value, expected, error, ..Data::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_warning_is_in_the_reference_and_each_of_the_reference_is_a_warning() {
        let page = include_str!("../docs/warnings.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| {
            // Other tables have fewer cells.
            let [code, severity, cause, remedy] = row.trim_end_matches(" |").split(" | ").collect::<Vec<_>>()[..] else {
                return None;
            };
            assert!(!cause.is_empty() && !remedy.is_empty(), "{code}");
            Some((code.trim_end_matches('`'), severity))
        });
        let written = |warning: &Warning| (warning.code(), format!("{:?}", warning.severity()).to_uppercase());
        let listed: Vec<_> = Warning::ALL.iter().map(written).collect();
        let documented: Vec<_> = rows.map(|(code, severity)| (code, severity.to_owned())).collect();
        assert_eq!(documented, listed);
    }

    #[test]
    fn codes_are_unique_and_can_be_searched_for() {
        let mut codes: Vec<_> = Warning::ALL.iter().map(|warning| warning.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Warning::ALL.len());
        for code in codes {
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code}");
        }
    }
}
