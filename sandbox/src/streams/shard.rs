//! One shard: records in their order, of which any number of mappings can read.

use serde_json::Value;
use std::{
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
use tokio::sync::watch;

/// A record as a mapping sends it, and its name in a response.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) sequence_number: String,
    pub(crate) record: Value,
    /// Names those that keep their order.
    pub(crate) key: String,
    /// Its arrival.
    pub(crate) at: SystemTime,
}

impl Stored {
    /// One whose key and arrival do not matter.
    pub(crate) fn new(sequence_number: String, record: Value) -> Self {
        Self { sequence_number, record, key: String::new(), at: SystemTime::now() }
    }
}

/// Records in their order.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) id: String,
    records: Mutex<Vec<Stored>>,
    length: watch::Sender<usize>,
}

impl Shard {
    pub(crate) fn new(id: String) -> Self {
        Self { id, records: Mutex::default(), length: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what `make` makes of the record's index.
    pub(crate) fn push(&self, make: impl FnOnce(usize) -> Stored) -> String {
        let mut records = self.lock();
        let stored = make(records.len());
        let sequence_number = stored.sequence_number.clone();
        records.push(stored);
        self.length.send_replace(records.len());
        sequence_number
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn read(&self, range: Range<usize>) -> Vec<Stored> {
        self.lock()[range].to_vec()
    }

    /// At most `most` records from `start` on that `fits` takes, and the position behind them. Other records are passed over.
    pub(crate) fn select(&self, start: usize, most: usize, mut fits: impl FnMut(&Stored) -> bool) -> (Vec<Stored>, usize) {
        let records = self.lock();
        let mut selected = Vec::new();
        for (index, stored) in records.iter().enumerate().skip(start) {
            if fits(stored) {
                if selected.len() == most {
                    return (selected, index);
                }
                selected.push(stored.clone());
            }
        }
        (selected, records.len())
    }

    /// The first record that arrived at this time or later.
    pub(crate) fn first_since(&self, time: SystemTime) -> usize {
        self.lock().partition_point(|stored| stored.at < time)
    }

    /// Waits until there are more records than `length`.
    pub(crate) async fn longer_than(&self, length: usize) {
        // The sender lives as long as the shard.
        let _ = self.length.subscribe().wait_for(|&known| known > length).await;
    }
}
