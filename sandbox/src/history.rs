//! A bounded record that can be read back and awaited.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Entries in the order they were written. Once full, the oldest are forgotten.
pub(crate) struct History<T> {
    kept: Mutex<Kept<T>>,
    written: watch::Sender<u64>,
    capacity: usize,
}

struct Kept<T> {
    entries: VecDeque<T>,
    /// Sequence number of the first entry that is still kept.
    first: u64,
}

impl<T: Clone> History<T> {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { kept: Mutex::new(Kept { entries: VecDeque::new(), first: 0 }), written: watch::Sender::new(0), capacity })
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, entry: T) {
        let mut kept = self.kept();
        if kept.entries.len() == self.capacity {
            kept.entries.pop_front();
            kept.first += 1;
        }
        kept.entries.push_back(entry);
        let written = kept.first + kept.entries.len() as u64;
        // Still under the lock: a number published out of order would hide an entry from its readers.
        self.written.send_replace(written);
    }

    pub(crate) fn entries(&self) -> Vec<T> {
        self.kept().entries.iter().cloned().collect()
    }

    pub(crate) fn subscribe(self: &Arc<Self>) -> Subscription<T> {
        let kept = self.kept();
        let next = kept.first + kept.entries.len() as u64;
        drop(kept);
        Subscription { history: Arc::clone(self), written: self.written.subscribe(), next }
    }

    /// The entries from number `from` on that are still kept, and the number of the next one.
    pub(crate) fn since(&self, from: u64) -> (u64, Vec<T>) {
        let kept = self.kept();
        let skipped = usize::try_from(from.saturating_sub(kept.first)).unwrap_or(usize::MAX);
        (kept.first + kept.entries.len() as u64, kept.entries.iter().skip(skipped).cloned().collect())
    }

    /// Changes with every entry.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    fn from(&self, number: u64) -> (u64, Option<T>) {
        let kept = self.kept();
        let number = number.max(kept.first);
        let index = usize::try_from(number - kept.first).unwrap_or(usize::MAX);
        (number, kept.entries.get(index).cloned())
    }
}

/// Entries of a timeline or of the logs, as they are written.
///
/// A subscription misses nothing, however late it is read, unless so many entries were written meanwhile that the
/// bounded record forgot the oldest.
pub struct Subscription<T> {
    history: Arc<History<T>>,
    written: watch::Receiver<u64>,
    next: u64,
}

impl<T: Clone> Subscription<T> {
    /// The same subscription, with everything that is on record before what comes.
    pub fn from_start(mut self) -> Self {
        self.next = 0;
        self
    }

    /// The next entry; waits for it.
    pub async fn next(&mut self) -> T {
        loop {
            self.written.mark_unchanged();
            let (number, entry) = self.history.from(self.next);
            self.next = number;
            if let Some(entry) = entry {
                self.next += 1;
                return entry;
            }
            if self.written.changed().await.is_err() {
                // The sender lives in the history this subscription holds.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reads on to the first entry that fits and returns it. Waits as long as none comes: bound it with a timeout where
    /// the entry may never come.
    pub async fn find(&mut self, fits: impl Fn(&T) -> bool) -> T {
        loop {
            let entry = self.next().await;
            if fits(&entry) {
                return entry;
            }
        }
    }
}

impl<T> fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("next", &self.next).finish_non_exhaustive()
    }
}
