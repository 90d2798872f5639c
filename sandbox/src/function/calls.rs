//! The events a function was invoked with and their results, for a console that shows them and invokes the function with them again.

use crate::{Event, Failure, history::History};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

const CALLS_KEPT: usize = 16_384;

/// The events that are kept take no more memory than this; the oldest are dropped first.
const EVENT_BYTES_KEPT: usize = 64 * 1024 * 1024;

/// A response is shown up to here.
const SHOWN_BYTES: usize = 4_096;

/// One step of an invocation, as its caller sees it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: SystemTime,
    pub(crate) request_id: String,
    pub(crate) trace_id: String,
    pub(crate) step: Step,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Received { bytes: usize, sampled: bool },
    Responded { bytes: usize, streamed: bool, start: String },
    Failed { failure: Failure },
}

/// Nothing is kept unless [`keep`](Self::keep) was called: events can be large.
#[derive(Default)]
pub(crate) struct Calls {
    kept: AtomicBool,
    history: std::sync::OnceLock<Arc<History<Call>>>,
    events: Mutex<Events>,
}

#[derive(Default)]
struct Events {
    entries: VecDeque<(String, Event)>,
    bytes: usize,
}

impl Calls {
    /// Keeps the calls from now on.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    pub(crate) fn history(&self) -> &Arc<History<Call>> {
        self.history.get_or_init(|| History::new(CALLS_KEPT))
    }

    pub(crate) fn received(&self, request_id: &str, trace_id: &str, sampled: bool, event: &Event) {
        if !self.kept.load(Ordering::Relaxed) {
            return;
        }
        let bytes = event.payload.len();
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.entries.push_back((request_id.to_owned(), event.clone()));
        events.bytes += bytes;
        while events.bytes > EVENT_BYTES_KEPT || events.entries.len() > CALLS_KEPT {
            let Some((_, dropped)) = events.entries.pop_front() else { break };
            events.bytes -= dropped.payload.len();
        }
        drop(events);
        self.write(request_id, trace_id, Step::Received { bytes, sampled });
    }

    pub(crate) fn ended(&self, request_id: &str, trace_id: &str, result: &Result<Bytes, Failure>, streamed: bool) {
        if !self.kept.load(Ordering::Relaxed) {
            return;
        }
        let step = match result {
            Ok(body) => {
                let start = String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]).into_owned();
                Step::Responded { bytes: body.len(), streamed, start }
            }
            Err(failure) => Step::Failed { failure: failure.clone() },
        };
        self.write(request_id, trace_id, step);
    }

    fn write(&self, request_id: &str, trace_id: &str, step: Step) {
        let (request_id, trace_id) = (request_id.to_owned(), trace_id.to_owned());
        self.history().write(Call { at: SystemTime::now(), request_id, trace_id, step });
    }

    /// The event of an invocation, while it is kept.
    pub(crate) fn event(&self, request_id: &str) -> Option<Event> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.entries.iter().rev().find(|(id, _)| id == request_id).map(|(_, event)| event.clone())
    }
}
