//! Errors that no retry cures.

use lambda_runtime::Error;
use std::{error, fmt};

/// An error whose record is never retried. Made by [`permanent`].
pub struct Permanent(Error);

/// Marks an error as one that no retry cures: its record is done with, and is not sent again.
///
/// The record goes to the hook of [`Batch::dead_letter`](super::Batch::dead_letter). **Without that hook it is dropped**, which is logged with
/// the code `message_discarded` and is a fault in the trace.
///
/// It is found where it is the handler's error or one of its sources. A handler that returns `anyhow::Error` uses [`Permanent::new`] with a
/// context, without which `anyhow` hides it: `Err(Permanent::new(error)).context("booking")`.
///
/// ```
/// use lambda_lifecycle::{Error, batch::permanent};
///
/// async fn place(order: u64) -> Result<(), Error> {
///     if order == 0 {
///         return Err(permanent("order 0 is a test of the shop"));
///     }
///     Ok(())
/// }
/// ```
pub fn permanent(error: impl Into<Error>) -> Error {
    Box::new(Permanent::new(error))
}

impl Permanent {
    /// The same as [`permanent`], for handlers with another error type.
    pub fn new(error: impl Into<Error>) -> Self {
        Self(error.into())
    }

    pub(super) fn is_in(error: &Error) -> bool {
        let mut source = Some(&**error as &(dyn error::Error + 'static));
        while let Some(error) = source {
            if error.is::<Self>() {
                return true;
            }
            source = error.source();
        }
        false
    }
}

impl fmt::Debug for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permanent").field(&self.0).finish()
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl error::Error for Permanent {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_permanent_error_is_found_behind_others() {
        let anyhow = Err::<(), _>(Permanent::new("x")).context("while booking").expect_err("an error");
        assert!(Permanent::is_in(&permanent("x")) && Permanent::is_in(&anyhow.into()));
        assert!(!Permanent::is_in(&"permanent".into()));
        assert_eq!(permanent("no stock").to_string(), "no stock");
    }
}
