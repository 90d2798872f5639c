//! The span of an outgoing call.

use super::tracer::{Span, TRACER};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, SpanContext, Status, Tracer},
};
use std::ops::{Deref, DerefMut};

/// A span that ends as cancelled when it is dropped before its call has ended: the caller dropped the call, or a timeout did.
#[derive(Debug)]
pub(crate) struct ClientSpan {
    span: Span,
    ended: bool,
}

impl ClientSpan {
    /// Starts a child of the active span.
    pub(crate) fn begin(span: SpanBuilder) -> Self {
        Self { span: TRACER.build_with_context(span, &Context::current()), ended: false }
    }

    /// The caller that the call's headers name.
    pub(crate) fn context(&self) -> &SpanContext {
        self.span.span_context()
    }

    /// Removes the span of a call that was never made.
    #[cfg(feature = "aws-sdk")]
    pub(crate) fn discard(mut self) {
        self.ended = true;
        self.span.discard();
    }

    /// Ends the span of a completed call.
    pub(crate) fn end(mut self) {
        self.ended = true;
        self.span.end();
    }
}

impl Deref for ClientSpan {
    type Target = Span;

    fn deref(&self) -> &Span {
        &self.span
    }
}

impl DerefMut for ClientSpan {
    fn deref_mut(&mut self) -> &mut Span {
        &mut self.span
    }
}

impl Drop for ClientSpan {
    fn drop(&mut self) {
        if !self.ended {
            self.span.set_attribute(KeyValue::new("error.type", "Cancelled"));
            self.span.set_status(Status::error("cancelled: the call was dropped before it ended"));
            self.span.end();
        }
    }
}
