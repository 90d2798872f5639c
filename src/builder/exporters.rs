//! Other destinations of spans, and what they get.

use super::Builder;
use crate::{
    Flush,
    export::{Exporters, Queue, async_queue, queue},
    shutdown::OnShutdown,
    trace,
};
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::trace::{ShouldSample, SpanExporter};

/// Other destinations of the trace.
impl Builder {
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
}
