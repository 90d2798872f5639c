//! The states of the records while their handlers have the records themselves.

use std::{
    ops::Range,
    sync::atomic::{AtomicU8, Ordering},
};

/// The states of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Fate {
    Waiting,
    Started,
    Failed,
    Done,
}

/// The place of a record in the order of its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) lane: usize,
    pub(super) checkpoint: Option<usize>,
}

/// A record of a batch, and its state.
pub(super) struct Entry {
    /// Its id among the ids of the batch.
    id: Range<usize>,
    pub(super) receive_count: u32,
    pub(super) place: Place,
    state: AtomicU8,
}

impl Entry {
    pub(super) fn set(&self, state: Fate) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn is(&self, state: Fate) -> bool {
        self.state.load(Ordering::Relaxed) == state as u8
    }

    /// True if `later`, which comes later in the batch, is sent again when this record is.
    fn takes_along(&self, later: &Self) -> bool {
        match self.place.checkpoint {
            Some(checkpoint) => later.place.checkpoint == Some(checkpoint),
            None => later.place.lane == self.place.lane,
        }
    }
}

/// The records of a batch, and their states.
pub(super) struct Entries {
    /// The ids of all records in one allocation, because most are never read.
    ids: String,
    all: Vec<Entry>,
}

impl Entries {
    pub(super) fn new<R>(
        records: &[R],
        places: &[Place],
        write_id: impl Fn(&R, &mut String),
        receive_count: impl Fn(&R) -> u32,
    ) -> Self {
        let mut ids = String::new();
        let entry = |(record, place): (&R, &Place)| {
            let start = ids.len();
            write_id(record, &mut ids);
            if start == 0 {
                // Ids of one source have about the same length.
                ids.reserve(ids.len() * records.len());
            }
            let state = AtomicU8::new(Fate::Waiting as u8);
            Entry { id: start..ids.len(), receive_count: receive_count(record), place: *place, state }
        };
        let all = records.iter().zip(places).map(entry).collect();
        Self { ids, all }
    }

    pub(super) fn get(&self, index: usize) -> &Entry {
        &self.all[index]
    }

    pub(super) fn all(&self) -> &[Entry] {
        &self.all
    }

    pub(super) fn id(&self, index: usize) -> &str {
        &self.ids[self.all[index].id.clone()]
    }

    /// The indexes of the later records that are sent again when this one is.
    pub(super) fn taken_along(&self, index: usize) -> impl Iterator<Item = usize> {
        let later = (index..).zip(&self.all[index..]).skip(1);
        later.filter(move |(_, later)| self.all[index].takes_along(later)).map(|(index, _)| index)
    }
}
