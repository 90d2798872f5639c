//! The options of the trace, and of X-Ray as its destination.

use super::Builder;
use crate::{Export, Propagator, TraceParent, directives};
use tracing::level_filters::LevelFilter;

/// The trace.
impl Builder {
    /// Whether to record and send spans. Default: yes, for invocations that X-Ray or an exporter samples.
    pub fn trace(mut self, on: bool) -> Self {
        self.settings.trace = on;
        self
    }

    /// The trace contexts that are read from callers and sent with calls. Default: X-Ray's header. With an
    /// [`exporter`](Self::exporter), W3C's Trace Context and Baggage too, as users of OpenTelemetry expect. An empty list is
    /// `none`.
    ///
    /// [`propagation`](crate::propagation) describes where each one is read from, and which calls send it.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Lifecycle, Propagator};
    ///
    /// let life = Lifecycle::builder().propagators([Propagator::XRay, Propagator::TraceContext]).build();
    /// ```
    pub fn propagators(mut self, propagators: impl IntoIterator<Item = Propagator>) -> Self {
        self.settings.propagators = Some(propagators.into_iter().collect());
        self
    }

    /// How to treat a caller that a W3C `traceparent` names, for every source. Default: an invocation continues its caller's trace, and each
    /// message of an SQS batch links to its own caller.
    ///
    /// With [`TraceParent::Continue`] a request is one trace through API, queue and worker.
    pub fn trace_parent(mut self, parent: TraceParent) -> Self {
        self.settings.trace_parent = Some(parent);
        self
    }

    /// The destination of X-Ray documents. Default: the daemon.
    pub fn export(mut self, export: Export) -> Self {
        self.settings.export = export;
        self
    }

    /// Sends X-Ray's documents to its API with this client, for environments without a daemon.
    ///
    /// Sets [`export`](Self::export) to [`Export::Api`].
    #[cfg(feature = "xray-api")]
    pub fn xray_api(mut self, api: crate::xray_api::XRayApi) -> Self {
        self.settings.export = Export::Api;
        self.given.api = Some(api);
        self
    }

    /// Which spans are recorded, by target and level: `info,my_crate=debug`. Default: `info`, regardless of the log's level.
    ///
    /// This applies to the subscriber that [`build`](Self::build) sets.
    /// [`Lifecycle::tracing_layer`](crate::Lifecycle::tracing_layer) is created before the builder, so it uses the variable, or a
    /// filter around it. An invalid filter is logged and the default is used.
    pub fn trace_filter(mut self, directives: &str) -> Self {
        if let Some(targets) = directives::parse("Builder::trace_filter", directives, &mut self.problems) {
            self.settings.trace_filter = targets;
        }
        self
    }

    /// Which events of `tracing` are recorded as events of their span, in addition to the log. Default: errors, which X-Ray shows
    /// as exceptions.
    ///
    /// With `LevelFilter::INFO`, lines of `info!` are in the spans that your exporters get; X-Ray shows them in the metadata. The
    /// filter of [`trace_filter`](Self::trace_filter) applies to them too. With your own subscriber, set
    /// `LAMBDA_LIFECYCLE_TRACE_EVENTS` instead, because [`Lifecycle::tracing_layer`](crate::Lifecycle::tracing_layer) is created
    /// before the builder.
    pub fn trace_events(mut self, level: LevelFilter) -> Self {
        self.settings.trace_events = level;
        self
    }

    /// The most bytes of documents that are sent of one trace. X-Ray accepts 500,000, and Lambda's own segments need some of
    /// them. Default: 480,000.
    pub fn trace_budget(mut self, bytes: usize) -> Self {
        self.settings.trace_budget = bytes;
        self
    }

    /// Whether each finished document is written to standard output too, to compare it with what X-Ray shows. Default: no.
    pub fn trace_print(mut self, on: bool) -> Self {
        self.settings.trace_print = on;
        self
    }

    /// Whether a document is sent when an invocation starts, so that it is visible even if the process is killed. Default: yes.
    pub fn in_progress(mut self, on: bool) -> Self {
        self.settings.in_progress = on;
        self
    }

    /// Whether `_X_AMZN_TRACE_ID` is set to the trace header of each invocation, if invocations run one at a time. Default: yes,
    /// as AWS requires of a runtime and as `lambda_runtime` does.
    ///
    /// Clients of the AWS SDK without an interceptor of `aws_sdk` read this variable and send the header. Lambda uses it to stop
    /// functions that call each other in a loop. Other libraries find their parent span with it. With concurrent invocations it
    /// is never set.
    ///
    /// Setting a variable while other threads read it is sound for readers in Rust, which share a lock. For C code it depends on the libc:
    ///
    /// - glibc keeps every value, so a reader always finds memory that is valid. That costs about 160 bytes for each invocation.
    /// - musl frees the previous value. C code that reads any variable at that moment in another thread can read freed memory.
    ///
    /// Disable it if nothing reads the variable, or if such a thread runs with musl.
    pub fn trace_variable(mut self, on: bool) -> Self {
        self.settings.trace_variable = on;
        self
    }

    /// Span attributes that become annotations, which X-Ray indexes for search. Default: the library's own choice.
    pub fn annotations<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.settings.annotations.extend(keys.into_iter().map(Into::into));
        self
    }

    /// Whether the message of an AWS service's error is recorded beside its code. Default: no, because messages can repeat what was sent.
    ///
    /// It applies to the spans of `aws_sdk`. The error that your code receives always has its message.
    pub fn aws_error_messages(mut self, on: bool) -> Self {
        self.settings.aws_error_messages = on;
        self
    }

    /// How many calls of one invocation that send messages carry a sampled trace. Default: 100, the most
    /// [links of a trace](https://docs.aws.amazon.com/xray/latest/devguide/xray-tracelinking.html) in X-Ray.
    ///
    /// X-Ray links the trace of a sender with the trace of each consumer. AWS warns that an invocation which sends many messages can exceed the size of
    /// a trace, and recommends to send some of them without sampling. Calls beyond the limit carry `Sampled=0`: they have spans, and their consumers are
    /// neither sampled nor linked. The invocation's annotation `sends_not_sampled` counts them, and the first is logged (`sends_not_sampled`).
    ///
    /// It concerns `SendMessage`, `SendMessageBatch`, `Publish`, `PublishBatch`, `PutEvents` and `PutRecords`, by clients of `aws_sdk`. A batch
    /// is one call. Your exporters' sampling is not affected. With 0 no consumer is sampled; `usize::MAX` is no limit.
    ///
    /// ```no_run
    /// use lambda_lifecycle::Lifecycle;
    ///
    /// let life = Lifecycle::builder().trace_sends(20).build();
    /// ```
    pub fn trace_sends(mut self, calls: usize) -> Self {
        self.settings.trace_sends = calls;
        self
    }
}
