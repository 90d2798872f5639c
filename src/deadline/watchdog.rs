//! The watchdog: a handler that blocks its thread past the deadline cannot be answered for, but it can be reported.
//!
//! A thread of its own, started by the first invocation that has a deadline and is recorded, sends the documents of such an
//! invocation's spans shortly before the platform kills the process: the open ones as faults, the innermost named as the culprit.
//! It touches neither the environment nor the resolver, which another thread may be at work in.

use crate::{Invocation, invocation::Deadline, panics, trace};
use std::{
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

/// Enough for writing documents, little to be mapped for it.
const STACK: usize = 256 * 1024;

struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Invocations under way, and when they are overdue.
    watched: Vec<(Instant, Invocation)>,
    /// When the thread wakes by itself.
    wakes: Option<Instant>,
}

/// Ends the watch when it is dropped: the invocation was answered.
pub(crate) struct Watched(Option<Invocation>);

/// Watches an invocation until the returned guard is dropped.
pub(crate) fn watch(invocation: &Invocation) -> Watched {
    let Some(deadline) = invocation.timing() else { return Watched(None) };
    let Some(watch) = thread() else { return Watched(None) };
    let overdue = overdue(deadline);
    let mut state = watch.lock();
    state.watched.push((overdue, invocation.clone()));
    // The thread that wakes too early sees what comes next by itself: as a rule it is not woken here at all.
    if state.wakes.is_none_or(|wakes| overdue < wakes) {
        watch.changed.notify_one();
    }
    Watched(Some(invocation.clone()))
}

/// A quarter into the reserve: a handler that gives way has been answered for by then.
fn overdue(deadline: Deadline) -> Instant {
    deadline.hard + (deadline.kill - deadline.hard) / 4
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let (Some(invocation), Some(Some(watch))) = (self.0.take(), WATCH.get()) {
            watch.lock().watched.retain(|(_, watched)| !watched.is(&invocation));
        }
    }
}

static WATCH: OnceLock<Option<Watch>> = OnceLock::new();

fn thread() -> Option<&'static Watch> {
    WATCH
        .get_or_init(|| {
            let thread = std::thread::Builder::new().name("lambda-watchdog".to_owned()).stack_size(STACK).spawn(keep_watch);
            match thread {
                Ok(_) => Some(Watch { state: Mutex::default(), changed: Condvar::new() }),
                Err(error) => {
                    crate::notice::warn(format_args!(
                        "no watchdog: a handler that blocks past its deadline will not be reported ({error})"
                    ));
                    None
                }
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
        let now = Instant::now();
        let (late, watched) = std::mem::take(&mut state.watched).into_iter().partition(|(at, _)| *at <= now);
        state.watched = watched;
        let late: Vec<(Instant, Invocation)> = late;
        if !late.is_empty() {
            drop(state);
            for (_, invocation) in late {
                // Whatever happens in here must not end the watch.
                let _ = panics::catch(|| trace::report_blocked(&invocation));
            }
            state = watch.lock();
            continue;
        }
        state.wakes = state.watched.iter().map(|(at, _)| *at).min();
        state = match state.wakes {
            None => watch.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let (state, _) = watch.changed.wait_timeout(state, at - now).unwrap_or_else(PoisonError::into_inner);
                state
            }
        };
    }
}
