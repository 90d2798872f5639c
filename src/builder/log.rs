//! The options of the log.

use super::Builder;
use crate::{AnnotationValue, CorrelationId, directives};
use opentelemetry::KeyValue;

/// The log.
impl Builder {
    /// Whether to set a global subscriber with a log, if none is set. Default: yes.
    pub fn log(mut self, on: bool) -> Self {
        self.settings.log = on;
        self
    }

    /// Whether every log line has the fields of the spans around it. Default: yes, even if the spans are not recorded.
    ///
    /// See [`logs`](crate::logs#context-in-every-line).
    pub fn log_span_fields(mut self, on: bool) -> Self {
        self.settings.log_span_fields = on;
        self
    }

    /// A key of every log line of this process. [`Invocation::log_key`](crate::Invocation::log_key) sets one for an invocation, which takes precedence.
    ///
    /// ```no_run
    /// use lambda_lifecycle::Lifecycle;
    ///
    /// let life = Lifecycle::builder().log_key("stage", "production").log_key("release", 42).build();
    /// ```
    pub fn log_key(mut self, key: impl Into<String>, value: impl Into<AnnotationValue>) -> Self {
        let AnnotationValue(value) = value.into();
        let key = key.into();
        self.settings.log_keys.own.retain(|known| known.key.as_str() != key);
        self.settings.log_keys.own.push(KeyValue::new(key, value));
        self
    }

    /// Whether every log line has Powertools' standard keys: `function_name`, `function_version`, `function_memory_size`,
    /// `function_arn`, `cold_start`, and `service` if `POWERTOOLS_SERVICE_NAME` is set. Default: no.
    pub fn log_standard_keys(mut self, on: bool) -> Self {
        self.settings.log_keys.standard = on;
        self
    }

    /// Which lines below the log's level an invocation keeps, and writes when it fails: `debug`, or by target `info,my_crate=debug`. Default: none.
    ///
    /// They are written when the invocation ends with an error, panics, meets its deadline, blocks its thread or is cut off at SIGTERM, and before
    /// a line of the level `ERROR`. See [`logs`](crate::logs#debug-lines-where-they-matter). An invalid filter is logged and nothing is kept.
    ///
    /// [`Lifecycle::log_layer`](crate::Lifecycle::log_layer) is made before the lifecycle: there the variable sets it.
    ///
    /// ```no_run
    /// use lambda_lifecycle::Lifecycle;
    ///
    /// let life = Lifecycle::builder().log_buffer("debug,hyper=info").log_buffer_bytes(100_000).build();
    /// ```
    pub fn log_buffer(mut self, directives: &str) -> Self {
        if let Some(targets) = directives::parse("Builder::log_buffer", directives, &mut self.problems) {
            self.settings.log_buffer = targets;
        }
        self
    }

    /// The most bytes of lines that an invocation keeps for [`log_buffer`](Self::log_buffer). Default: 20,480.
    ///
    /// Beyond it the first lines are left out, which `log_lines_dropped` counts.
    pub fn log_buffer_bytes(mut self, bytes: usize) -> Self {
        self.settings.log_buffer_bytes = bytes;
        self
    }

    /// Which lines below the log's level are written in invocations whose trace is recorded, so that trace and log tell of the same invocations:
    /// `debug`, or by target `info,my_crate=debug`. Default: none.
    ///
    /// An invalid filter is logged and changes nothing. For [`Lifecycle::log_layer`](crate::Lifecycle::log_layer) the variable sets it.
    pub fn log_sampled(mut self, directives: &str) -> Self {
        if let Some(targets) = directives::parse("Builder::log_sampled", directives, &mut self.problems) {
            self.settings.log_sampled = targets;
        }
        self
    }

    /// Where the correlation id of an event is: the id that all functions that work on one request have in their log lines. Default: none.
    ///
    /// It is the key `correlationId` of log lines and the annotation `correlation_id` of the trace, and calls hand it on as `x-correlation-id`. See
    /// [`propagation`](crate::propagation#correlation-id).
    ///
    /// ```no_run
    /// use lambda_lifecycle::{CorrelationId, Lifecycle};
    ///
    /// let life = Lifecycle::builder().correlation_id(CorrelationId::ApiGateway).build();
    /// ```
    pub fn correlation_id(mut self, place: CorrelationId) -> Self {
        self.settings.correlation_id = Some(place);
        self
    }
}
