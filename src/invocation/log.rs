//! The state of an invocation's log, which is created when it is first used.

use super::buffer::lock;
use opentelemetry::{KeyValue, Value};
use std::sync::{Arc, Mutex, OnceLock};

/// The most keys of an invocation.
pub(super) const KEYS: usize = 128;

/// The most bytes of a key.
const LONGEST_KEY: usize = 128;

#[derive(Default)]
pub(crate) struct LogState(OnceLock<Box<Mutex<State>>>);

#[derive(Default)]
struct State {
    keys: Arc<Vec<KeyValue>>,
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
}
