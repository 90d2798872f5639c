//! The facts with which an invocation starts, and the parent of its span.

use super::Deadline;
use crate::{
    clock, environment::Start, export::Decision, ids::ProcessIds, propagation::Remote, settings::Settings, xray::TraceHeader,
};
use http::HeaderValue;
use opentelemetry::trace::{SpanContext, TraceFlags};
use opentelemetry_sdk::trace::IdGenerator;
use std::{sync::Arc, time::Instant};

/// The facts of an invocation when it starts.
pub(crate) struct Facts {
    /// Boxed, so that an invocation fits into the allocator's cache.
    pub(crate) context: Box<lambda_runtime::Context>,
    pub(crate) received: Instant,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) header: TraceHeader,
    /// The caller that W3C's fields name.
    pub(crate) remote: Option<Box<Remote>>,
    pub(crate) start: Start,
    /// False if no layer would send its spans.
    pub(crate) traced: bool,
    /// The caller's data that came with the event, unchanged.
    pub(crate) client_context: Option<HeaderValue>,
    pub(crate) identity: Option<HeaderValue>,
    pub(crate) correlation_id: Option<Arc<str>>,
}

impl Facts {
    pub(super) fn continued(&self, settings: &Settings) -> Option<&SpanContext> {
        self.remote.as_ref().filter(|_| settings.continues_invocations())?.parent.as_ref()
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            context: Box::default(),
            received: clock::now(),
            deadline: None,
            header: TraceHeader::default(),
            remote: None,
            start: Start::Warm,
            traced: true,
            client_context: None,
            identity: None,
            correlation_id: None,
        }
    }
}

/// The remote parent of an invocation's span. With exporters, it has the decision of their sampler, for outgoing calls with a
/// `traceparent`.
///
/// A Root without a Parent is not a valid context, and the SDK would start another trace. So a parent is made up, which no
/// destination names.
pub(super) fn parent_of(header: &TraceHeader, continued: Option<SpanContext>, decision: &Decision) -> Option<SpanContext> {
    let Decision { wanted, has_exporters, trace_state, .. } = decision;
    if let Some(caller) = continued {
        if !has_exporters {
            return Some(caller);
        }
        let flags = wanted.flags(caller.trace_flags());
        return Some(SpanContext::new(caller.trace_id(), caller.span_id(), flags, true, trace_state.clone()));
    }
    let came = header.span_context();
    if !has_exporters && (came.is_some() || !wanted.anywhere()) {
        return came;
    }
    let parent = header.parent().unwrap_or_else(|| ProcessIds.new_span_id());
    Some(SpanContext::new(header.root()?, parent, wanted.flags(TraceFlags::default()), true, trace_state.clone()))
}
