//! The remaining budget of the Init phase, for work in an initializer that must never use it up.

use crate::clock;
use std::{
    cell::Cell,
    future::Future,
    time::{Duration, Instant},
};

/// A connection that takes longer is of no use.
const LONGEST: Duration = Duration::from_secs(5);

thread_local! {
    /// The end of the budget of the initializer that is being polled.
    static ENDS: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Polls an initializer whose budget ends at that time.
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

/// Awaits a future for 5 seconds at most. Inside of an initializer, the limit is nine tenths of its remaining budget, which
/// leaves time for the rest of the initializer. Returns the limit if it was exceeded.
pub(crate) async fn within<F: Future>(future: F) -> Result<F::Output, Duration> {
    let left = ENDS.get().map(|ends| ends.saturating_duration_since(clock::now()) * 9 / 10);
    let limit = left.map_or(LONGEST, |left| left.min(LONGEST));
    if !clock::timers_run() {
        return Ok(future.await);
    }
    tokio::time::timeout(limit, future).await.map_err(|_| limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{init::InitPhase, invocation::Shared, settings::Settings};
    use std::{convert::Infallible, future::pending};

    /// The limit of work that never ends, in an initializer with this budget. Each call runs on a separate clock.
    fn limit_under(budget: Duration) -> Duration {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let phase = InitPhase::begin(&Shared::of(Settings { trace: false, init_budget: Some(budget), ..Settings::default() }));
        let waiting = async { Ok::<_, Infallible>(within(pending::<()>()).await.expect_err("it never ends")) };
        runtime.block_on(phase.attempt("connection".into(), waiting)).expect("the initializer ends within its budget")
    }

    #[test]
    fn what_waits_inside_of_an_initializer_leaves_it_a_part_of_its_budget() {
        assert_eq!(limit_under(Duration::from_secs(60)), LONGEST);
        let limit = limit_under(Duration::from_secs(2));
        assert!(limit < Duration::from_secs(2) && !limit.is_zero(), "{limit:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn outside_of_an_initializer_the_limit_is_fixed() {
        assert_eq!(within(async { 1 }).await, Ok(1));
        assert_eq!(within(pending::<()>()).await, Err(LONGEST));
    }
}
