//! Everything that a page shows, and what has been added since it last asked.

use super::shape;
use crate::{
    function::Function,
    history::History,
    ids::new_request_id,
    sqs::{MessageEvent, Queue},
    xray::{DaemonSwitch, TraceStore},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::{sync::watch, task::AbortHandle};

/// An event that the page offers.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) target: String,
    pub(super) title: String,
    pub(super) event: String,
}

/// The sources of a console's data.
pub(super) struct Sources {
    pub(super) traces: TraceStore,
    pub(super) functions: Vec<Function>,
    pub(super) queues: Vec<Queue>,
    /// The records of the endpoints that the queues are of.
    ledgers: Vec<Arc<History<MessageEvent>>>,
    pub(super) samples: Vec<Sample>,
    pub(super) daemon: Option<DaemonSwitch>,
    /// Tells the cursors of two consoles apart.
    instance: String,
}

/// How much of the sources a page has: the number of documents, then for each function its events, lines and calls, then the messages of
/// each endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor(Vec<u64>);

impl Default for Sources {
    fn default() -> Self {
        Self {
            traces: TraceStore::new(),
            functions: Vec::new(),
            queues: Vec::new(),
            ledgers: Vec::new(),
            samples: Vec::new(),
            daemon: None,
            instance: new_request_id(),
        }
    }
}

impl Sources {
    pub(super) fn add_queue(&mut self, queue: &Queue) {
        if !self.ledgers.iter().any(|known| Arc::ptr_eq(known, queue.ledger())) {
            self.ledgers.push(Arc::clone(queue.ledger()));
        }
        self.queues.push(queue.clone());
    }

    pub(super) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name() == name)
    }

    /// The constant data: the functions, the queues and the samples.
    pub(super) fn facts(&self) -> Value {
        let samples = self
            .samples
            .iter()
            .map(|Sample { target, title, event }| json!({ "target": target, "title": title, "event": event }));
        json!({
            "functions": self.functions.iter().map(|function| shape::function(function.records().settings)).collect::<Vec<_>>(),
            "queues": self.queues.iter().map(Queue::describe).collect::<Vec<_>>(),
            "daemon": self.daemon.is_some(),
            "samples": samples.collect::<Vec<_>>(),
        })
    }

    /// The cursor of a page that has nothing yet.
    pub(super) fn start(&self) -> Cursor {
        Cursor(vec![0; 1 + 3 * self.functions.len() + self.ledgers.len()])
    }

    /// The cursor with this text; `None` where it is of another console.
    pub(super) fn cursor(&self, text: &str) -> Option<Cursor> {
        let numbers = text.strip_prefix(&self.instance)?.strip_prefix('.')?;
        let numbers: Vec<u64> = numbers.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        (numbers.len() == self.start().0.len()).then_some(Cursor(numbers))
    }

    pub(super) fn text(&self, cursor: &Cursor) -> String {
        let numbers: Vec<String> = cursor.0.iter().map(u64::to_string).collect();
        format!("{}.{}", self.instance, numbers.join("."))
    }

    /// The additions since `cursor`, which is updated.
    pub(super) fn advance(&self, cursor: &mut Cursor) -> Map<String, Value> {
        let mut added = Map::new();
        let mut add = |key: &str, values: Vec<Value>| {
            if let Value::Array(list) = added.entry(key).or_insert_with(|| json!([])) {
                list.extend(values);
            }
        };
        let mut numbers = cursor.0.iter_mut();
        let mut next = || numbers.next();
        if let Some(number) = next() {
            let documents = self.traces.since(usize::try_from(*number).unwrap_or(usize::MAX));
            *number += documents.len() as u64;
            add("documents", documents.iter().map(|document| shape::document(document)).collect());
        }
        for function in &self.functions {
            let (name, records) = (function.name(), function.records());
            if let Some(number) = next() {
                add("events", read(records.timeline, number, |event| shape::event(name, event)));
            }
            if let Some(number) = next() {
                add("lines", read(records.logs, number, |line| shape::line(name, line)));
            }
            if let Some(number) = next() {
                add("calls", read(records.calls.history(), number, |call| shape::call(name, call)));
            }
        }
        for ledger in &self.ledgers {
            if let Some(number) = next() {
                add("messages", read(ledger, number, shape::message));
            }
        }
        added.retain(|_, values| values.as_array().is_some_and(|values| !values.is_empty()));
        added
    }

    /// Counts every change of a source, until the tasks are aborted.
    pub(super) fn forward_changes(&self, changed: &Arc<watch::Sender<u64>>) -> Vec<AbortHandle> {
        let mut receivers = vec![self.traces.subscribe()];
        for function in &self.functions {
            let records = function.records();
            receivers.extend([records.timeline.changes(), records.logs.changes(), records.calls.history().changes()]);
        }
        receivers.extend(self.ledgers.iter().map(|ledger| ledger.changes()));
        let forward = |mut receiver: watch::Receiver<u64>| {
            let changed = Arc::clone(changed);
            let task = async move {
                while receiver.changed().await.is_ok() {
                    changed.send_modify(|changes| *changes += 1);
                }
            };
            tokio::spawn(task).abort_handle()
        };
        receivers.into_iter().map(forward).collect()
    }
}

fn read<T: Clone>(history: &Arc<History<T>>, from: &mut u64, shape: impl Fn(&T) -> Value) -> Vec<Value> {
    let (next, entries) = history.since(*from);
    *from = next;
    entries.iter().map(shape).collect()
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("traces", &self.traces)
            .field("functions", &self.functions)
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_one_of_another_console_is_not() {
        let (sources, other) = (Sources::default(), Sources::default());
        let cursor = sources.start();
        assert_eq!(sources.cursor(&sources.text(&cursor)), Some(cursor.clone()));
        for text in ["", "1", &other.text(&cursor), &format!("{}.1", sources.text(&cursor))] {
            assert_eq!(sources.cursor(text), None, "{text}");
        }
    }

    #[test]
    fn each_document_is_handed_out_once() {
        let sources = Sources::default();
        let mut cursor = sources.start();
        let put = |id: &str| {
            sources.traces.put_fetched(json!({ "trace_id": "1-5759e988-bd862e3fe1be46a994272793", "id": id, "start_time": 1.0 }));
        };
        put("00000000000000aa");
        assert_eq!(sources.advance(&mut cursor)["documents"].as_array().map(Vec::len), Some(1));
        assert!(sources.advance(&mut cursor).is_empty());
        put("00000000000000bb");
        assert_eq!(sources.advance(&mut cursor)["documents"][0]["id"], "00000000000000bb");
    }
}
