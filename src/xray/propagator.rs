//! The tracing header as an OpenTelemetry propagator.

use std::sync::OnceLock;

use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator, text_map_propagator::FieldIter},
    trace::TraceContextExt,
};

use super::{TRACE_HEADER, TraceHeader};

/// X-Ray's header in a context whose spans do not have X-Ray's decision in their flags: another destination gets them too, or they are in the
/// trace of a W3C caller.
#[derive(Clone, Debug)]
pub(crate) struct Decided(pub(crate) TraceHeader);

/// Carries [`TraceHeader`] between processes under the key `x-amzn-trace-id`.
///
/// The parsed header is a value of the OpenTelemetry [`Context`]: `context.get::<TraceHeader>()`. So Lineage and unknown keys are
/// kept without the tracestate, and a header without a Parent, which is not a span context, is sent on unchanged. A W3C
/// tracestate never gets into the header.
///
/// ```
/// use std::collections::HashMap;
///
/// use lambda_lifecycle::xray::Propagator;
/// use opentelemetry::propagation::TextMapPropagator;
///
/// let incoming = HashMap::from([(
///     "x-amzn-trace-id".to_owned(),
///     "Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=a87bd80c:1".to_owned(),
/// )]);
/// let context = Propagator.extract(&incoming);
/// let mut outgoing = HashMap::new();
/// Propagator.inject_context(&context, &mut outgoing);
/// assert_eq!(incoming, outgoing);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Propagator;

impl TextMapPropagator for Propagator {
    fn inject_context(&self, context: &Context, carrier: &mut dyn Injector) {
        let came = context.get::<TraceHeader>();
        let span = context.span();
        let current = span.span_context();
        let decided = context.get::<Decided>().map(|Decided(header)| header);
        let header = match (came, decided) {
            // Without a recorded span, the header is sent on unchanged, `Sampled=?` included.
            (Some(came), _) if !current.is_valid() || came.speaks_for(current) => came.to_string(),
            (Some(came), Some(_)) if came.root() == Some(current.trace_id()) => {
                came.with_parent(current.span_id(), came.sampled()).to_string()
            }
            (Some(came), _) => came.continued_by(current).to_string(),
            (None, Some(decided)) if !current.is_valid() || current.is_remote() => decided.to_string(),
            (None, Some(decided)) => decided.with_parent(current.span_id(), decided.sampled()).to_string(),
            (None, None) if current.is_valid() => TraceHeader::from_span_context(current).to_string(),
            (None, None) => return,
        };
        if !header.is_empty() {
            carrier.set(TRACE_HEADER, header);
        }
    }

    fn extract_with_context(&self, context: &Context, carrier: &dyn Extractor) -> Context {
        let Some(text) = carrier.get(TRACE_HEADER) else {
            return context.clone();
        };
        let header = TraceHeader::parse(text);
        if header.is_empty() {
            return context.clone();
        }
        let remote = header.span_context();
        let context = context.with_value(header);
        match remote {
            Some(remote) => context.with_remote_span_context(remote),
            None => context,
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        static FIELDS: OnceLock<[String; 1]> = OnceLock::new();
        FieldIter::new(FIELDS.get_or_init(|| [TRACE_HEADER.to_owned()]))
    }
}
