//! The order of the messages: which ones must be handled one after the other, and which concurrently.

use super::event::SqsRecord;
use crate::{hop::Producer, sns::Notification};
use std::collections::{HashMap, HashSet};

/// A message that has not been started.
pub(super) struct Waiting {
    /// Its index among the batch's distinct messages.
    pub(super) index: usize,
    pub(super) record: SqsRecord,
    /// The notification around its body, or why it is invalid.
    pub(super) notification: Option<Result<Box<Notification<()>>, String>>,
    pub(super) producer: Option<Producer>,
}

/// Messages that are handled one after the other: all of a FIFO group, or a single one.
pub(super) struct Lane {
    pub(super) first: Waiting,
    pub(super) rest: Vec<Waiting>,
}

/// Drops duplicates in the batch, which at-least-once delivery allows. A message is handled once, and its id in the response
/// counts for all copies.
pub(super) fn distinct(records: &mut Vec<SqsRecord>) {
    let mut seen = HashSet::with_capacity(records.len());
    let repeated: Vec<bool> = records.iter().map(|record| !seen.insert(record.message_id.as_str())).collect();
    if seen.len() < repeated.len() {
        let mut repeated = repeated.into_iter();
        records.retain(|_| !repeated.next().unwrap_or(false));
    }
}

/// One lane for each FIFO group, and one for each other message, in the order of the batch.
pub(super) fn lanes(messages: impl ExactSizeIterator<Item = Waiting>) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::with_capacity(messages.len());
    let mut groups: HashMap<String, usize> = HashMap::new();
    for message in messages {
        if let Some(group) = message.record.message_group_id() {
            if let Some(lane) = groups.get(group) {
                lanes[*lane].rest.push(message);
                continue;
            }
            groups.insert(group.to_owned(), lanes.len());
        }
        lanes.push(Lane { first: message, rest: Vec::new() });
    }
    lanes
}
