//! Errors of messages, and of events that are not batches of messages.

use crate::Invocation;
use lambda_runtime::Diagnostic;

/// A message that is returned to the queue after it was handled, for the hook of [`Batch::on_failure`](super::Batch::on_failure).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FailedMessage<'a> {
    /// The message's id in SQS.
    pub id: &'a str,
    /// How often it was received, including this time.
    pub receive_count: u32,
    /// The failure.
    pub failure: &'a Failure,
    /// The invocation it was handled in.
    pub invocation: &'a Invocation,
}

/// The reason why a message was not handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The handler returned an error.
    #[error("{message}")]
    Failed {
        /// The name of the error's type; `Error` for a boxed one.
        error_type: &'static str,
        /// The error's message.
        message: String,
    },
    /// The handler, the decoding of the body, or the drop of either panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The body has another type.
    #[error("{0}")]
    Undecodable(String),
    /// It was still running when the response to the batch was due.
    #[error(
        "not finished before the deadline: raise the function's timeout, lower the batch size, or bound the work of a message"
    )]
    Unfinished,
}

impl Failure {
    /// The searchable word of the failure, which is the exception's type in the trace.
    pub fn error_type(&self) -> &str {
        match self {
            Self::Failed { error_type, .. } => error_type,
            Self::Panicked(_) => "Lifecycle.Panic",
            Self::Undecodable(_) => "Lifecycle.UndecodableMessage",
            Self::Unfinished => "Lifecycle.Unfinished",
        }
    }
}

/// An event that is not a batch of messages. No message was handled, and all are returned to the queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "record {index} of the event has no messageId (its eventSource is {event_source:?}), and this handler only accepts messages of SQS: \
     give this function an SQS event source mapping, or handle other events with another handler"
)]
pub struct NotAnSqsEvent {
    pub(super) index: usize,
    pub(super) event_source: String,
}

impl From<NotAnSqsEvent> for Diagnostic {
    fn from(error: NotAnSqsEvent) -> Self {
        Self { error_type: "Lifecycle.NotAnSqsEvent".to_owned(), error_message: error.to_string() }
    }
}
