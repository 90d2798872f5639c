//! The reasons why a table cannot be written and why the gate fails.

use crate::budget;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}: usage: cold_start [--rounds N] [--only NAME,NAME] [--write] | --concurrent [--count] | --check | --ablate")]
    Usage(String),
    #[error("`cargo {0}` failed: run it by hand in benches/contenders")]
    Cargo(String),
    #[error("{contender} did not get as far as {what}")]
    Incomplete { contender: &'static str, what: &'static str },
    #[error("{0} exported no span: it would be measured without its work")]
    NothingExported(&'static str),
    #[error("benches/RESULTS.md has no line `{0}`")]
    NoMarker(&'static str),
    #[error("benches/budget.toml names {0}, which benches/cold_start/src/contender.rs does not define")]
    NoContender(String),
    #[error("figures over their budget: {0}")]
    OverBudget(usize),
    #[error(transparent)]
    Budget(#[from] budget::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}
