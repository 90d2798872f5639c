//! OpenTelemetry's context, as a thread-local that may be gone.

use opentelemetry::Context;

/// False at the end of a thread, when its locals are dropped. OpenTelemetry's context is one of them, and asking for it then ends the process.
pub(crate) fn has_context() -> bool {
    struct Alive;
    // Without it nobody would take note of the drop.
    impl Drop for Alive {
        fn drop(&mut self) {}
    }
    thread_local! {
        // What was made first is dropped last.
        static ALIVE: Alive = {
            Context::map_current(|_| ());
            Alive
        };
    }
    ALIVE.try_with(|_| ()).is_ok()
}
