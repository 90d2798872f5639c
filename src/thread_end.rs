//! The thread-locals that spans need, and the end of their thread.
//!
//! The registry and OpenTelemetry keep thread-locals. A thread that ends drops them in the reverse order of their creation.
//! Another thread-local may then create a span in its destructor, after those that the span needs were dropped. They panic in
//! that case, which ends the process. So each of them is followed by a guard that is dropped before it. After the first such
//! drop, the thread has no spans.

use crate::context::has_context;
use std::cell::Cell;

/// The thread is ending, and thread-locals that spans need may be dropped.
const ENDING: u8 = 1;
const CONTEXT: u8 = 2;
const MADE: u8 = 4;
const ENTERED: u8 = 8;

thread_local! {
    // It has no destructor, so it can be used until the end.
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

/// False at the end of a thread, which can then neither create nor enter spans.
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

/// Records that a span was created, so that the thread has its part of the registry's memory.
pub(crate) fn span_was_made() {
    if !is(MADE) {
        AFTER_MADE.with(|_| ());
        set(MADE);
    }
}

/// Records that a span was entered, so that the thread has its stack of entered spans.
pub(crate) fn span_was_entered() {
    if !is(ENTERED) {
        AFTER_ENTERED.with(|_| ());
        set(ENTERED);
    }
}
