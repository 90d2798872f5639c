//! What an initializer has left of the Init phase's budget, for work in it that must never use it up.

use crate::clock::timers_run;
use std::{
    cell::Cell,
    future::Future,
    time::{Duration, Instant},
};

/// Longer than a connection ever needs that will be of use.
const LONGEST: Duration = Duration::from_secs(5);

thread_local! {
    /// When the budget of the initializer that is being polled ends.
    static ENDS: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Polls an initializer whose budget ends at that moment.
pub(crate) fn poll_until<T>(ends: Option<Instant>, poll: impl FnOnce() -> T) -> T {
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENDS.set(self.0);
        }
    }
    let _restore = Restore(ENDS.replace(ends));
    poll()
}

/// Awaits a future for 5 seconds at most, and inside of an initializer for nine tenths of what its budget has left, so that there is time for
/// the rest of it. Returns the limit where that was too short.
pub(crate) async fn within<F: Future>(future: F) -> Result<F::Output, Duration> {
    let left = ENDS.get().map(|ends| ends.saturating_duration_since(Instant::now()) * 9 / 10);
    let limit = left.map_or(LONGEST, |left| left.min(LONGEST));
    if !timers_run() {
        return Ok(future.await);
    }
    tokio::time::timeout(limit, future).await.map_err(|_| limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{init::InitPhase, settings::Settings};
    use std::{convert::Infallible, future::pending};

    async fn limit_under(budget: Duration) -> Duration {
        let phase = InitPhase::begin(&Settings { trace: false, init_budget: Some(budget), ..Settings::default() });
        let waiting = async { Ok::<_, Infallible>(within(pending::<()>()).await.expect_err("it never ends")) };
        phase.attempt("connection".into(), waiting).await.expect("the initializer ends within its budget")
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_inside_of_an_initializer_leaves_it_a_part_of_its_budget() {
        // First, because the Init phase goes by the system's clock, which paused time runs ahead of.
        let limit = limit_under(Duration::from_secs(2)).await;
        assert!(limit < Duration::from_secs(2) && !limit.is_zero(), "{limit:?}");
        assert_eq!(limit_under(Duration::from_secs(60)).await, LONGEST);
        assert_eq!(within(pending::<()>()).await.expect_err("it never ends"), LONGEST);
        assert_eq!(within(async { 1 }).await, Ok(1));
    }
}
