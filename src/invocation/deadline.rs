//! The times of one invocation's deadlines, and the error when they have passed.

use crate::{
    clock::timers_run,
    notice::{self, Data, Warning},
    settings::Settings,
};
use std::{
    fmt,
    sync::Once,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The longest plausible time to a deadline. Lambda's own limit is 15 minutes.
const PLAUSIBLE: Duration = Duration::from_secs(24 * 60 * 60);

/// The times of one invocation's deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deadline {
    /// The token is cancelled.
    pub(crate) soft: Instant,
    /// The handler's future is dropped and the error response is posted.
    pub(crate) hard: Instant,
    /// The platform kills the process.
    pub(crate) kill: Instant,
}

impl Deadline {
    /// Reads the platform's deadline: milliseconds since 1970.
    ///
    /// An implausible deadline is ignored: 0, a time before the receipt, `cargo lambda watch`'s constant in 1970, or a time
    /// centuries ahead, as AWS's emulator sends in concurrent mode.
    pub(crate) fn from_epoch_millis(millis: u64, now: SystemTime, received: Instant, settings: &Settings) -> Option<Self> {
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(millis))?;
        let left = at.duration_since(now).ok().filter(|left| !left.is_zero() && *left < PLAUSIBLE)?;
        timers_run().then(|| {
            static RESERVE: Once = Once::new();
            static GRACE: Once = Once::new();
            let reserve = fitting("LAMBDA_LIFECYCLE_DEADLINE_RESERVE", settings.reserve, left, &RESERVE);
            let working = left.saturating_sub(reserve.unwrap_or(margin(left)));
            let grace = fitting("LAMBDA_LIFECYCLE_DEADLINE_GRACE", settings.grace, working, &GRACE);
            Self::after(left, received, grace, reserve)
        })
    }

    pub(crate) fn after(left: Duration, received: Instant, grace: Option<Duration>, reserve: Option<Duration>) -> Self {
        let margin = margin(left);
        let hard = left.saturating_sub(reserve.unwrap_or(margin));
        let soft = hard.saturating_sub(grace.unwrap_or(margin));
        Self { soft: received + soft, hard: received + hard, kill: received + left }
    }

    /// The end of the time for work after the response: the hard deadline. If that is near or past, as after an exceeded
    /// deadline, it is half of the time that is left to the kill. Without a platform that kills, even that can be past; then it
    /// is as long as the reserve was.
    pub(crate) fn after_response(self, now: Instant) -> Instant {
        let left = if now < self.kill { (self.kill - now) / 2 } else { self.kill - self.hard };
        self.hard.max(now + left)
    }
}

/// The default of grace and reserve: 5 %, and at most a quarter each, so that an invocation of 100 ms still has half of them for
/// its work.
fn margin(left: Duration) -> Duration {
    (left / 20).clamp(Duration::from_millis(50), Duration::from_millis(500)).min(left / 4)
}

/// The configured time, unless it would leave no time for any work.
fn fitting(name: &str, set: Option<Duration>, time: Duration, logged: &Once) -> Option<Duration> {
    let set = set?;
    if set < time {
        return Some(set);
    }
    logged.call_once(|| {
        let elapsed_ms = u64::try_from(set.as_millis()).ok();
        notice::log(Warning::MarginTooLong, Data { budget_ms: elapsed_ms, ..Data::name(name) });
    });
    None
}

/// The invocation's time ended before its work did.
///
/// Posted to Lambda as error type `Lifecycle.DeadlineExceeded`, and returned by
/// [`Invocation::within`](crate::Invocation::within).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DeadlineExceeded {
    after: Duration,
}

/// The part of its message that is the same for all.
const ADVICE: &str =
    "shortly before the function's timeout: raise the timeout, or stop early when `Invocation::cancellation_token` says so";

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no response after {} ms, {ADVICE}", self.after.as_millis())
    }
}

impl DeadlineExceeded {
    pub(super) fn new(after: Duration) -> Self {
        Self { after }
    }

    /// True if the `Debug` text of an error contains one of these: its type or its message.
    pub(super) fn is_in(text: &str) -> bool {
        text.contains("DeadlineExceeded") || text.contains(ADVICE)
    }

    /// The time that the work had been running.
    pub fn after(&self) -> Duration {
        self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn margins(left: Duration) -> (Duration, Duration, Duration) {
        let received = Instant::now();
        let deadline = Deadline::after(left, received, None, None);
        (deadline.soft - received, deadline.hard - received, deadline.kill - received)
    }

    #[test]
    fn the_margins_follow_the_time_there_is() {
        let ms = Duration::from_millis;
        assert_eq!(margins(ms(1_000)), (ms(900), ms(950), ms(1_000)));
        assert_eq!(margins(ms(3_000)), (ms(2_700), ms(2_850), ms(3_000)));
        assert_eq!(margins(ms(900_000)), (ms(899_000), ms(899_500), ms(900_000)));
        assert_eq!(margins(ms(100)), (ms(50), ms(75), ms(100)));
    }

    #[test]
    fn after_the_response_there_is_always_some_time() {
        let (received, ms) = (Instant::now(), Duration::from_millis);
        let deadline = Deadline::after(ms(1_000), received, None, None);
        let time = |at| deadline.after_response(received + ms(at)) - received;
        assert_eq!([time(0), time(900), time(950), time(1_000), time(5_000)], [ms(950), ms(950), ms(975), ms(1_050), ms(5_050)]);
    }

    #[tokio::test]
    async fn an_implausible_deadline_is_none() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let read = |millis| Deadline::from_epoch_millis(millis, now, Instant::now(), &Settings::default());
        for millis in [0, 600_000, 1_799_999_999_000, 1_800_000_000_000, u64::MAX, 9_999_999_999_999_999] {
            assert_eq!(read(millis), None, "{millis}");
        }
        assert!(read(1_800_000_003_000).is_some());
    }
}
