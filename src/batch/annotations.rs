//! Annotations of one record.

use crate::AnnotationValue;
use opentelemetry::{Context, KeyValue, trace::TraceContextExt};
use std::fmt;

/// The span of a record, where it has one.
#[derive(Clone, Default)]
pub(crate) struct Annotations(pub(super) Option<Context>);

impl Annotations {
    pub(crate) fn annotate(&self, key: &str, value: AnnotationValue) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(format!("annotation.{key}"), value.0));
        }
    }
}

/// Writes `annotate` for a record with the field `annotations`.
#[cfg(any(feature = "kinesis", feature = "dynamodb", feature = "kafka"))]
macro_rules! annotate {
    ($record:ident) => {
        impl<T> $record<T> {
            /// Adds an annotation to the span of this record, which X-Ray indexes. [`Invocation::annotate`] adds one to the invocation's.
            ///
            /// A record beyond the batch's [`span_budget`](crate::batch::Batch::span_budget) has no span to annotate.
            pub fn annotate(&self, key: &str, value: impl Into<crate::AnnotationValue>) {
                self.annotations.annotate(key, value.into());
            }
        }
    };
}
#[cfg(any(feature = "kinesis", feature = "dynamodb", feature = "kafka"))]
pub(crate) use annotate;

impl fmt::Debug for Annotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Annotations").finish_non_exhaustive()
    }
}
