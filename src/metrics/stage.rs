//! The functions that the stages call when an invocation starts, ends, is blocked or is cut off.

use super::{
    base,
    own::{self, Ended},
    spent::Spent,
};
use crate::{
    Invocation, clock,
    emf::{Base, Ids, Store},
    invocation::{Measured, Shared},
    logs,
    xray::format_trace_id,
};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// An invocation starts. A shutdown may have collected the invocations before.
pub(crate) fn begun(invocation: &Invocation) {
    if invocation.is_measured() && invocation.shared().is_cut_off() {
        cut_off(invocation);
    }
}

/// The response was posted, or there will be none. Writes the metrics that are known.
pub(crate) fn posted(invocation: &Invocation) {
    let Some(measured) = invocation.measured() else { return };
    let (outcome, is_fault) = {
        let notes = invocation.notes();
        (notes.outcome_word(), notes.is_fault())
    };
    write(invocation, measured, outcome, is_fault);
    write_outside(invocation.shared());
}

/// The handler blocks its thread past the deadline.
pub(crate) fn blocked(invocation: &Invocation) {
    if let Some(measured) = invocation.measured() {
        write(invocation, measured, Some("blocked"), true);
    }
}

/// The environment ends. An invocation without an outcome is cut off: it must not respond any more, so that it has one outcome.
pub(crate) fn cut_off(invocation: &Invocation) {
    let Some(measured) = invocation.measured() else { return };
    let (outcome, is_fault) = {
        let mut notes = invocation.notes();
        let is_ended = notes.outcome.is_some() || notes.concluded;
        notes.cut_off |= !is_ended;
        if is_ended { (notes.outcome_word(), notes.is_fault()) } else { (Some("shut_down"), true) }
    };
    write(invocation, measured, outcome, is_fault);
    close(invocation, measured, &Spent::default());
}

/// The invocation's stages are over. Writes the metrics that were recorded since the response.
pub(crate) fn finished(invocation: &Invocation, spent: &Spent) {
    if let Some(measured) = invocation.measured() {
        close(invocation, measured, spent);
    }
}

/// Writes the metrics outside of invocations when the environment ends.
pub(crate) fn shut_down(shared: &Shared) {
    if shared.settings.metrics.is_on() {
        write_outside(shared);
    }
}

/// Writes the library's own metrics of an invocation, once, and the user's.
fn write(invocation: &Invocation, measured: &Measured, outcome: Option<&'static str>, is_fault: bool) {
    let shared = invocation.shared();
    let now = clock::now();
    let (is_first, handled, store) = {
        let mut state = measured.lock();
        (!std::mem::replace(&mut state.concluded, true), state.handled, state.store.take())
    };
    let since = |from: Instant| now.saturating_duration_since(from);
    let is_without_response = matches!(outcome, Some("blocked" | "shut_down"));
    let ended = Ended {
        outcome,
        is_fault,
        handler: match handled {
            Some(handled) => Some(handled.saturating_duration_since(invocation.received())),
            None => is_without_response.then(|| since(invocation.received())),
        },
        response: handled.map(since).filter(|_| !is_without_response),
        metrics_left_out: store.left_out(),
    };
    let is_own = is_first && shared.settings.metrics.built_in;
    let own: &Own<'_> = &|base, ids, timestamp, lines| own::write_end(invocation, base, ids, &ended, (now, timestamp), lines);
    write_lines(invocation, &store, is_own.then_some(own));
}

fn close(invocation: &Invocation, measured: &Measured, spent: &Spent) {
    let store = {
        let mut state = measured.lock();
        state.closed = true;
        state.store.take()
    };
    let is_own = invocation.shared().settings.metrics.built_in && (spent.has_some() || store.left_out() > 0);
    let own: &Own<'_> = &|base, ids, timestamp, lines| own::write_after(base, ids, spent, store.left_out(), timestamp, lines);
    write_lines(invocation, &store, is_own.then_some(own));
}

/// Writes metrics of an invocation at once, because there are too many of them, or its last ones are already written.
pub(super) fn write_now(invocation: &Invocation, store: &Store) {
    write_lines(invocation, store, None);
}

/// Writes the library's own metrics.
type Own<'o> = dyn Fn(&Base, &Ids, u64, &mut Vec<u8>) + 'o;

/// Writes the library's own metrics of an invocation, and then the user's.
fn write_lines(invocation: &Invocation, store: &Store, own: Option<&Own<'_>>) {
    if own.is_none() && !store.has_metrics() {
        return;
    }
    let (base, ids, timestamp) = (base(invocation.shared()), ids(invocation), timestamp());
    let mut lines = Vec::new();
    if let Some(own) = own {
        own(base, &ids, timestamp, &mut lines);
    }
    store.write(base, &ids, timestamp, &mut lines);
    logs::write_lines(&lines);
}

/// Writes the metrics outside of invocations, if there are too many.
pub(super) fn write_outside_if_full(shared: &Shared) {
    let is_full = shared.metrics.outside().is_full();
    if is_full {
        write_outside(shared);
    }
}

fn write_outside(shared: &Shared) {
    let store = shared.metrics.outside().take();
    if store.has_metrics() {
        let mut lines = Vec::new();
        store.write(base(shared), &Ids::default(), timestamp(), &mut lines);
        logs::write_lines(&lines);
    }
}

fn ids(invocation: &Invocation) -> Ids {
    Ids {
        request: Some(invocation.request_id().to_owned()).filter(|id| !id.is_empty()),
        trace: invocation.received_header().root().map(format_trace_id),
    }
}

/// Milliseconds since 1970.
fn timestamp() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Measures an initializer, if metrics are enabled.
#[derive(Debug)]
pub(crate) struct InitTimer(Option<(String, Instant)>);

impl InitTimer {
    pub(crate) fn begin(shared: &Shared, name: &str) -> Self {
        Self(shared.settings.metrics.is_on().then(|| (name.to_owned(), clock::now())))
    }

    pub(crate) fn end(self, shared: &Shared) {
        if let Some((name, began)) = self.0 {
            shared.metrics.init().add(name, began, clock::now());
        }
    }
}

/// An initializer failed, so the function does not start.
pub(crate) fn init_failed(shared: &Shared) {
    let settings = &shared.settings.metrics;
    if settings.is_on() && settings.built_in {
        let mut lines = Vec::new();
        own::write_failed_init(shared, base(shared), timestamp(), &mut lines);
        logs::write_lines(&lines);
    }
}
