//! `_X_AMZN_TRACE_ID`: the trace header of the invocation, for code that cannot get it otherwise.

use std::{env, ffi::OsStr};

const NAME: &str = "_X_AMZN_TRACE_ID";

/// The steps that give the variable a value.
#[derive(Debug, PartialEq, Eq)]
enum Change<'v> {
    None,
    Set(&'v str),
    Remove,
}

impl<'v> Change<'v> {
    /// A value with a NUL byte cannot be set and counts as missing.
    fn between(current: Option<&OsStr>, wanted: Option<&'v str>) -> Self {
        match (current, wanted.filter(|value| !value.contains('\0'))) {
            (Some(current), Some(wanted)) if current == wanted => Self::None,
            (_, Some(wanted)) => Self::Set(wanted),
            (Some(_), None) => Self::Remove,
            (None, None) => Self::None,
        }
    }
}

/// Sets the variable to the header of this invocation. Called between two invocations, if invocations run one at a time.
#[allow(unsafe_code)]
pub(super) fn set(trace_id: Option<&str>) {
    match Change::between(env::var_os(NAME).as_deref(), trace_id) {
        Change::None => {}
        // SAFETY: Readers in Rust are kept out by the standard library's lock, so what is left is C code that reads the environment
        // in another thread at this moment. No handler runs now, so that is a thread which the function's own code has started.
        // - glibc replaces one pointer of the table and never frees a value, so the reader finds the value before or after. The table
        //   moves once, when the variable is first set: before the first handler, but not before threads of the Init phase.
        // - musl frees the value that it replaces, so the reader may touch freed memory. Its own `getaddrinfo` reads no variable.
        // AWS asks a runtime to set the variable, and `lambda_runtime` sets it in the same way for every event. The setting
        // `trace_variable` switches it off.
        Change::Set(value) => unsafe { env::set_var(NAME, value) },
        // SAFETY: As above. Removing moves the entries behind it, so a reader may also miss a variable that is there.
        Change::Remove => unsafe { env::remove_var(NAME) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_touches_the_environment() {
        for (current, wanted, change) in [
            (None, None, Change::None),
            (None, Some("Root=1"), Change::Set("Root=1")),
            (Some("Root=1"), Some("Root=1"), Change::None),
            (Some("Root=1"), Some("Root=2"), Change::Set("Root=2")),
            (Some("Root=1"), None, Change::Remove),
            (Some("Root=1"), Some("Root=2\0"), Change::Remove),
            (None, Some("\0"), Change::None),
        ] {
            assert_eq!(Change::between(current.map(OsStr::new), wanted), change, "{current:?} {wanted:?}");
        }
    }
}
