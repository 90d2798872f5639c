//! Shared by the event source mappings of streams and of topics: the progress of a mapping, and one invocation with a batch.

use crate::{
    Event, FunctionResponse, Invoke, invoke_until_accepted,
    verdict::{Verdict, failures},
};
use serde_json::Value;
use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The progress of a mapping. `B` is a batch, and `D` records that were given up.
pub(crate) struct Progress<B, D> {
    batches: Mutex<Vec<Arc<B>>>,
    discarded: Mutex<Vec<D>>,
    /// Of each shard, or a part of one, how many of its records are done or given up.
    positions: watch::Sender<Vec<usize>>,
}

impl<B, D: Clone> Progress<B, D> {
    pub(crate) fn new(positions: Vec<usize>) -> Self {
        Self { batches: Mutex::default(), discarded: Mutex::default(), positions: watch::Sender::new(positions) }
    }

    pub(crate) fn batches(&self) -> Vec<Arc<B>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn discarded(&self) -> Vec<D> {
        self.discarded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn positions(&self) -> Vec<usize> {
        self.positions.borrow().clone()
    }

    pub(crate) fn ended(&self, batch: B) {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(batch));
        // For those who wait for batches.
        self.positions.send_modify(|_| ());
    }

    pub(crate) fn discard(&self, given_up: D) {
        self.discarded.lock().unwrap_or_else(PoisonError::into_inner).push(given_up);
    }

    pub(crate) fn move_to(&self, change: impl FnOnce(&mut Vec<usize>)) {
        self.positions.send_modify(change);
    }

    /// Waits until the positions fit, or what is looked at beside them does.
    pub(crate) async fn wait_for(&self, mut fits: impl FnMut(&[usize]) -> bool) {
        // The sender lives in `self`.
        let _ = self.positions.subscribe().wait_for(|positions| fits(positions)).await;
    }

    pub(crate) async fn wait_for_batches(&self, count: usize) {
        self.wait_for(|_| self.batches.lock().unwrap_or_else(PoisonError::into_inner).len() >= count).await;
    }
}

/// The result of one invocation with a batch.
pub(crate) struct Invoked<T> {
    pub(crate) response: FunctionResponse,
    /// The records that the response names; `None` where the batch failed as a whole.
    pub(crate) failed: Option<Vec<T>>,
    /// Why it failed as a whole, where the response is the reason.
    pub(crate) refused: Option<String>,
}

/// Invokes a function with a batch. `read` makes a record of a batch of an `itemIdentifier`; without `report` nothing is read.
pub(crate) async fn invoke<T>(
    function: &dyn Invoke,
    event: &Value,
    report: bool,
    read: impl FnMut(&Value) -> Result<T, String>,
) -> Invoked<T> {
    let event = Event { payload: event.to_string().into(), ..Event::default() };
    let response = invoke_until_accepted(function, event).await;
    let (failed, refused) = match &response.result {
        Err(_) => (None, None),
        Ok(_) if !report => (Some(Vec::new()), None),
        Ok(response) => match failures(response, read) {
            Verdict::Success => (Some(Vec::new()), None),
            Verdict::Partial(failed) => (Some(failed), None),
            Verdict::Failure(why) => (None, Some(why)),
        },
    };
    Invoked { response, failed, refused }
}

/// A running mapping: its options and what has happened.
pub(crate) struct Shared<O, B, D> {
    pub(crate) options: O,
    pub(crate) progress: Progress<B, D>,
}

impl<O, B, D> Deref for Shared<O, B, D> {
    type Target = Progress<B, D>;

    fn deref(&self) -> &Self::Target {
        &self.progress
    }
}

impl<O: std::fmt::Debug, B, D> std::fmt::Debug for Shared<O, B, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.options.fmt(f)
    }
}
