//! How long a test waits, and what it says when that was in vain.
//!
//! Everything in the sandbox can be awaited, so a test needs no limit but one that only a hang reaches. It is the same for all waits:
//! [`patience`]. When it is over, the error names what was waited for and shows the functions of the test as they are: their timelines,
//! their last log lines, their traces.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};

/// Variable by which [`patience`] is multiplied: `SANDBOX_PATIENCE=5` on a machine that is very slow.
pub const PATIENCE: &str = "SANDBOX_PATIENCE";

/// How long a test waits for what should happen: 60 s, times the number in the variable `SANDBOX_PATIENCE` where that is set.
pub fn patience() -> Duration {
    let factor = std::env::var(PATIENCE).ok().and_then(|factor| factor.parse().ok());
    let factor = factor.filter(|factor: &f64| factor.is_finite() && *factor > 0.0).unwrap_or(1.0);
    Duration::try_from_secs_f64(60.0 * factor).unwrap_or(Duration::MAX)
}

/// Something did not happen within [`patience`].
#[derive(Clone, Debug, thiserror::Error)]
#[error("not within {waited:?}: {what}; set {PATIENCE} on a slow machine\n{state}")]
#[non_exhaustive]
pub struct Expired {
    /// The open waits, the innermost last.
    pub what: String,
    /// How long.
    pub waited: Duration,
    /// The functions that this thread has built, as they were then.
    pub state: String,
}

/// Waits for `future`, at most as long as [`patience`] says.
///
/// # Errors
///
/// When it takes longer. Waits inside others are named together.
pub async fn within<T>(what: impl Into<String>, future: impl Future<Output = T>) -> Result<T, Expired> {
    within_patience(what, patience(), future).await
}

async fn within_patience<T>(what: impl Into<String>, waited: Duration, future: impl Future<Output = T>) -> Result<T, Expired> {
    let _open = Open::new(what.into());
    let mut future = std::pin::pin!(future);
    match tokio::time::timeout(waited, &mut future).await {
        Ok(value) => Ok(value),
        // The future still lives, and with it the waits inside.
        Err(_) => Err(Expired { what: open_waits(), waited, state: state() }),
    }
}

/// The waits that are open, each with the thread that began it.
static WAITS: Mutex<Vec<(u64, ThreadId, String)>> = Mutex::new(Vec::new());

/// A description that an expired wait can show.
pub(crate) trait Describe: Send + Sync {
    /// Its name and state, in lines.
    fn describe(&self) -> String;
}

/// The descriptions for an expired wait, each with the thread that built it.
static DESCRIBED: Mutex<Vec<(ThreadId, Weak<dyn Describe>)>> = Mutex::new(Vec::new());

/// Nothing panics while it holds one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Open(u64);

impl Open {
    fn new(what: String) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        lock(&WAITS).push((id, thread::current().id(), what));
        Self(id)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&WAITS).retain(|(id, ..)| *id != self.0);
    }
}

fn open_waits() -> String {
    let here = thread::current().id();
    let waits = lock(&WAITS);
    let waits: Vec<&str> = waits.iter().filter(|(_, thread, _)| *thread == here).map(|(.., what)| what.as_str()).collect();
    waits.join(", there for ")
}

/// Has `what` described when a wait of this thread is in vain, as long as it is there.
pub(crate) fn describe_when_expired(what: Weak<dyn Describe>) {
    let mut described = lock(&DESCRIBED);
    described.retain(|(_, what)| what.strong_count() > 0);
    described.push((thread::current().id(), what));
}

/// The functions that this thread has built and that are still there: their timelines, log lines, documents.
pub fn state() -> String {
    let here = thread::current().id();
    let described: Vec<Arc<dyn Describe>> =
        lock(&DESCRIBED).iter().filter(|(thread, _)| *thread == here).filter_map(|(_, what)| what.upgrade()).collect();
    described.iter().map(|what| what.describe()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_happen_is_named_with_the_waits_around_it() {
        let inner = within("a document", std::future::pending::<()>());
        let error = within_patience("the test", Duration::from_secs(1), inner).await.unwrap_err();
        assert_eq!(error.what, "the test, there for a document");
        assert_eq!(within("nothing", async { 7 }).await.unwrap(), 7);
        assert_eq!(open_waits(), "");
    }
}
