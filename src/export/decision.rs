//! What the user's exporters are opened with, and the destinations that get an invocation.

use super::{flush::Flush, queue::Queue, wanted::Wanted};
use opentelemetry::{KeyValue, trace::TraceState};
use opentelemetry_sdk::trace::ShouldSample;

/// Settings for the user's exporters only.
#[derive(Debug)]
pub(crate) struct OfExporters {
    pub(super) queues: Vec<Box<dyn Queue>>,
    pub(super) flush: Flush,
    pub(super) sampler: Option<Box<dyn ShouldSample>>,
    pub(super) resource: Vec<KeyValue>,
}

/// The destinations that get an invocation.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub(crate) wanted: Wanted,
    /// True if the user has exporters, even if they do not get this invocation: `traceparent` carries their decision.
    pub(crate) has_exporters: bool,
    /// The attributes that the sampler adds to the invocation's span.
    pub(crate) attributes: Vec<KeyValue>,
    /// The trace state that the sampler derives from the parent's.
    pub(crate) trace_state: TraceState,
}
