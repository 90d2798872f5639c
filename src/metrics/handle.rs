//! The user's own metrics.

use super::{
    base::{add_dimension, base},
    stage,
    value::MetricValue,
};
use crate::{
    AnnotationValue, Invocation,
    emf::{Dimensions, Record, Refused, Resolution, Series, Store, Unit},
    invocation::Shared,
    notice::{self, Data, Warning},
};
use std::sync::{Arc, Once};

/// Records metrics with additional dimensions.
///
/// [`Invocation::metrics`] creates one for an invocation, and [`Lifecycle::metrics`](crate::Lifecycle::metrics) one for code
/// outside of any. Metrics of the same dimensions share a line of the log. If metrics are disabled, it does nothing.
///
/// ```
/// use lambda_lifecycle::{Invocation, metrics::Unit};
///
/// let gold = Invocation::current().metrics().dimension("plan", "gold");
/// gold.record("OrdersPlaced", 1, Unit::Count);
/// gold.high_resolution().record("PaymentLatency", 83.5, Unit::Milliseconds);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it records nothing by itself"]
pub struct Metrics {
    owner: Owner,
    dimensions: Dimensions,
    resolution: Resolution,
}

#[derive(Clone, Debug)]
enum Owner {
    /// Metrics are disabled.
    Nobody,
    Invocation(Invocation),
    Lifecycle(Arc<Shared>),
}

impl Invocation {
    /// Records a value of a custom metric, with the dimensions `service` and those of
    /// [`Builder::metrics_dimensions`](crate::Builder::metrics_dimensions).
    ///
    /// Values of one name in one invocation become an array. They are written after the response. If metrics are disabled, this
    /// does nothing. A value that is not a finite number is left out, counted as `MetricsLeftOut`, and logged once.
    ///
    /// ```
    /// use lambda_lifecycle::{Invocation, metrics::Unit};
    ///
    /// # let (items, elapsed) = (vec![1], std::time::Duration::from_millis(7));
    /// let invocation = Invocation::current();
    /// invocation.metric("OrdersPlaced", 1, Unit::Count);
    /// invocation.metric("ItemsPerOrder", items.len(), Unit::Count);
    /// invocation.metric("PaymentLatency", elapsed, Unit::Milliseconds);
    /// ```
    pub fn metric(&self, name: &str, value: impl Into<MetricValue>, unit: Unit) {
        if self.is_measured() {
            let series = Series { name, unit, resolution: Resolution::Standard };
            record_in(self, &Dimensions::new(), series, value.into().in_unit(unit), Record::Sample);
        }
    }

    /// Metrics with additional dimensions, or of a high resolution.
    pub fn metrics(&self) -> Metrics {
        let owner = if self.is_measured() { Owner::Invocation(self.clone()) } else { Owner::Nobody };
        Metrics { owner, dimensions: Dimensions::new(), resolution: Resolution::Standard }
    }

    /// Adds a member to the lines of this invocation's own metrics that is neither a metric nor a dimension. Use it for values
    /// with high cardinality, such as an order's id, which you query with Logs Insights.
    ///
    /// The last value of a key counts. The limit is 100 keys.
    pub fn metrics_metadata(&self, key: &str, value: impl Into<AnnotationValue>) {
        let Some(measured) = self.measured() else { return };
        // This runs user code, so the lock must not be held.
        let value = value.into().into_json();
        let described = measured.lock().store.describe(key, value);
        if described.is_err() {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(|| notice::log(Warning::MetricMetadataRefused, Data::name(key)));
        }
    }
}

impl Metrics {
    /// For metrics that belong to no invocation.
    pub(crate) fn of_lifecycle(shared: &Arc<Shared>) -> Self {
        let owner = if shared.settings.metrics.is_on() { Owner::Lifecycle(Arc::clone(shared)) } else { Owner::Nobody };
        Self { owner, dimensions: Dimensions::new(), resolution: Resolution::Standard }
    }

    /// The same with one more dimension, or with another value of one.
    ///
    /// A metric has at most 30 dimensions: `service`, the default ones, and these. A dimension beyond the limit, or without a
    /// name or a value, is left out and logged once. CloudWatch accepts ASCII; other characters become `_`. CloudWatch bills each
    /// combination of values as a separate metric, so use dimensions with few values.
    pub fn dimension(mut self, name: &str, value: &str) -> Self {
        let common = match &self.owner {
            Owner::Nobody => return self,
            Owner::Invocation(invocation) => base(invocation.shared()),
            Owner::Lifecycle(shared) => base(shared),
        };
        add_dimension(&mut self.dimensions, &common.dimensions, name, value);
        self
    }

    /// The same with metrics that CloudWatch stores by the second instead of by the minute.
    pub fn high_resolution(mut self) -> Self {
        self.resolution = Resolution::High;
        self
    }

    /// Records a value, like [`Invocation::metric`].
    pub fn record(&self, name: &str, value: impl Into<MetricValue>, unit: Unit) {
        if matches!(self.owner, Owner::Nobody) {
            return;
        }
        let value = value.into().in_unit(unit);
        self.keep(Series { name, unit, resolution: self.resolution }, value, Record::Sample);
    }

    fn keep(&self, series: Series<'_>, value: f64, record: Record) {
        match &self.owner {
            Owner::Nobody => {}
            Owner::Invocation(invocation) => record_in(invocation, &self.dimensions, series, value, record),
            Owner::Lifecycle(shared) => record_outside(shared, &self.dimensions, series, value, record),
        }
    }
}

/// Records a value in an invocation, or writes it at once if the invocation's last metrics are already written.
pub(super) fn record_in(invocation: &Invocation, dimensions: &Dimensions, series: Series<'_>, value: f64, record: Record) {
    let Some(measured) = invocation.measured() else { return };
    let common = &base(invocation.shared()).dimensions;
    let mut state = measured.lock();
    let recorded = state.store.record(common, dimensions, series, value, record);
    let full = (state.closed || state.store.is_full()).then(|| state.store.take());
    drop(state);
    if let Some(store) = full {
        stage::write_now(invocation, &store);
    }
    if let Err(refused) = recorded {
        refuse_metric(series.name, value, refused);
    }
}

/// Records a value that belongs to no invocation.
pub(super) fn record_outside(shared: &Shared, dimensions: &Dimensions, series: Series<'_>, value: f64, record: Record) {
    let common = &base(shared).dimensions;
    let recorded = {
        let mut store: std::sync::MutexGuard<'_, Store> = shared.metrics.outside();
        store.record(common, dimensions, series, value, record)
    };
    stage::write_outside_if_full(shared);
    if let Err(refused) = recorded {
        refuse_metric(series.name, value, refused);
    }
}

#[cold]
fn refuse_metric(name: &str, value: f64, refused: Refused) {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| {
        let value = value.to_string();
        let expected = match refused {
            Refused::Name => "a name that no dimension has",
            Refused::Value | Refused::Room => "a finite number",
        };
        notice::log(Warning::MetricRefused, Data { value: Some(&value), expected: Some(expected), ..Data::name(name) });
    });
}
