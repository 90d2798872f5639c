//! Tumbling windows: the state that a function's response hands to the next batch of the same shard and window.
//!
//! See "Implementing stateful Kinesis Data Streams processing in Lambda" in AWS's developer guide.

use super::shard::Stored;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The state may have 1 MB.
const LARGEST_STATE: usize = 1024 * 1024;

/// A window with at least one record.
#[derive(Clone, Debug)]
pub(super) struct Window {
    start: SystemTime,
    pub(super) end: SystemTime,
    state: Value,
}

impl Window {
    /// The window that a record belongs to, by its arrival.
    pub(super) fn of(record: &Stored, size: Duration) -> Self {
        let since = record.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let start = UNIX_EPOCH + Duration::from_secs(since - since % size.as_secs().max(1));
        Self { start, end: start + size, state: json!({}) }
    }

    pub(super) fn holds(&self, record: &Stored) -> bool {
        (self.start..self.end).contains(&record.at)
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.state.to_string().len() > LARGEST_STATE
    }

    /// The same window continues with nothing.
    pub(super) fn reset(&mut self) {
        self.state = json!({});
    }

    /// Adds the keys of the window to an event.
    pub(super) fn describe(&self, event: &mut Value, shard: &str, arn: &str, last: Option<Last>) {
        event["window"] = json!({ "start": second(self.start), "end": second(self.end) });
        event["state"] = self.state.clone();
        event["shardId"] = json!(shard);
        event["eventSourceARN"] = json!(arn);
        event["isFinalInvokeForWindow"] = json!(last.is_some());
        event["isWindowTerminatedEarly"] = json!(last == Some(Last::Early));
    }

    /// Takes the state of a response. False where it has none, which makes the invocation a failed one.
    pub(super) fn take_state(&mut self, response: &[u8]) -> bool {
        let response: Value = serde_json::from_slice(response).unwrap_or_default();
        let Some(state) = response.get("state") else { return false };
        self.state = state.clone();
        true
    }
}

/// Why an invocation is the last of its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// Its time is over.
    Ended,
    /// Its state is too large.
    Early,
}

/// As in `2020-12-09T07:04:00Z`.
fn second(at: SystemTime) -> String {
    let at = crate::sns::iso_8601(at);
    format!("{}Z", at.split('.').next().unwrap_or(&at))
}
