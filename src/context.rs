//! OpenTelemetry's context, which is a thread-local that may already be dropped.

use crate::panics;
use opentelemetry::Context;

/// False at the end of a thread, when its thread-locals are dropped. OpenTelemetry's context is one of them, and accessing it
/// then ends the process.
pub(crate) fn has_context() -> bool {
    struct Alive;
    // The thread-local only records its drop if its type has one.
    impl Drop for Alive {
        fn drop(&mut self) {}
    }
    thread_local! {
        // The first one created is dropped last.
        static ALIVE: Alive = {
            Context::map_current(|_| ());
            Alive
        };
    }
    // It may have been dropped before the first call here. Then every access to it panics.
    panics::catch(|| ALIVE.try_with(|_| ()).is_ok()).unwrap_or(false)
}

/// Reads the context of the running code, or an empty one at the end of a thread.
pub(crate) fn map_current<T>(look: impl FnOnce(&Context) -> T) -> T {
    if has_context() { Context::map_current(look) } else { look(&Context::new()) }
}

/// The context of the running code; an empty one at the end of a thread.
pub(crate) fn current() -> Context {
    map_current(Clone::clone)
}
