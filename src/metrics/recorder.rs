//! The recorder of the `metrics` crate's macros.

use super::{
    base::{add_dimension, base},
    handle::{record_in, record_outside},
};
use crate::{
    Invocation,
    emf::{Dimensions, Record, Resolution, Series, Unit},
    invocation::Shared,
};
use ::metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// Turns the values that macros of the [`metrics`](::metrics) crate record into CloudWatch metrics. Created by
/// [`Lifecycle::metrics_recorder`](crate::Lifecycle::metrics_recorder).
///
/// | macro | what is written for each invocation |
/// |---|---|
/// | `counter!` | the sum of its increments |
/// | `gauge!` | its last value |
/// | `histogram!` | each value |
///
/// Labels are dimensions. The unit is the one that `describe_counter!` and the other describing macros set; units that CloudWatch
/// does not have are converted.
/// Values that are recorded outside of any invocation are written after the next response, or when the function ends.
///
/// You can keep a handle: its values belong to the invocation in which they are recorded.
#[derive(Clone)]
pub struct Recorder(Arc<State>);

struct State {
    shared: Arc<Shared>,
    units: RwLock<HashMap<KeyName, ::metrics::Unit>>,
    /// The values of gauges, and the values to which counters were set. They belong to the process, not to an invocation.
    gauges: Mutex<HashMap<Key, f64>>,
    counters: Mutex<HashMap<Key, u64>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::new(State {
            shared: Arc::clone(shared),
            units: RwLock::default(),
            gauges: Mutex::default(),
            counters: Mutex::default(),
        }))
    }

    fn describe(&self, name: KeyName, unit: Option<::metrics::Unit>) {
        if let Some(unit) = unit {
            self.0.units.write().unwrap_or_else(PoisonError::into_inner).insert(name, unit);
        }
    }

    /// `None` if metrics are disabled.
    fn handle(&self, key: &Key) -> Option<Arc<Handle>> {
        self.0.shared.settings.metrics.is_on().then(|| {
            let mut dimensions = Dimensions::new();
            for label in key.labels() {
                add_dimension(&mut dimensions, &base(&self.0.shared).dimensions, label.key(), label.value());
            }
            Arc::new(Handle { state: Arc::clone(&self.0), key: key.clone(), dimensions })
        })
    }
}

impl ::metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, unit: Option<::metrics::Unit>, _: SharedString) {
        self.describe(key, unit);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<::metrics::Unit>, _: SharedString) {
        self.describe(key, unit);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<::metrics::Unit>, _: SharedString) {
        self.describe(key, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.handle(key).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.handle(key).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.handle(key).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

/// One metric with its labels.
struct Handle {
    state: Arc<State>,
    key: Key,
    dimensions: Dimensions,
}

impl Handle {
    fn keep(&self, value: f64, record: Record) {
        let name = self.key.name();
        let described = self.state.units.read().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        let (unit, factor) = described.map_or((Unit::None, 1.0), unit);
        let (series, value) = (Series { name, unit, resolution: Resolution::Standard }, value * factor);
        // An invocation of another lifecycle of this process may have disabled metrics.
        match Invocation::try_current().filter(Invocation::is_measured) {
            Some(invocation) => record_in(&invocation, &self.dimensions, series, value, record),
            None => record_outside(&self.state.shared, &self.dimensions, series, value, record),
        }
    }

    fn change_gauge(&self, change: impl FnOnce(f64) -> f64) {
        let value = {
            let mut gauges = self.state.gauges.lock().unwrap_or_else(PoisonError::into_inner);
            let gauge = gauges.entry(self.key.clone()).or_default();
            *gauge = change(*gauge);
            *gauge
        };
        self.keep(value, Record::Last);
    }
}

impl CounterFn for Handle {
    fn increment(&self, value: u64) {
        self.keep(value as f64, Record::Sum);
    }

    fn absolute(&self, value: u64) {
        let risen = {
            let mut counters = self.state.counters.lock().unwrap_or_else(PoisonError::into_inner);
            let counter = counters.entry(self.key.clone()).or_default();
            let risen = value.saturating_sub(*counter);
            *counter += risen;
            risen
        };
        self.keep(risen as f64, Record::Sum);
    }
}

impl GaugeFn for Handle {
    fn increment(&self, value: f64) {
        self.change_gauge(|gauge| gauge + value);
    }

    fn decrement(&self, value: f64) {
        self.change_gauge(|gauge| gauge - value);
    }

    fn set(&self, value: f64) {
        self.change_gauge(|_| value);
    }
}

impl HistogramFn for Handle {
    fn record(&self, value: f64) {
        self.keep(value, Record::Sample);
    }
}

/// CloudWatch's unit, and the factor by which a value is multiplied.
fn unit(unit: ::metrics::Unit) -> (Unit, f64) {
    use ::metrics::Unit as Of;
    const KIBI: f64 = 1024.0;
    match unit {
        Of::Count => (Unit::Count, 1.0),
        Of::Percent => (Unit::Percent, 1.0),
        Of::Seconds => (Unit::Seconds, 1.0),
        Of::Milliseconds => (Unit::Milliseconds, 1.0),
        Of::Microseconds => (Unit::Microseconds, 1.0),
        Of::Nanoseconds => (Unit::Microseconds, 1e-3),
        Of::Tebibytes => (Unit::Bytes, KIBI * KIBI * KIBI * KIBI),
        Of::Gibibytes => (Unit::Bytes, KIBI * KIBI * KIBI),
        Of::Mebibytes => (Unit::Bytes, KIBI * KIBI),
        Of::Kibibytes => (Unit::Bytes, KIBI),
        Of::Bytes => (Unit::Bytes, 1.0),
        Of::TerabitsPerSecond => (Unit::TerabitsPerSecond, 1.0),
        Of::GigabitsPerSecond => (Unit::GigabitsPerSecond, 1.0),
        Of::MegabitsPerSecond => (Unit::MegabitsPerSecond, 1.0),
        Of::KilobitsPerSecond => (Unit::KilobitsPerSecond, 1.0),
        Of::BitsPerSecond => (Unit::BitsPerSecond, 1.0),
        Of::CountPerSecond => (Unit::CountPerSecond, 1.0),
    }
}
