//! Facts that become known while an invocation runs.

#[cfg(feature = "aws-sdk")]
use super::sends::Sends;
use super::{DeadlineExceeded, Outcome};
use opentelemetry::KeyValue;

/// Facts that become known during an invocation, for its span.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) outcome: Option<Outcome>,
    /// The redacted error that was logged and posted.
    pub(crate) logged: Option<lambda_runtime::Diagnostic>,
    /// The last error of [`Invocation::within`](crate::Invocation::within).
    pub(crate) exceeded: Option<DeadlineExceeded>,
    /// The handler's layer has seen it. Without an outcome it had no response.
    pub(crate) handled: bool,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) annotations: Vec<KeyValue>,
    pub(crate) http_status: Option<u16>,
    /// The response says that a durable execution has failed.
    pub(crate) execution_failed: bool,
    /// The event was not a valid request: the caller gets 400.
    #[cfg(feature = "http")]
    pub(crate) request_invalid: bool,
    /// The body of a streamed response broke off, so the caller has only a part of it.
    pub(crate) stream_broken: bool,
    #[cfg(feature = "aws-sdk")]
    pub(crate) sends: Sends,
    /// Errors that were logged outside of any span of `tracing`.
    pub(crate) errors: u32,
    /// Other events that were recorded outside of any.
    pub(crate) events: u32,
    /// The response is being posted, or a stream of it.
    pub(crate) responding: bool,
    /// The environment ended before the outcome was known, and the trace says so. No response may follow.
    pub(crate) cut_off: bool,
    /// The invocation's span contains all of this.
    pub(crate) concluded: bool,
}

impl Notes {
    /// The outcome in one word.
    pub(crate) fn outcome_word(&self) -> Option<&'static str> {
        match &self.outcome {
            Some(outcome) => Some(outcome.as_str()),
            // The response could not be made or sent.
            None if self.handled => Some("no_response"),
            // Without the handler's layer the outcome is unknown, and it is not guessed.
            None => None,
        }
    }
}
