//! The queues of `awsim-sqs`, with the moves of messages that it lacks.

use super::{
    ACCOUNT, REGION,
    ledger::{self, MessageEvent, MessageEventKind},
};
use crate::history::History;
use awsim_sqs::{
    SqsService,
    state::{InflightMessage, Queue, SqsState},
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// The SQS service, shared by the endpoint, the queues and their mappings.
pub(super) struct Service {
    pub(super) inner: SqsService,
    state: Arc<SqsState>,
    pub(super) authority: String,
    /// Held while messages move to a dead-letter queue, so that no reader finds them in neither queue.
    moving: Mutex<()>,
    /// Counts changes of any queue, for long polls and for those who wait for an empty queue.
    changed: watch::Sender<u64>,
    pub(super) ledger: Arc<History<MessageEvent>>,
}

const MESSAGE_EVENTS_KEPT: usize = 16_384;

impl Service {
    pub(super) fn new(authority: String) -> Self {
        let inner = SqsService::new();
        let state = inner.store().get(ACCOUNT, REGION);
        Self {
            inner,
            state,
            authority,
            moving: Mutex::new(()),
            changed: watch::Sender::new(0),
            ledger: History::new(MESSAGE_EVENTS_KEPT),
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Looks at a queue, or changes it; `None` if it does not exist (any more). Must not be nested.
    pub(super) fn with_queue<T>(&self, name: &str, look: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        self.state.queues.get_mut(name).map(|mut queue| look(&mut queue))
    }

    /// Until this is dropped no message moves to a dead-letter queue. Not for use across an `await`.
    pub(super) fn still(&self) -> MutexGuard<'_, ()> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends to the queue with this ARN; says whether there is one.
    pub(super) fn append(&self, arn: &str, messages: Vec<awsim_sqs::state::Message>) -> bool {
        let Some(name) = self.state.queue_name_by_arn(arn) else {
            return false;
        };
        self.with_queue(&name, |queue| queue.messages.extend(messages)).is_some()
    }

    /// Deletes what these receipt handles still hold; says for each whether it did.
    pub(super) fn delete(&self, queue: &str, receipt_handles: &[&str]) -> Vec<bool> {
        let deleted = self.with_queue(queue, |queue| {
            let removed = receipt_handles.iter().map(|handle| queue.inflight.remove(*handle));
            removed.map(|held| held.map(|held| held.message.message_id)).collect::<Vec<_>>()
        });
        let deleted = deleted.unwrap_or_else(|| vec![None; receipt_handles.len()]);
        for message in deleted.iter().flatten() {
            self.ledger.write(MessageEvent::new(queue, message, MessageEventKind::Deleted));
        }
        self.tell();
        deleted.iter().map(Option::is_some).collect()
    }

    /// Makes messages visible again after `delay`, all at the same moment: a FIFO queue must not offer the later one first.
    pub(super) fn release(&self, queue: &str, receipt_handles: &[&str], delay: Duration) {
        let visible_at = Instant::now() + delay;
        let released = self.with_queue(queue, |queue| {
            let mut released = Vec::new();
            for handle in receipt_handles {
                if let Some(InflightMessage { visible_at: at, message, .. }) = queue.inflight.get_mut(*handle) {
                    *at = Some(visible_at);
                    released.push(message.message_id.clone());
                }
            }
            released
        });
        for message in released.unwrap_or_default() {
            let kind = MessageEventKind::Visible { at: ledger::wall(visible_at) };
            self.ledger.write(MessageEvent::new(queue, &message, kind));
        }
        self.tell();
    }

    /// Wakes all who wait for a change.
    pub(super) fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("authority", &self.authority).finish_non_exhaustive()
    }
}
