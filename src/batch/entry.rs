//! The state of a record while its handler has the record itself.

use std::sync::atomic::{AtomicU8, Ordering};

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
    pub(super) id: String,
    pub(super) receive_count: u32,
    pub(super) place: Place,
    state: AtomicU8,
}

impl Entry {
    pub(super) fn new(id: String, receive_count: u32, place: Place) -> Self {
        Self { id, receive_count, place, state: AtomicU8::new(Fate::Waiting as u8) }
    }

    pub(super) fn set(&self, state: Fate) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    pub(super) fn is(&self, state: Fate) -> bool {
        self.state.load(Ordering::Relaxed) == state as u8
    }

    /// True if `later`, which comes later in the batch, is sent again when this record is.
    pub(super) fn takes_along(&self, later: &Self) -> bool {
        match self.place.checkpoint {
            Some(checkpoint) => later.place.checkpoint == Some(checkpoint),
            None => later.place.lane == self.place.lane,
        }
    }
}
