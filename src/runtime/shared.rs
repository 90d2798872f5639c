//! State that all workers and the innermost service share.

use super::{event, fault::Faults};
use crate::{Invocation, invocation, runtime_api::Client};
use http::Uri;
use lambda_runtime::{Config, Diagnostic, Error};
use std::sync::{Arc, OnceLock, atomic::AtomicU32};

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
    pub(super) workers: u32,
    /// Workers to whom Lambda refuses to send events.
    pub(super) refused: AtomicU32,
}

impl Shared {
    pub(super) fn new(client: Client, workers: u32, configured: Arc<invocation::Shared>) -> Self {
        Self {
            next: client.endpoint.runtime("invocation/next"),
            client,
            configured,
            config: OnceLock::new(),
            faults: Faults::default(),
            workers,
            refused: AtomicU32::new(0),
        }
    }

    pub(super) fn config(&self) -> &Arc<Config> {
        self.config.get_or_init(event::config)
    }

    /// An error as it may leave: its URLs cut, and past the redactor of its invocation, or of the runtime where there is none.
    pub(super) fn redacted(&self, error: Diagnostic) -> Diagnostic {
        match Invocation::try_current() {
            Some(invocation) => invocation.shared().settings.redacted(error),
            None => self.configured.settings.redacted(error),
        }
    }
}

/// A layer, or the handler, was not ready for any of several events in a row: its `poll_ready` failed or panicked.
///
/// A service that is not ready any more rarely becomes so again, and each event would fail; a new environment makes a new one.
#[derive(Debug, thiserror::Error)]
#[error("the service was not ready for {events} events in a row: {source}")]
#[non_exhaustive]
pub struct ServiceNotReady {
    /// For how many events in a row it was not ready.
    pub events: u32,
    /// What `poll_ready` failed with the last time.
    pub source: Error,
}

/// Lambda refuses to send events, so the loop cannot go on.
///
/// Its documentation asks a runtime to exit then; a new environment serves the next event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attempts} requests for an event were refused in a row, the last one with status {status}: {reason}")]
#[non_exhaustive]
pub struct EventsRefused {
    /// The status of the last refusal.
    pub status: u16,
    /// How many requests in a row were refused.
    pub attempts: u32,
    /// The reason that the Runtime API gave.
    pub reason: String,
}
