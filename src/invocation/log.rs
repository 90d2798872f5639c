//! The state of an invocation's log, which is created when it is first used.

use super::buffer::lock;
use opentelemetry::{KeyValue, Value};
use std::{
    collections::VecDeque,
    io::Write,
    sync::{Arc, Mutex, OnceLock},
};

/// The most keys of an invocation.
pub(super) const KEYS: usize = 128;

/// The most bytes of a key.
const LONGEST_KEY: usize = 128;

#[derive(Default)]
pub(crate) struct LogState(OnceLock<Box<Mutex<State>>>);

#[derive(Default)]
struct State {
    keys: Arc<Vec<KeyValue>>,
    /// Whole lines below the log's levels.
    kept: VecDeque<u8>,
    /// Lines for which there was no room.
    dropped: u64,
    /// The kept lines are written, and later ones are written at once.
    released: bool,
}

impl LogState {
    fn state(&self) -> &Mutex<State> {
        self.0.get_or_init(Box::default)
    }

    /// The last value of a key counts. False if the limit of keys is reached.
    pub(super) fn set_key(&self, key: &str, value: Value) -> bool {
        let key = &key[..key.floor_char_boundary(LONGEST_KEY)];
        let mut state = lock(self.state());
        let keys = Arc::make_mut(&mut state.keys);
        if let Some(known) = keys.iter_mut().find(|known| known.key.as_str() == key) {
            known.value = value;
        } else if keys.len() < KEYS {
            keys.push(KeyValue::new(key.to_owned(), value));
        } else {
            return false;
        }
        true
    }

    /// `None` if no key was ever set.
    pub(crate) fn keys(&self) -> Option<Arc<Vec<KeyValue>>> {
        self.0.get().map(|state| Arc::clone(&lock(state).keys))
    }

    /// Keeps a line within so many bytes, for which the first ones give way. False where it is to be written at once.
    pub(super) fn keep(&self, line: &[u8], most: usize) -> bool {
        let mut state = lock(self.state());
        if state.released {
            return false;
        }
        if line.len() > most {
            state.dropped += 1;
            return true;
        }
        while state.kept.len() + line.len() > most {
            let end = state.kept.iter().position(|byte| *byte == b'\n').map_or(state.kept.len(), |at| at + 1);
            state.kept.drain(..end);
            state.dropped += 1;
        }
        state.kept.extend(line);
        true
    }

    pub(super) fn is_released(&self) -> bool {
        self.0.get().is_some_and(|state| lock(state).released)
    }

    /// The kept lines, and how many were left out before them. From the time on that there are none, or that these are the `last`, lines are not kept.
    pub(super) fn release(&self, last: bool) -> (VecDeque<u8>, u64) {
        let mut state = lock(self.state());
        state.released |= state.kept.is_empty() || last;
        (std::mem::take(&mut state.kept), std::mem::take(&mut state.dropped))
    }
}

/// Writes whole lines to standard output, with no other line of the process among them.
pub(crate) fn write_lines(lines: &[u8]) {
    // Without standard output there is nowhere to report this.
    let _ = std::io::stdout().lock().write_all(lines);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(log: &LogState) -> (String, u64) {
        let mut state = lock(log.state());
        (String::from_utf8(state.kept.make_contiguous().to_vec()).expect("text"), state.dropped)
    }

    #[test]
    fn the_first_lines_give_way_and_are_counted() {
        let log = LogState::default();
        for line in ["one\n", "two\n", "three\n", "much too long\n", "four\n"] {
            assert!(log.keep(line.as_bytes(), 12));
        }
        assert_eq!(kept(&log), ("three\nfour\n".to_owned(), 3));
        assert!(log.keep(b"five\n", 0));
        assert_eq!(kept(&log), ("three\nfour\n".to_owned(), 4));
    }
}
