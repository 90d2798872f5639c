//! Annotations of one record.

use crate::AnnotationValue;
use opentelemetry::{Context, KeyValue, trace::TraceContextExt};
use std::fmt;

/// The span of a record, where it has one.
#[derive(Clone, Default)]
pub struct Annotations(pub(super) Option<Context>);

impl Annotations {
    pub(crate) fn annotate(&self, key: &str, value: AnnotationValue) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(format!("annotation.{key}"), value.0));
        }
    }
}

impl fmt::Debug for Annotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Annotations").finish_non_exhaustive()
    }
}
