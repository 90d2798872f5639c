//! Writes a store as lines.

use super::{
    line::{LONGEST, Line},
    store::{Dimensions, Metric, Set, Store},
    text,
};
use crate::xray::{Redaction, Redactor};
use serde_json::Value;
use std::{borrow::Cow, collections::VecDeque};

/// The most metrics of one line that CloudWatch accepts.
const MOST_METRICS: usize = 100;
/// The most values of one metric in a line.
const MOST_VALUES: usize = 100;
/// The most dimensions of a metric.
pub(crate) const MOST_DIMENSIONS: usize = 30;

/// The most bytes of metadata in a line.
const METADATA: usize = 64 * 1024;

/// Shared by all metrics of a lifecycle.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) namespace: String,
    /// The service's, and the default ones.
    pub(crate) dimensions: Dimensions,
    pub(crate) redactor: Option<Redactor>,
}

/// The ids that connect a line to its invocation, the same as those of log lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids {
    pub(crate) request: Option<String>,
    pub(crate) trace: Option<String>,
}

impl Ids {
    /// Writes them as members.
    pub(crate) fn write(&self, line: &mut Line) {
        if let Some(request) = &self.request {
            line.member("requestId", request);
        }
        if let Some(trace) = &self.trace {
            line.member("traceId", trace);
        }
    }
}

impl Base {
    /// The redacted value of a dimension.
    pub(crate) fn redacted<'v>(&self, name: &str, value: &'v str) -> Option<Cow<'v, str>> {
        match &self.redactor {
            None => Some(Cow::Borrowed(value)),
            Some(redactor) => match redactor.ask(name, value) {
                Redaction::Keep => Some(Cow::Borrowed(value)),
                Redaction::Replace(other) => text::value(&other).map(|value| Cow::Owned(value.into_owned())),
                Redaction::Remove => None,
            },
        }
    }

    /// The redacted dimensions of a set, each name once with its last value.
    fn dimensions_of<'d>(&'d self, of_set: &'d [(String, String)]) -> Vec<(&'d str, Cow<'d, str>)> {
        let is_replaced = |name: &str| of_set.iter().any(|(other, _)| other == name);
        let common = self.dimensions.iter().filter(|(name, _)| !is_replaced(name));
        let all = common.chain(of_set);
        all.filter_map(|(name, value)| Some((name.as_str(), self.redacted(name, value)?))).collect()
    }
}

impl Store {
    /// Writes all metrics, in as many lines as they need, each with the ids and the metadata.
    pub(crate) fn write(&self, base: &Base, ids: &Ids, timestamp: u64, out: &mut Vec<u8>) {
        let metadata = self.metadata_as_it_may_leave(base);
        for set in &self.sets {
            set.write(base, ids, &metadata, timestamp, out);
        }
    }

    fn metadata_as_it_may_leave(&self, base: &Base) -> Vec<(&str, Value)> {
        let mut left = METADATA;
        let mut kept = Vec::with_capacity(self.metadata.len());
        for (key, value) in &self.metadata {
            let Some(value) = redacted(base.redactor.as_ref(), key, value) else { continue };
            let size = key.len() + value.to_string().len() + 4;
            if size <= left {
                left -= size;
                kept.push((key.as_str(), value));
            }
        }
        kept
    }
}

/// The redacted value of a member. The redactor gets numbers and booleans as text.
fn redacted(redactor: Option<&Redactor>, key: &str, value: &Value) -> Option<Value> {
    let Some(redactor) = redactor else { return Some(value.clone()) };
    let shown = value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed);
    match redactor.ask(key, &shown) {
        Redaction::Keep => Some(value.clone()),
        Redaction::Replace(other) => Some(other.into()),
        Redaction::Remove => None,
    }
}

/// The values of a metric that are not written yet.
struct Rest<'m>(&'m Metric, &'m [f64]);

impl Rest<'_> {
    /// The most bytes that its next values take: the name may need escaping, and occurs twice.
    fn size(&self) -> usize {
        const NUMBER: usize = 25;
        const AROUND: usize = 80;
        self.0.name.len() * 4 + self.1.len().min(MOST_VALUES) * NUMBER + AROUND
    }
}

impl Set {
    fn write(&self, base: &Base, ids: &Ids, metadata: &[(&str, Value)], timestamp: u64, out: &mut Vec<u8>) {
        let dimensions = base.dimensions_of(&self.dimensions);
        let dimensions: Vec<(&str, &str)> = dimensions.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        let mut waiting: VecDeque<_> = self.metrics.iter().map(|metric| Rest(metric, metric.values.as_slice())).collect();
        while !waiting.is_empty() {
            let mut line = Line::new();
            line.begin(&base.namespace, &dimensions);
            let mut written = 0;
            for _ in 0..waiting.len() {
                let Some(Rest(metric, values)) = waiting.pop_front() else { break };
                let rest = Rest(metric, values);
                let has_room = written < MOST_METRICS && line.len() + rest.size() + METADATA + 1024 <= LONGEST;
                // Metrics with the same name and different units share a member, and so do the values beyond a line's limit. They
                // need another line.
                if !has_room || line.has(&metric.name) {
                    waiting.push_back(rest);
                    continue;
                }
                let (now, later) = values.split_at(values.len().min(MOST_VALUES));
                line.metric(&metric.name, metric.unit, metric.resolution, now);
                written += 1;
                if !later.is_empty() {
                    waiting.push_back(Rest(metric, later));
                }
            }
            if written == 0 {
                // Only a metric with the name of a dimension does not fit into an empty line, and none is recorded.
                waiting.pop_front();
                continue;
            }
            ids.write(&mut line);
            for (key, value) in metadata {
                line.member(key, value);
            }
            line.finish(timestamp, out);
        }
    }
}

/// A duration in milliseconds, to the microsecond.
pub(crate) fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
