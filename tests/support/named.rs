//! Selects the function that a test's child process runs: a variable holds the variant of an enum that both know.

use serde::de::DeserializeOwned;

/// The variant that a variable names. `None` if it is not set.
pub(crate) fn named<T: DeserializeOwned>(variable: &str) -> Option<T> {
    let name = std::env::var(variable).ok()?;
    Some(serde_json::from_value(name.into()).unwrap_or_else(|error| panic!("{variable}: {error}")))
}
