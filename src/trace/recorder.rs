//! The one recorder of a process: the tracer that makes spans, and where they wait.

use super::{spans::Spans, tracer::SpanTracer};
use opentelemetry::{InstrumentationScope, KeyValue};
use std::sync::OnceLock;

static RECORDER: OnceLock<Recorder> = OnceLock::new();
/// The instrumentation scope of every span that is made here.
const SCOPE: &str = "lambda-lifecycle";
/// The scope's attribute that makes a segment of an invocation.
const SEGMENT: &str = "aws.xray.segment";

pub(crate) struct Recorder {
    pub(crate) tracer: SpanTracer,
    /// For invocations that are no part of Lambda's own segments; its scope tells exporters so.
    pub(crate) segment_tracer: SpanTracer,
    pub(crate) spans: Spans,
}

impl Recorder {
    /// The recorder, made at the first call.
    pub(crate) fn start() -> &'static Self {
        RECORDER.get_or_init(|| {
            let segment = InstrumentationScope::builder(SCOPE).with_attributes([KeyValue::new(SEGMENT, true)]).build();
            Self {
                tracer: SpanTracer::new(InstrumentationScope::builder(SCOPE).build()),
                segment_tracer: SpanTracer::new(segment),
                spans: Spans::default(),
            }
        })
    }

    pub(crate) fn get() -> Option<&'static Self> {
        RECORDER.get()
    }
}

/// True of the scope of an invocation's span that is a subsegment of Lambda's own segment.
#[cfg(feature = "xray-api")]
pub(crate) fn is_within_lambda(scope: &InstrumentationScope) -> bool {
    scope.name() == SCOPE && !scope.attributes().any(|attribute| attribute.key.as_str() == SEGMENT)
}
