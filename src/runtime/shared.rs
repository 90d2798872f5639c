//! State that all workers and the innermost service share.

use super::{event, fault::Faults};
use crate::{Invocation, invocation, runtime_api::Client};
use http::Uri;
use lambda_runtime::{Config, Diagnostic, Error};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

/// Runs code before the first event needs it.
pub(crate) type WarmUp = fn(&Arc<invocation::Shared>);

/// State that all workers and the innermost service share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) client: Client,
    /// The settings for events outside of an invocation.
    pub(super) configured: Arc<invocation::Shared>,
    pub(super) next: Uri,
    /// Read for the first event.
    config: OnceLock<Arc<Config>>,
    pub(super) faults: Faults,
    /// Work for the time until the first event.
    warm_up: Option<WarmUp>,
    is_warm: AtomicBool,
    pub(super) workers: u32,
    /// The number of workers to which Lambda refuses to send events.
    pub(super) refused: AtomicU32,
}

impl Shared {
    pub(super) fn new(client: Client, workers: u32, configured: Arc<invocation::Shared>, warm_up: Option<WarmUp>) -> Self {
        Self {
            next: client.endpoint.runtime("invocation/next"),
            client,
            configured,
            config: OnceLock::new(),
            faults: Faults::default(),
            warm_up,
            is_warm: AtomicBool::new(false),
            workers,
            refused: AtomicU32::new(0),
        }
    }

    /// The work for the time until the first event, for the first worker that asks.
    pub(super) fn take_warm_up(&self) -> Option<WarmUp> {
        self.warm_up.filter(|_| !self.is_warm.swap(true, Ordering::Relaxed))
    }

    pub(super) fn config(&self) -> &Arc<Config> {
        self.config.get_or_init(event::config)
    }

    /// An error as it may be posted: its URLs shortened, and redacted by its invocation's redactor, or by the runtime's outside
    /// of one.
    pub(super) fn redacted(&self, error: Diagnostic) -> Diagnostic {
        match Invocation::try_current() {
            Some(invocation) => invocation.shared().settings.redacted(error),
            None => self.configured.settings.redacted(error),
        }
    }
}

/// A layer, or the handler, was not ready for any of several events in a row: its `poll_ready` failed or panicked.
///
/// A service that is no longer ready rarely recovers, and every event would fail. A new environment creates a new one.
#[derive(Debug, thiserror::Error)]
#[error("the service was not ready for {events} events in a row: {source}")]
#[non_exhaustive]
pub struct ServiceNotReady {
    /// The number of events in a row for which it was not ready.
    pub events: u32,
    /// The last error of `poll_ready`.
    pub source: Error,
}

/// Lambda refuses to send events, so the loop cannot continue.
///
/// Lambda's documentation requires a runtime to exit then. A new environment serves the next event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attempts} requests for an event were refused in a row, the last one with status {status}: {reason}")]
#[non_exhaustive]
pub struct EventsRefused {
    /// The status of the last refusal.
    pub status: u16,
    /// The number of requests that were refused in a row.
    pub attempts: u32,
    /// The reason that the Runtime API gave.
    pub reason: String,
}
