//! The watchdog reports a handler that blocks its thread past the deadline, for which no response can be sent.
//!
//! One thread sends the documents of such an invocation's spans shortly before the platform kills the process. Open spans are
//! faults, and the innermost is named as the cause, unless the handler only waits for an executor that does not run. The thread
//! starts while the function waits for its first event, or in the Init phase if it has less than one core, because that phase runs at
//! full speed. It uses neither the environment nor the resolver, because another thread may be using them.

use super::thread;
use crate::{
    Invocation, environment,
    invocation::{Deadline, Shared},
    notice::{self, Data, Warning},
    panics,
    settings::Settings,
    trace,
};
use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::{Duration, Instant},
};

struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The lifecycles whose invocations are checked.
    lifecycles: Vec<Weak<Shared>>,
    /// The thread's next wake-up time.
    wakes: Option<Instant>,
}

/// Stops watching when it is dropped, which is when the response was posted.
pub(crate) struct Watched(Invocation);

/// Starts the thread in the Init phase, because it would slow down the first response later. A function of 128 MB has 1.4 ms of
/// CPU time in each 20 ms, and a second thread may use a part of it on the other core.
pub(crate) fn prepare(settings: &Settings) {
    if environment::has_less_than_a_core() {
        start(settings);
    }
}

/// Starts the thread, unless it is running.
pub(crate) fn start(settings: &Settings) {
    if settings.watchdog && settings.deadline {
        let _ = the_thread();
    }
}

/// Watches an invocation until the returned guard is dropped.
pub(crate) fn watch(invocation: &Invocation) -> Option<Watched> {
    let overdue = overdue(invocation.timing()?);
    let watch = the_thread()?;
    invocation.set_watched(true);
    let mut state = watch.lock();
    let shared = Arc::as_ptr(invocation.shared());
    if !state.lifecycles.iter().any(|known| std::ptr::eq(known.as_ptr(), shared)) {
        state.lifecycles.retain(|known| known.strong_count() > 0);
        state.lifecycles.push(Arc::downgrade(invocation.shared()));
    }
    // If the thread wakes earlier anyway, it finds this invocation by itself. So it rarely needs to be woken here.
    if state.wakes.is_none_or(|wakes| overdue < wakes) {
        state.wakes = Some(overdue);
        watch.changed.notify_one();
    }
    Some(Watched(invocation.clone()))
}

/// A quarter into the reserve. A handler that yields has got its error response by then.
fn overdue(deadline: Deadline) -> Instant {
    deadline.hard + (deadline.kill - deadline.hard) / 4
}

/// Halfway into the reserve, for a handler that is not running. An executor that only waits for the CPU may have run by then.
fn stalled(deadline: Deadline) -> Instant {
    deadline.hard + (deadline.kill - deadline.hard) / 2
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.set_watched(false);
    }
}

static WATCH: OnceLock<Option<Watch>> = OnceLock::new();

fn the_thread() -> Option<&'static Watch> {
    WATCH
        .get_or_init(|| match thread::spawn(keep_watch) {
            Ok(()) => Some(Watch { state: Mutex::default(), changed: Condvar::new() }),
            Err(error) => {
                notice::log(Warning::WatchdogMissing, Data::error(&error));
                None
            }
        })
        .as_ref()
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keep_watch() {
    let Some(watch) = WATCH.wait() else { return };
    let mut state = watch.lock();
    loop {
        let left = state.wakes.map(|at| at.saturating_duration_since(Instant::now()));
        state = match left {
            None => watch.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(Duration::ZERO) => check(watch, state),
            Some(left) => watch.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
        };
    }
}

/// Only at the time of a wake-up: the first one of a thread allocates, which slows down the first response.
fn check<'w>(watch: &'w Watch, mut state: MutexGuard<'w, State>) -> MutexGuard<'w, State> {
    // Invocations that are watched from here on set the wake-up time themselves.
    state.wakes = None;
    let lifecycles: Vec<_> = state.lifecycles.iter().filter_map(Weak::upgrade).collect();
    drop(state);
    // A panic in here must not end the watchdog, and the last reference to a user's value may be dropped here.
    let next = panics::catch(|| lifecycles.into_iter().filter_map(|shared| report_overdue(&shared)).min()).unwrap_or(None);
    let mut state = watch.lock();
    state.wakes = state.wakes.into_iter().chain(next).min();
    state
}

/// Reports the invocations that are overdue, and returns the time when the next one will be.
fn report_overdue(shared: &Shared) -> Option<Instant> {
    let now = Instant::now();
    let mut next = None;
    for (invocation, deadline) in shared.watched() {
        let at = if invocation.is_polled() { overdue(deadline) } else { stalled(deadline) };
        if at > now {
            next = next.into_iter().chain([at]).min();
        } else {
            let _ = panics::catch(|| trace::report_blocked(&invocation));
            // Last, so that an invocation that is no longer watched has been reported.
            invocation.set_watched(false);
        }
    }
    next
}
