//! A set-up that a function can begin without.

use super::InitCell;
use lambda_runtime::Error;
use std::future::Future;

/// A value whose set-up was tried in the Init phase, and is tried again at its first use where that failed.
///
/// Made by [`Lifecycle::init_optional`](crate::Lifecycle::init_optional).
#[derive(Debug)]
pub struct Optional<T, F> {
    value: InitCell<T>,
    setup: F,
}

impl<T, F, Setup, E> Optional<T, F>
where
    F: Fn() -> Setup,
    Setup: Future<Output = Result<T, E>>,
    E: Into<Error>,
{
    pub(crate) fn new(setup: F) -> Self {
        Self { value: InitCell::new(), setup }
    }

    pub(crate) fn cell(&self) -> &InitCell<T> {
        &self.value
    }

    pub(crate) fn set_up(&self) -> Setup {
        (self.setup)()
    }

    /// The value, if it is there. One atomic load.
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value; its set-up is tried again if it is not there.
    ///
    /// # Errors
    /// What the set-up returns this time; the next call tries again.
    pub async fn get_or_retry(&self) -> Result<&T, E> {
        match self.value.get() {
            Some(value) => Ok(value),
            None => self.value.get_or_init((self.setup)()).await,
        }
    }
}
