//! The reasons why a table cannot be written.

use lambda_lifecycle_sandbox::control_groups::ControlGroupsError;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "{0}: usage: first_response [--rounds N] [--only NAME,NAME] [--sizes MB,MB] [--programs FOLDER] [--one-root] [--check] [--write]"
    )]
    Usage(String),
    #[error("`cargo {0}` failed: run it by hand in benches/first_response/contenders")]
    Cargo(String),
    #[error("the CPU shares cannot be measured: {0}")]
    Limit(#[from] ControlGroupsError),
    #[error("{contender} at {mb} MB did not get as far as {what}")]
    Incomplete { contender: &'static str, mb: u32, what: &'static str },
    #[error("{contender} at {mb} MB failed: {failure}\n{logs}")]
    Failed { contender: &'static str, mb: u32, failure: String, logs: String },
    #[error(
        "the fastest handshake with the local endpoint took {0:?}: something delays its packets, and would delay the contenders'"
    )]
    SlowHandshake(Duration),
    #[error("benches/RESULTS.md has no lines `{0}` and `{1}`")]
    NoMarker(&'static str, &'static str),
    #[error("docs/init.md has no row that begins with `| {0} |`")]
    NoRow(&'static str),
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
