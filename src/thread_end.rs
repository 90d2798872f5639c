//! The thread-locals that spans need, and the end of their thread.
//!
//! The registry and OpenTelemetry keep thread-locals. A thread that ends drops them in the reverse order of their making, and a span
//! that another thread-local makes when it is dropped may come after: then they panic, which ends the process. So each of them is
//! followed by a guard, which is dropped before it, and from the first such drop on the thread has no spans.

use crate::context::has_context;
use std::cell::Cell;

/// The thread is ending: something that spans need may be gone.
const ENDING: u8 = 1;
const CONTEXT: u8 = 2;
const MADE: u8 = 4;
const ENTERED: u8 = 8;

thread_local! {
    // Without a destructor it is there to the last.
    static STATE: Cell<u8> = const { Cell::new(0) };
    static AFTER_CONTEXT: Guard = const { Guard };
    static AFTER_MADE: Guard = const { Guard };
    static AFTER_ENTERED: Guard = const { Guard };
}

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        set(ENDING);
    }
}

fn set(flag: u8) {
    STATE.with(|state| state.set(state.get() | flag));
}

fn is(flag: u8) -> bool {
    STATE.with(|state| state.get() & flag != 0)
}

/// False at the end of a thread: it can neither make spans nor enter them.
pub(crate) fn has_spans() -> bool {
    if !is(ENDING | CONTEXT) {
        if has_context() {
            AFTER_CONTEXT.with(|_| ());
            set(CONTEXT);
        } else {
            set(ENDING);
        }
    }
    !is(ENDING)
}

/// A span was made: the thread has its share of the registry's memory.
pub(crate) fn span_was_made() {
    if !is(MADE) {
        AFTER_MADE.with(|_| ());
        set(MADE);
    }
}

/// A span was entered: the thread has its stack of entered spans.
pub(crate) fn span_was_entered() {
    if !is(ENTERED) {
        AFTER_ENTERED.with(|_| ());
        set(ENTERED);
    }
}
