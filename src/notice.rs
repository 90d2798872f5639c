//! What the library itself has to report: warnings and errors, through one call site each.

use crate::cut::Cut;
use std::fmt;

/// Logs a warning of the library. One call site for all, because every call site adds relocations to each start of the process.
#[cold]
#[inline(never)]
pub(crate) fn warn(message: fmt::Arguments<'_>) {
    tracing::warn!(target: "lambda_lifecycle", "{}", Cut(message));
}

/// Logs an error of the library.
#[cold]
#[inline(never)]
pub(crate) fn error(message: fmt::Arguments<'_>) {
    tracing::error!(target: "lambda_lifecycle", "{}", Cut(message));
}
