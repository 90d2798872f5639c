//! The lifecycle's options.

use crate::{
    AnnotationValue, CorrelationId, Export, Flush, Invocation, Propagator, Report, TraceParent, Unfinished, directives,
    export::{Exporters, Given, Queue, async_queue, queue},
    invocation::Hooks,
    notice::Problem,
    runtime::Resources,
    settings::Settings,
    shutdown::OnShutdown,
    trace,
    xray::{Redaction, Redactor},
};
use lambda_runtime::Error;
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::trace::{ShouldSample, SpanExporter};
use std::{future::Future, time::Duration};
use tracing::level_filters::LevelFilter;

/// Options of a [`Lifecycle`](crate::Lifecycle). An [environment variable](crate::settings) overrides the option.
///
/// ```no_run
/// use lambda_lifecycle::{Lifecycle, xray::Redaction};
///
/// let life = Lifecycle::builder()
///     .annotations(["tenant", "order.id"])
///     .redact(|key, _| if key.contains("card") { Redaction::Remove } else { Redaction::Keep })
///     .build();
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    pub(crate) settings: Settings,
    pub(crate) given: Given,
    pub(crate) hooks: Hooks,
    pub(crate) on_shutdown: Option<OnShutdown>,
    pub(crate) snapstart: Resources,
    /// Makes the tracer the global one, if an exporter needs it.
    pub(crate) install_tracer: Option<fn()>,
    /// The invalid options.
    pub(crate) problems: Vec<Problem>,
}

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

    /// A key of every log line of this process. [`Invocation::log_key`] sets one for an invocation, which takes precedence.
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

    /// A span exporter for any other backend, in addition to X-Ray; with `export(Export::None)` instead of X-Ray.
    ///
    /// It gets the spans of the invocations that [`sampler`](Self::sampler) chooses, after their responses, at the times that
    /// [`flush`](Self::flush) sets. It runs outside of the executor, on a thread that may block and that has access to the
    /// function's Tokio runtime. So exporters with blocking clients work, and so do those with asynchronous ones. The exporter
    /// has time until the invocation's hard deadline. If it hangs, fails or panics, only its own spans are lost.
    ///
    /// Spans have OpenTelemetry's names and attributes. Over HTTP, the invocation's span is named `GET /books/{id}`, while X-Ray
    /// needs the function's name. Keys of annotations have no prefix.
    ///
    /// The first exporter also makes the library's tracer the global one of OpenTelemetry, so that spans of
    /// `opentelemetry::global::tracer` are recorded. To use another one, set it after [`build`](Self::build).
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Export, Lifecycle, opentelemetry_sdk::trace::SpanExporter};
    ///
    /// // For example with `opentelemetry_otlp::SpanExporter::builder().with_http().build()?`.
    /// fn lifecycle(exporter: impl SpanExporter + 'static) -> Lifecycle {
    ///     Lifecycle::builder().export(Export::None).exporter(exporter).build()
    /// }
    /// ```
    pub fn exporter(self, exporter: impl SpanExporter + 'static) -> Self {
        self.with_exporter(queue(exporter))
    }

    /// Like [`exporter`](Self::exporter), for an exporter that never blocks its thread. It runs in the task of the invocation, after the
    /// response, and needs no thread: the least CPU time.
    ///
    /// The exporters of `opentelemetry-otlp` over gRPC, hyper and reqwest's asynchronous client do not block. Its default one, with reqwest's
    /// blocking client, does: here it would panic, or stop the function until it is done.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Export, Lifecycle, opentelemetry_sdk::trace::SpanExporter};
    ///
    /// // For example with `opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?`.
    /// fn lifecycle(exporter: impl SpanExporter + 'static) -> Lifecycle {
    ///     Lifecycle::builder().export(Export::None).async_exporter(exporter).build()
    /// }
    /// ```
    pub fn async_exporter(self, exporter: impl SpanExporter + 'static) -> Self {
        self.with_exporter(async_queue(exporter))
    }

    fn with_exporter(mut self, exporter: Box<dyn Queue>) -> Self {
        self.given.exporters.push(exporter);
        self.given.open = Some(Exporters::open);
        self.install_tracer = Some(trace::install_global);
        self.on_shutdown = Some(OnShutdown::new());
        self
    }

    /// Which invocations the exporters get: any OpenTelemetry sampler. Default: all invocations, even if X-Ray does not sample them.
    ///
    /// It is called once for each invocation, with the parent that the event names and the function's name. `OTEL_TRACES_SAMPLER`
    /// and `OTEL_TRACES_SAMPLER_ARG` take precedence. X-Ray always gets the invocations that Lambda samples.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Lifecycle, opentelemetry_sdk::trace::{Sampler, SpanExporter}};
    ///
    /// fn lifecycle(exporter: impl SpanExporter + 'static) -> Lifecycle {
    ///     let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.1)));
    ///     Lifecycle::builder().exporter(exporter).sampler(sampler).build()
    /// }
    /// ```
    pub fn sampler(mut self, sampler: impl ShouldSample + 'static) -> Self {
        self.given.sampler = Some(Box::new(sampler));
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

    /// Adds an attribute to the resource that exporters get, which describes the origin of the spans.
    ///
    /// The resource has the attributes that the detector of `opentelemetry-aws` finds on Lambda (`faas.name`, `cloud.region` and
    /// so on), and the function's name as `service.name`. An attribute set here takes precedence over these, and
    /// `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` take precedence over it.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Lifecycle, opentelemetry_sdk::trace::SpanExporter};
    ///
    /// fn lifecycle(exporter: impl SpanExporter + 'static) -> Lifecycle {
    ///     Lifecycle::builder()
    ///         .exporter(exporter)
    ///         .resource_attribute("service.namespace", "shop")
    ///         .resource_attribute("deployment.environment.name", "production")
    ///         .build()
    /// }
    /// ```
    pub fn resource_attribute(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.given.resource.push(KeyValue::new(key, value));
        self
    }

    /// When spans are sent to your own exporters. Default: after every invocation.
    pub fn flush(mut self, flush: Flush) -> Self {
        self.given.flush = flush;
        self
    }

    /// Whether a document is sent when an invocation starts, so that it is visible even if the process is killed. Default: yes.
    pub fn in_progress(mut self, on: bool) -> Self {
        self.settings.in_progress = on;
        self
    }

    /// Span attributes that become annotations, which X-Ray indexes for search. Default: the library's own choice.
    pub fn annotations<K: Into<String>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        self.settings.annotations.extend(keys.into_iter().map(Into::into));
        self
    }

    /// Decides about every value that the library writes, before it is sent to any destination.
    ///
    /// The function receives a key and a value, and returns whether the value is kept, replaced or removed. Numbers and booleans are shown as
    /// text, arrays element by element. A value for which the function panics is removed.
    ///
    /// | covered | keys |
    /// |---|---|
    /// | spans, for X-Ray and for your exporters: attributes of spans, events and links | the attribute's key |
    /// | their names and status | `span.name`, `event.name`, `status.description` |
    /// | errors of the invocation and of an initializer, in the trace, in the log and as reported to Lambda | `exception.type`, `exception.message`, `exception.stacktrace` |
    /// | lines of the library's log | `message`, and each field's name |
    /// | the resource that your exporters receive | the attribute's key |
    /// | dimensions and metadata of metrics | the dimension's name, the key |
    ///
    /// The function is called for each field that holds a text, so it must return the same result for its own replacement.
    ///
    /// Not covered: responses of your handler that are not errors, log lines that your own subscriber writes, and text that the
    /// library does not write. The standard panic hook prints panic messages to standard error; to have them redacted, log them
    /// instead:
    ///
    /// ```
    /// std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    /// ```
    ///
    /// Without a redactor nothing is checked, at no cost.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Lifecycle, xray::Redaction};
    ///
    /// let life = Lifecycle::builder()
    ///     .redact(|key, value| match key {
    ///         _ if value.contains('@') => Redaction::Replace("(address)".into()),
    ///         "card" => Redaction::Remove,
    ///         _ => Redaction::Keep,
    ///     })
    ///     .build();
    /// ```
    pub fn redact(mut self, redactor: impl Fn(&str, &str) -> Redaction + Send + Sync + 'static) -> Self {
        self.settings.redactor = Some(Redactor::new(redactor));
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

    /// The time that all initializers of the Init phase have together. Default: 9 s, one less than the platform's limit; none
    /// where the platform allows minutes (provisioned concurrency, SnapStart, Managed Instances).
    pub fn init_budget(mut self, budget: Duration) -> Self {
        self.settings.init_budget = Some(budget);
        self
    }

    /// Whether the token is cancelled and an error response is sent before the platform's deadline. Default: yes.
    pub fn deadline(mut self, on: bool) -> Self {
        self.settings.deadline = on;
        self
    }

    /// Time from the token's cancellation to the error response. Default: 5 % of the invocation's time, 50 ms to 500 ms and a
    /// quarter of it at most.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = Some(grace);
        self
    }

    /// Time from the error response to the platform's kill. Default: 5 % of the invocation's time, 50 ms to 500 ms and a quarter
    /// of it at most.
    pub fn reserve(mut self, reserve: Duration) -> Self {
        self.settings.reserve = Some(reserve);
        self
    }

    /// Whether a handler that blocks its thread past the deadline is reported. Default: yes.
    ///
    /// The report needs a thread. It starts with the first invocation that is traced or measured, or in the Init phase if the function has less than
    /// 1,769 MB of memory.
    pub fn watchdog(mut self, on: bool) -> Self {
        self.settings.watchdog = on;
        self
    }

    /// How to treat work after the response that is not done in its time. Default: [`Unfinished::Wait`].
    pub fn unfinished(mut self, policy: Unfinished) -> Self {
        self.settings.unfinished = policy;
        self
    }

    /// The time limit for work after the response. Default: until the invocation's hard deadline.
    pub fn after_response_budget(mut self, budget: Duration) -> Self {
        self.settings.after_response_budget = Some(budget);
        self
    }

    /// Time from SIGTERM to the end of the last flush. Invocations in progress have two thirds of it. Shutdown hooks have until
    /// eight ninths of it. Default: 450 ms, because Lambda sends SIGKILL 500 ms after SIGTERM. A function with external
    /// extensions has 2 s.
    pub fn shutdown_budget(mut self, budget: Duration) -> Self {
        self.settings.shutdown_budget = budget;
        self
    }

    /// The CloudWatch namespace of the metrics that the library writes: see [`metrics`](crate::metrics). Default: none, so
    /// metrics are disabled.
    ///
    /// A namespace has 1 to 255 of the characters `A-Z a-z 0-9 . - _ / # :` and space, and does not begin with `AWS/`. An invalid
    /// one is logged, and metrics stay disabled. See
    /// [Namespaces](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Namespace).
    ///
    /// ```no_run
    /// use lambda_lifecycle::Lifecycle;
    ///
    /// let life = Lifecycle::builder()
    ///     .metrics_namespace("Shop")
    ///     .service_name("orders")
    ///     .metrics_dimensions([("environment", "production")])
    ///     .build();
    /// ```
    #[cfg(feature = "metrics-emf")]
    pub fn metrics_namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.settings.metrics.set_namespace("Builder::metrics_namespace", namespace.as_ref(), &mut self.problems);
        self
    }

    /// Whether the library's own metrics are written in addition to yours. Default: yes, if there is a namespace.
    ///
    /// CloudWatch bills each of them as a custom metric.
    #[cfg(feature = "metrics-emf")]
    pub fn metrics_built_in(mut self, on: bool) -> Self {
        self.settings.metrics.built_in = on;
        self
    }

    /// Dimensions of every metric, in addition to the service. Default: none.
    ///
    /// CloudWatch accepts 30 dimensions for a metric: the service, and 29 in total from here and from
    /// [`Metrics::dimension`](crate::metrics::Metrics). Further ones are left out, which is logged. The last value of a name
    /// counts.
    #[cfg(feature = "metrics-emf")]
    pub fn metrics_dimensions<N: Into<String>, V: Into<String>>(mut self, dimensions: impl IntoIterator<Item = (N, V)>) -> Self {
        let dimensions = dimensions.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.settings.metrics.dimensions.extend(dimensions);
        self
    }

    /// The name of the service that this function is a part of: the dimension `service` of its metrics. Default: `OTEL_SERVICE_NAME`, else the
    /// function's name.
    ///
    /// `POWERTOOLS_SERVICE_NAME` takes precedence, because the functions of a service share that variable.
    #[cfg(feature = "metrics-emf")]
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.settings.metrics.service = Some(name.into());
        self
    }

    /// Runs after every response, when its background work is over, with a [`Report`] of the invocation. Hooks run one after the
    /// other. A hook that panics or exceeds the invocation's hard deadline affects no other hook.
    pub fn after_response<F>(mut self, hook: impl Fn(Report) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push_after(hook, |hooks, report, context, until| Box::pin(hooks.run_after(report, context, until)));
        self
    }

    /// Called with the number of pieces of background work that were not done in their time, before they are cancelled.
    pub fn on_unfinished(mut self, hook: impl Fn(&Invocation, usize) + Send + Sync + 'static) -> Self {
        self.hooks.unfinished.push(Box::new(hook));
        self
    }

    /// Called before the handler when the environment was frozen for at least `gap` since its last invocation, with the frozen
    /// time.
    ///
    /// Use it to drop connections that are closed by now, for example with `aws_sdk::HttpsClient::drop_connections`. It must be
    /// quick, because the caller waits for it. It runs in the function's Tokio runtime, so it may spawn a task that opens new
    /// connections while the handler runs.
    pub fn on_thaw(mut self, gap: Duration, hook: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        self.hooks.thaw.push((gap, Box::new(hook)));
        self
    }

    /// Runs before Lambda takes the SnapStart snapshot of the initialized environment. Close here what must not be in the
    /// snapshot. Without SnapStart the hook is not called.
    ///
    /// Hooks run in reverse order of their registration, after those of
    /// [`register_snapstart_resource`](crate::Lifecycle::register_snapstart_resource). A hook that fails or panics ends the
    /// function. Its error is posted to `/init/error`, logged and returned by [`run`](crate::Lifecycle::run).
    /// [`init`](crate::init#snapstart) describes what the library does itself.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, Lifecycle};
    /// # async fn load_prices() -> Result<(), Error> { Ok(()) }
    /// # async fn refresh_secrets() -> Result<(), Error> { Ok(()) }
    ///
    /// let life = Lifecycle::builder()
    ///     .before_snapshot(|| async { load_prices().await })
    ///     .after_restore(|| async { refresh_secrets().await })
    ///     .build();
    /// ```
    pub fn before_snapshot<F, E>(mut self, hook: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error> + 'static,
    {
        self.snapstart.before_snapshot(hook);
        self
    }

    /// Runs in each environment that is restored from a SnapStart snapshot, before its first event. Reconnect here, refresh
    /// credentials and seed random numbers. Without SnapStart the hook is not called.
    ///
    /// Hooks run in the order of their registration, and share the 10 seconds that Lambda gives a restore. A hook that fails or
    /// panics ends the function. Its error is posted to `/restore/error`, logged and returned by [`run`](crate::Lifecycle::run).
    pub fn after_restore<F, E>(mut self, hook: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Error> + 'static,
    {
        self.snapstart.after_restore(hook);
        self
    }

    /// Runs when the platform ends the environment, and when [`run`](crate::Lifecycle::run) ends with an error. Hooks run in
    /// reverse order and have 400 ms together. Then the last flush runs, and `run` returns.
    ///
    /// They run on a separate thread, so a handler that blocks its thread does not keep them from running. Registers an
    /// extension, which costs time in the Init phase: see [`shutdown`](crate::shutdown). Needs Unix signals.
    pub fn on_shutdown<F>(mut self, hook: impl FnOnce() -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.hooks.push_shutdown(hook);
        self.on_shutdown = Some(OnShutdown::new());
        self
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::Settings;
    use std::collections::BTreeSet;

    /// Each variable, and the method that sets the same in code.
    const BOTH: [(&str, &str); 29] = [
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
        let methods: BTreeSet<&str> = include_str!("builder.rs")
            .lines()
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
        let rows = include_str!("../docs/settings.md").lines().filter_map(|line| line.strip_prefix("| `"));
        let rows: Vec<Vec<&str>> =
            rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches(['`', '|', ' '])).collect()).collect();
        let of_variables =
            rows.iter().filter(|row| row.len() == 5).map(|row| (row[0].trim_start_matches("LAMBDA_LIFECYCLE_"), row[1]));
        assert_eq!(of_variables.collect::<Vec<_>>(), BOTH);
        let of_methods = rows.iter().filter(|row| row.len() == 2).map(|row| row[0]);
        assert_eq!(of_methods.collect::<Vec<_>>(), IN_CODE.map(|(method, _)| method));
    }
}
