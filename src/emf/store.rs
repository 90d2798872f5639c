//! Stores metrics until they are written.

use super::{
    text,
    unit::{Resolution, Unit},
};
use serde_json::Value;

/// Dimensions besides the service's and the default ones, in the order of their addition.
pub(crate) type Dimensions = Vec<(String, String)>;

/// The most values in a store. A full store is written.
pub(crate) const MOST_VALUES: usize = 1_000;

/// The most keys of metadata.
const MOST_METADATA: usize = 100;

/// The largest value that CloudWatch accepts: two to the power of 360.
const LARGEST: f64 = 2.348_542_582_773_833_3e108;

/// The effect of a value on earlier ones of the same metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// It is one more value.
    Sample,
    /// It is added to the last value.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "the facade has counters"))]
    Sum,
    /// It replaces the last value.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "the facade has gauges"))]
    Last,
}

/// The metric of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series<'s> {
    pub(crate) name: &'s str,
    pub(crate) unit: Unit,
    pub(crate) resolution: Resolution,
}

/// The metrics of one invocation, or of code outside of any.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(super) sets: Vec<Set>,
    pub(super) metadata: Vec<(String, Value)>,
    values: usize,
    left_out: u32,
}

/// The metrics of one set of dimensions.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) dimensions: Dimensions,
    pub(super) metrics: Vec<Metric>,
}

#[derive(Debug)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) unit: Unit,
    pub(super) resolution: Resolution,
    pub(super) values: Values,
}

/// The values of a metric, usually one.
#[derive(Debug)]
pub(super) enum Values {
    One(f64),
    Many(Vec<f64>),
}

impl Values {
    pub(super) fn as_slice(&self) -> &[f64] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }

    fn last(&mut self) -> Option<&mut f64> {
        match self {
            Self::One(value) => Some(value),
            Self::Many(values) => values.last_mut(),
        }
    }

    fn push(&mut self, value: f64) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, value]),
            Self::Many(values) => values.push(value),
        }
    }
}

/// The reason why a value or a key was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The name is empty, or used by the format or by a dimension.
    Name,
    /// The value is not finite, or larger than CloudWatch accepts.
    Value,
    /// The limit of keys is reached.
    Room,
}

impl Store {
    /// Stores a value. `common` are the dimensions that are written with every set.
    pub(crate) fn record(
        &mut self,
        common: &[(String, String)],
        dimensions: &Dimensions,
        series: Series<'_>,
        value: f64,
        record: Record,
    ) -> Result<(), Refused> {
        let taken = |name: &str| common.iter().chain(dimensions).any(|(dimension, _)| dimension == name);
        let kept = match text::name(series.name).filter(|name| !taken(name)) {
            Some(name) => self.keep(dimensions, Series { name: &name, ..series }, value, record),
            None => Err(Refused::Name),
        };
        if kept.is_err() {
            self.left_out = self.left_out.saturating_add(1);
        }
        kept
    }

    fn keep(&mut self, dimensions: &Dimensions, series: Series<'_>, value: f64, record: Record) -> Result<(), Refused> {
        // Also false for NaN.
        if !(-LARGEST..=LARGEST).contains(&value) {
            return Err(Refused::Value);
        }
        let known = self.sets.iter().position(|set| set.dimensions == *dimensions);
        let at = known.unwrap_or_else(|| {
            self.sets.push(Set { dimensions: dimensions.clone(), metrics: Vec::new() });
            self.sets.len() - 1
        });
        let metrics = &mut self.sets[at].metrics;
        let Series { name, unit, resolution } = series;
        let same = |metric: &&mut Metric| metric.name == name && metric.unit == unit && metric.resolution == resolution;
        match metrics.iter_mut().find(same) {
            None => {
                metrics.push(Metric { name: name.to_owned(), unit, resolution, values: Values::One(value) });
                self.values += 1;
            }
            Some(metric) => match (record, metric.values.last()) {
                (Record::Sum, Some(last)) => *last += value,
                (Record::Last, Some(last)) => *last = value,
                _ => {
                    metric.values.push(value);
                    self.values += 1;
                }
            },
        }
        Ok(())
    }

    /// Stores a key that is written beside the metrics. The last value of a key counts.
    pub(crate) fn describe(&mut self, key: &str, value: Value) -> Result<(), Refused> {
        let key = text::name(key).ok_or(Refused::Name)?;
        if let Some((_, known)) = self.metadata.iter_mut().find(|(known, _)| *known == key) {
            *known = value;
        } else if self.metadata.len() < MOST_METADATA {
            self.metadata.push((key.into_owned(), value));
        } else {
            return Err(Refused::Room);
        }
        Ok(())
    }

    /// True if the store is full.
    pub(crate) fn is_full(&self) -> bool {
        self.values >= MOST_VALUES
    }

    /// Takes the metrics, and keeps the metadata for later ones.
    pub(crate) fn take(&mut self) -> Self {
        let metadata = if self.sets.is_empty() { Vec::new() } else { self.metadata.clone() };
        let (values, left_out) = (std::mem::take(&mut self.values), std::mem::take(&mut self.left_out));
        Self { sets: std::mem::take(&mut self.sets), metadata, values, left_out }
    }

    /// The number of values that were not stored.
    pub(crate) fn left_out(&self) -> u32 {
        self.left_out
    }

    pub(crate) fn has_metrics(&self) -> bool {
        !self.sets.is_empty()
    }
}
