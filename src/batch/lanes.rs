//! The order of the records: which ones must be handled one after the other, and which concurrently.

use super::{entry::Place, source::Source};
use crate::hop::Producer;
use std::collections::HashMap;

/// A record that has not been started.
pub(super) struct Waiting<R> {
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) record: R,
    pub(super) producer: Option<Producer>,
}

/// Records that are handled one after the other: all of a group or shard, or a single one.
pub(super) struct Lane<R> {
    pub(super) first: Waiting<R>,
    pub(super) rest: Vec<Waiting<R>>,
}

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

/// The lanes of a batch, in the order of their first records.
pub(super) fn lanes<R>(records: impl ExactSizeIterator<Item = (Waiting<R>, usize)>) -> Vec<Lane<R>> {
    let mut lanes: Vec<Lane<R>> = Vec::with_capacity(records.len());
    for (record, lane) in records {
        match lanes.get_mut(lane) {
            Some(lane) => lane.rest.push(record),
            // Lanes are numbered in the order of their first records.
            None => lanes.push(Lane { first: record, rest: Vec::new() }),
        }
    }
    lanes
}
