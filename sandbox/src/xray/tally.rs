//! Counts documents while they come, each of them once.

use super::document::Document;
use std::{collections::HashMap, sync::Arc};

/// How many documents fit in their newest state.
pub(super) struct Tally<F> {
    fits: F,
    /// How much of the history was read.
    pub(super) read: usize,
    /// The newest state of each document, by trace and id, and whether it fits.
    newest: HashMap<(String, String), Newest>,
    pub(super) found: usize,
}

struct Newest {
    document: Arc<Document>,
    /// Its place in the order of arrival.
    place: usize,
    fits: bool,
}

impl<F: FnMut(&Document) -> bool> Tally<F> {
    pub(super) fn new(fits: F) -> Self {
        Self { fits, read: 0, newest: HashMap::new(), found: 0 }
    }

    /// Takes what has come since it last did.
    pub(super) fn take(&mut self, came: Vec<Arc<Document>>) {
        for document in came {
            let place = self.read;
            self.read += 1;
            let key = (document.trace_id.clone(), document.id.clone());
            // UDP keeps no order: the news that something began does not undo that it ended.
            if document.in_progress && self.newest.get(&key).is_some_and(|newest| !newest.document.in_progress) {
                continue;
            }
            let fits = (self.fits)(&document);
            let newest = Newest { document, place, fits };
            self.found += usize::from(newest.fits);
            if let Some(before) = self.newest.insert(key, newest) {
                self.found -= usize::from(before.fits);
            }
        }
    }

    /// Those that fit, in the order of their arrival.
    pub(super) fn fitting(&self) -> Vec<Arc<Document>> {
        let mut fitting: Vec<&Newest> = self.newest.values().filter(|newest| newest.fits).collect();
        fitting.sort_by_key(|newest| newest.place);
        fitting.into_iter().map(|newest| Arc::clone(&newest.document)).collect()
    }
}
