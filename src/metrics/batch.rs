//! The results of a batch.

use super::base;
use crate::{
    Environment, Invocation,
    emf::{Record, Resolution, Series, Unit, milliseconds},
};
use std::time::Duration;

/// The results of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    /// The kind of source, as in the annotation `trigger`.
    pub(crate) source: &'static str,
    /// Items that were handled successfully.
    pub(crate) processed: usize,
    /// Items that failed.
    pub(crate) failed: usize,
    /// Items that the source will send again: failed ones, and those that the deadline left no time for.
    pub(crate) returned: usize,
    /// The time since the oldest item was sent, when the batch arrived.
    pub(crate) oldest: Option<Duration>,
}

/// Records the results of a batch.
pub(crate) fn batch(invocation: &Invocation, batch: &Batch) {
    let shared = invocation.shared();
    let Some(measured) = invocation.measured().filter(|_| shared.settings.metrics.built_in) else { return };
    let dimensions = vec![
        ("function_name".to_owned(), Environment::current().function_name.clone()),
        ("event_source".to_owned(), batch.source.to_owned()),
    ];
    let common = &base(shared).dimensions;
    let mut state = measured.lock();
    let mut record = |name, unit, value| {
        // Its names and values are valid.
        let _ = state.store.record(
            common,
            &dimensions,
            Series { name, unit, resolution: Resolution::Standard },
            value,
            Record::Sample,
        );
    };
    record("BatchItemsProcessed", Unit::Count, batch.processed as f64);
    record("BatchItemsFailed", Unit::Count, batch.failed as f64);
    record("BatchItemsReturned", Unit::Count, batch.returned as f64);
    if let Some(oldest) = batch.oldest {
        record("BatchOldestItemAge", Unit::Milliseconds, milliseconds(oldest));
    }
}
