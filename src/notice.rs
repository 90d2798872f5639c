//! What the library itself has to report: warnings and errors, through one call site each.

use crate::cut::Cut;
use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

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

/// Logs a warning that may be found several times, once in a process: by each layer that reads the environment, for one.
#[cold]
pub(crate) fn warn_once(message: &str) {
    static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    {
        let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.iter().any(|known| known == message) {
            return;
        }
        logged.push(message.to_owned());
    }
    warn(format_args!("{message}"));
}
