//! The order of the records: which ones must be handled one after the other, and which concurrently.

use super::{entry::Place, source::Source};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The places of a batch's records, and the number of its checkpoints.
pub(super) fn places<K: Source>(source: &K, records: &[K::Record]) -> (Vec<Place>, usize) {
    let (mut lanes, mut checkpoints) = (HashMap::new(), HashMap::new());
    let mut next = 0;
    let places = records.iter().map(|record| {
        let mut new = || {
            next += 1;
            next - 1
        };
        let lane = match source.lane(record) {
            Some(lane) => *lanes.entry(lane).or_insert_with(new),
            None => new(),
        };
        let checkpoint = source.checkpoint(record).map(|checkpoint| {
            let known = checkpoints.len();
            *checkpoints.entry(checkpoint).or_insert(known)
        });
        Place { lane, checkpoint }
    });
    let places = places.collect();
    (places, checkpoints.len())
}

/// The records that have not been started, in lanes: the records of one lane, such as a group or a shard, are handled one after the other.
pub(super) struct Lanes<R> {
    /// Each record until it is started.
    records: Mutex<Vec<Option<R>>>,
    /// The first record of each lane that has not been started.
    firsts: Mutex<std::vec::IntoIter<usize>>,
    /// For each record the next one of its lane.
    after: Vec<Option<usize>>,
}

impl<R> Lanes<R> {
    pub(super) fn new(records: Vec<R>, places: &[Place]) -> Self {
        let (mut firsts, mut lasts) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
        let mut after = vec![None; places.len()];
        for (index, place) in places.iter().enumerate() {
            match lasts.get_mut(place.lane) {
                Some(last) => after[std::mem::replace(last, index)] = Some(index),
                // Lanes are numbered in the order of their first records.
                None => {
                    firsts.push(index);
                    lasts.push(index);
                }
            }
        }
        let records = records.into_iter().map(Some).collect();
        Self { records: Mutex::new(records), firsts: Mutex::new(firsts.into_iter()), after }
    }

    /// The number of lanes that have not been started.
    pub(super) fn len(&self) -> usize {
        lock(&self.firsts).len()
    }

    /// Starts a lane: its first record.
    pub(super) fn start(&self) -> Option<usize> {
        lock(&self.firsts).next()
    }

    /// The next record of the same lane.
    pub(super) fn after(&self, index: usize) -> Option<usize> {
        self.after[index]
    }

    /// Starts a record. `None` if it was started before.
    pub(super) fn take(&self, index: usize) -> Option<R> {
        lock(&self.records)[index].take()
    }
}

/// Only one thread at a time polls a batch, so that it never waits for a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
