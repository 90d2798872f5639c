//! Panics of user code as values.
//!
//! `catch_unwind` returns the panic's payload, and a payload may panic when it is dropped. Outside of another `catch_unwind`,
//! such a panic ends the process or fails a whole batch. So only this module calls it (`clippy.toml` forbids other calls), and no
//! payload leaves this module.

use crate::cut;
use std::{
    any::Any,
    borrow::Cow,
    fmt::{self, Display, Formatter},
    panic::{AssertUnwindSafe, catch_unwind},
};
use tokio::task::JoinError;

/// A panic that was caught, with its message if it had one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panic(Cow<'static, str>);

/// Runs `code` and catches its panic. If panics abort, the process ends.
#[expect(clippy::disallowed_methods, reason = "the payload is disposed of here")]
pub(crate) fn catch<T>(code: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(code)).map_err(Panic::of)
}

/// Drops a user's value and catches the panic of its destructor.
pub(crate) fn catch_drop<T>(value: T) -> Result<(), Panic> {
    catch(|| drop(value))
}

impl Panic {
    #[expect(clippy::disallowed_methods, reason = "the payload of the drop is never dropped")]
    fn of(payload: Box<dyn Any + Send>) -> Self {
        let payload = match payload.downcast::<String>() {
            Ok(mut text) => {
                cut::error_message(&mut text);
                return Self(Cow::Owned(*text));
            }
            Err(payload) => payload,
        };
        let message = payload.downcast_ref::<&'static str>().map_or("(no message)", |text| *text);
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            // This payload may panic too.
            std::mem::forget(again);
        }
        Self(Cow::Borrowed(message))
    }

    /// The panic of a task; `None` if the task was cancelled.
    #[expect(clippy::disallowed_methods, reason = "the payload is disposed of here")]
    pub(crate) fn of_task(error: JoinError) -> Option<Self> {
        error.try_into_panic().ok().map(Self::of)
    }
}

impl Display for Panic {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::panic_any;

    struct Bomb(u8);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 && !std::thread::panicking() {
                panic_any(Self(self.0 - 1));
            }
        }
    }

    fn message<T>(code: impl FnOnce() -> T) -> String {
        catch(code).map(drop).expect_err("it panics").to_string()
    }

    #[test]
    fn a_message_is_kept() {
        assert_eq!(message(|| panic!("fuse was lit")), "fuse was lit");
        assert_eq!(message(|| panic!("fuse {} was lit", 1)), "fuse 1 was lit");
        assert_eq!(message(|| panic_any(1)), "(no message)");
        assert_eq!(catch(|| 1), Ok(1));
    }

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_is_a_panic_like_any_other() {
        for bombs in 0..4 {
            assert_eq!(message(|| panic_any(Bomb(bombs))), "(no message)");
        }
        assert!(catch_drop(Bomb(2)).is_err());
    }

    #[tokio::test]
    async fn a_task_panics_likewise() {
        let panicked = tokio::spawn(async { panic_any(Bomb(2)) }).await.expect_err("it panics");
        assert_eq!(Panic::of_task(panicked), Some(Panic(Cow::Borrowed("(no message)"))));
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        assert_eq!(Panic::of_task(task.await.expect_err("it was cancelled")), None);
    }
}
