//! One line of the log that CloudWatch turns into metrics.

use super::unit::{Resolution, Unit};
use serde::Serialize;

/// Lambda splits a longer line into several events, which are then invalid JSON. The limit is 256 KB, of which each event needs
/// 26 bytes.
pub(super) const LONGEST: usize = 256 * 1024 - 100;

/// An unfinished line: its declarations, and the members with the values.
#[derive(Debug, Default)]
pub(crate) struct Line {
    declared: Vec<u8>,
    members: Vec<u8>,
    names: Vec<String>,
}

impl Line {
    /// The capacity for the library's own metrics, so that the line rarely grows.
    pub(crate) fn new() -> Self {
        Self { declared: Vec::with_capacity(768), members: Vec::with_capacity(512), names: Vec::new() }
    }

    /// Declares that the following metrics have these dimensions, whose values become members.
    pub(crate) fn begin(&mut self, namespace: &str, dimensions: &[(&str, &str)]) {
        self.end();
        let out = &mut self.declared;
        out.extend_from_slice(if out.is_empty() { b"{\"Namespace\":" } else { b",{\"Namespace\":" });
        json(out, namespace);
        out.extend_from_slice(b",\"Dimensions\":[[");
        for (index, (name, _)) in dimensions.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            json(out, name);
        }
        out.extend_from_slice(b"]],\"Metrics\":[");
        for (name, value) in dimensions {
            self.member(name, value);
        }
    }

    /// Ends the part that [`begin`](Self::begin) started.
    fn end(&mut self) {
        if !self.declared.is_empty() {
            self.declared.extend_from_slice(b"]}");
        }
    }

    /// A metric of the current dimensions. A name must not be declared twice.
    pub(crate) fn metric(&mut self, name: &str, unit: Unit, resolution: Resolution, values: &[f64]) {
        let out = &mut self.declared;
        out.extend_from_slice(if out.ends_with(b"[") { b"{\"Name\":" } else { b",{\"Name\":" });
        json(out, name);
        if unit != Unit::None {
            out.extend_from_slice(b",\"Unit\":");
            json(out, unit.as_str());
        }
        if resolution == Resolution::High {
            out.extend_from_slice(b",\"StorageResolution\":1");
        }
        out.push(b'}');
        self.key(name);
        match values {
            [value] => number(&mut self.members, *value),
            values => {
                self.members.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        self.members.push(b',');
                    }
                    number(&mut self.members, *value);
                }
                self.members.push(b']');
            }
        }
    }

    /// A member beside the metrics. The first one of a name counts.
    pub(crate) fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        if !self.has(name) {
            self.key(name);
            json(&mut self.members, value);
        }
    }

    /// Whether there is a member of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.iter().any(|known| known == name)
    }

    fn key(&mut self, name: &str) {
        self.names.push(name.to_owned());
        self.members.push(b',');
        json(&mut self.members, name);
        self.members.push(b':');
    }

    /// The current length of the line in bytes.
    pub(super) fn len(&self) -> usize {
        const AROUND: usize = 100;
        self.declared.len() + self.members.len() + AROUND
    }

    /// Writes the line, with the time of its metrics, in milliseconds since 1970.
    pub(crate) fn finish(mut self, timestamp: u64, out: &mut Vec<u8>) {
        self.end();
        out.reserve(self.len());
        out.extend_from_slice(b"{\"_aws\":{\"Timestamp\":");
        json(out, &timestamp);
        out.extend_from_slice(b",\"CloudWatchMetrics\":[");
        out.extend_from_slice(&self.declared);
        out.extend_from_slice(b"]}");
        out.extend_from_slice(&self.members);
        out.extend_from_slice(b"}\n");
    }
}

fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    // Writing a text or a number into memory cannot fail.
    let _ = serde_json::to_writer(out, value);
}

/// A number, without a fraction if it is whole.
fn number(out: &mut Vec<u8>, value: f64) {
    /// Up to this limit, an `f64` is exact for every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        json(out, &(value as i64));
    } else {
        json(out, &value);
    }
}
