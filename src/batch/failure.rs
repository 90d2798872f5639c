//! Errors of records.

use super::entry::Entries;
use crate::Invocation;
use std::{fmt, time::Duration};

/// A record that failed and is sent again, for the hook of [`Batch::on_failure`](super::Batch::on_failure).
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct FailedRecord<'a> {
    /// The id of the record: SQS's message id, or the sequence number in a stream.
    pub id: &'a str,
    /// How often it was received, including this time. Streams do not count: there it is always 1.
    pub receive_count: u32,
    /// The failure.
    pub failure: &'a Failure,
    /// The invocation it was handled in.
    pub invocation: &'a Invocation,
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) entries: &'a Entries,
}

impl<'a> FailedRecord<'a> {
    /// The ids of the later records that are sent again because of this one, in the order of the batch.
    ///
    /// These are the later messages of its group in a FIFO queue, and all later records of the batch in a stream, where Lambda continues from
    /// the first record that failed. Some of them may have been handled already, and are then handled again.
    pub fn retried_with(&self) -> impl Iterator<Item = &'a str> {
        let entries = self.entries;
        entries.taken_along(self.index).map(|index| entries.id(index))
    }

    /// The indexes in the batch of this record and of those that are sent again because of it.
    #[cfg(feature = "sqs")]
    pub(crate) fn indexes(&self) -> impl Iterator<Item = usize> {
        std::iter::once(self.index).chain(self.entries.taken_along(self.index))
    }
}

impl fmt::Debug for FailedRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedRecord")
            .field("id", &self.id)
            .field("receive_count", &self.receive_count)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

/// The reason why a record was not handled.
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
    /// The handler returned an error that it marked with [`permanent`](super::permanent).
    #[error("{message}")]
    Permanent {
        /// The name of the error's type; `Error` for a boxed one.
        error_type: &'static str,
        /// The error's message.
        message: String,
    },
    /// The handler was not done within [`Batch::time_limit`](super::Batch::time_limit).
    #[error("not finished within {limit:?}: bound the work of a record, or raise `time_limit`")]
    TimedOut {
        /// The time limit.
        limit: Duration,
    },
    /// The handler, the decoding of the record, or the drop of either panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// The record has another type.
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
            Self::Failed { error_type, .. } | Self::Permanent { error_type, .. } => error_type,
            Self::TimedOut { .. } => "Lifecycle.RecordTimedOut",
            Self::Panicked(_) => "Lifecycle.Panic",
            Self::Undecodable(_) => "Lifecycle.UndecodableMessage",
            Self::Unfinished => "Lifecycle.Unfinished",
        }
    }
}
