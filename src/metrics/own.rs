//! The library's own metrics.

use super::{memory, spent::Spent};
use crate::{
    Environment, Invocation,
    emf::{Base, Ids, Line, MOST_DIMENSIONS, Resolution, Unit, milliseconds},
    invocation::Shared,
};
use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

/// The high-water mark only rises, and reading it takes longer than everything else.
const MEMORY: Duration = Duration::from_secs(1);

/// The name of this dimension in Powertools.
const FUNCTION_NAME: &str = "function_name";

/// The outcome of an invocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) outcome: Option<&'static str>,
    pub(super) is_fault: bool,
    pub(super) handler: Option<Duration>,
    pub(super) response: Option<Duration>,
    pub(super) metrics_left_out: u32,
}

/// A line with the dimensions of the library's own metrics: the service, the default ones, the function.
struct OwnLine<'b> {
    base: &'b Base,
    dimensions: Vec<(&'b str, Cow<'b, str>)>,
    /// One more dimension of the metrics that follow.
    more: Option<(&'b str, &'b str)>,
    /// Whether the dimensions of the metrics that follow are declared.
    is_declared: bool,
    line: Line,
    is_empty: bool,
}

impl<'b> OwnLine<'b> {
    fn new(base: &'b Base) -> Self {
        // One more may follow.
        const OTHERS: usize = 2;
        let function = Environment::current().function_name.as_str();
        let common = base.dimensions.iter().filter(|(name, _)| name != FUNCTION_NAME).take(MOST_DIMENSIONS - OTHERS);
        let common = common.filter_map(|(name, value)| Some((name.as_str(), base.redacted(name, value)?)));
        let mut dimensions = Vec::with_capacity(base.dimensions.len() + OTHERS);
        dimensions.extend(common);
        if !function.is_empty() {
            dimensions.push((FUNCTION_NAME, Cow::Borrowed(function)));
        }
        Self { base, dimensions, more: None, is_declared: false, line: Line::new(), is_empty: true }
    }

    /// The metrics that follow have one more dimension.
    fn with(&mut self, name: &'b str, value: &'b str) {
        self.more = Some((name, value));
        self.is_declared = false;
    }

    fn declare(&mut self) {
        let more = self.more;
        let known = self.dimensions.iter().map(|(name, value)| (*name, value.as_ref()));
        let all: Vec<(&str, &str)> = known.filter(|(name, _)| more.is_none_or(|(more, _)| more != *name)).chain(more).collect();
        self.line.begin(&self.base.namespace, &all);
        self.is_declared = true;
    }

    fn metric(&mut self, name: &str, unit: Unit, value: f64) {
        if !self.is_declared {
            self.declare();
        }
        // A default dimension may have the name of a metric.
        if !self.line.has(name) {
            self.line.metric(name, unit, Resolution::Standard, &[value]);
            self.is_empty = false;
        }
    }

    fn count(&mut self, name: &str, count: impl Into<f64>) {
        self.metric(name, Unit::Count, count.into());
    }

    fn duration(&mut self, name: &str, duration: Option<Duration>) {
        if let Some(duration) = duration {
            self.metric(name, Unit::Milliseconds, milliseconds(duration));
        }
    }

    fn finish(mut self, ids: &Ids, timestamp: u64, out: &mut Vec<u8>) {
        if !self.is_empty {
            ids.write(&mut self.line);
            self.line.finish(timestamp, out);
        }
    }
}

/// Writes the metrics that are known when the response was posted, or when it is clear that there will be none.
pub(super) fn write_end(
    invocation: &Invocation,
    base: &Base,
    ids: &Ids,
    ended: &Ended,
    (now, timestamp): (Instant, u64),
    out: &mut Vec<u8>,
) {
    let shared = invocation.shared();
    let mut own = OwnLine::new(base);
    if invocation.is_cold_start() {
        own.count("ColdStart", 1);
    }
    let init = std::mem::take(&mut *shared.metrics.init());
    own.duration("InitDuration", init.in_all());
    own.duration("HandlerDuration", ended.handler);
    own.duration("ResponseDuration", ended.response);
    if ended.metrics_left_out > 0 {
        own.count("MetricsLeftOut", ended.metrics_left_out);
    }
    if shared.metrics.is_due(now, MEMORY)
        && let Some(used) = memory::used()
    {
        own.metric("MemoryUsed", Unit::Megabytes, used);
    }
    if let Some(outcome) = ended.outcome {
        own.count("Faults", u8::from(ended.is_fault));
        own.with("outcome", outcome);
        own.count("Invocations", 1);
    }
    own.finish(ids, timestamp, out);
    for (name, duration) in &init.each {
        write_initializer(base, ids, name, *duration, timestamp, out);
    }
}

fn write_initializer(base: &Base, ids: &Ids, name: &str, duration: Duration, timestamp: u64, out: &mut Vec<u8>) {
    let name = crate::emf::value(name).unwrap_or(Cow::Borrowed("unnamed"));
    let Some(name) = base.redacted("initializer", &name) else { return };
    let mut own = OwnLine::new(base);
    own.with("initializer", &name);
    own.duration("InitDuration", Some(duration));
    own.finish(ids, timestamp, out);
}

/// Writes the measurements since the response was posted.
pub(super) fn write_after(base: &Base, ids: &Ids, spent: &Spent, left_out: u32, timestamp: u64, out: &mut Vec<u8>) {
    let mut own = OwnLine::new(base);
    own.duration("AfterResponseDuration", spent.work.total);
    own.duration("FlushDuration", spent.flush.total);
    if spent.spans_left_out > 0 {
        own.count("SpansLeftOut", spent.spans_left_out);
    }
    if left_out > 0 {
        own.count("MetricsLeftOut", left_out);
    }
    own.finish(ids, timestamp, out);
}

/// Writes the durations of the initializers before one of them failed.
pub(super) fn write_failed_init(shared: &Shared, base: &Base, timestamp: u64, out: &mut Vec<u8>) {
    let init = std::mem::take(&mut *shared.metrics.init());
    let mut own = OwnLine::new(base);
    own.count("InitFailures", 1);
    own.duration("InitDuration", init.in_all());
    own.finish(&Ids::default(), timestamp, out);
    for (name, duration) in &init.each {
        write_initializer(base, &Ids::default(), name, *duration, timestamp, out);
    }
}
