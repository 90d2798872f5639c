//! Records that are not retried, on their way to somewhere else.

use super::failure::Failure;
use crate::Invocation;
use lambda_runtime::Error;
use std::{future::Future, pin::Pin, sync::Arc};

/// A record that is not retried, for the hook of [`Batch::dead_letter`](super::Batch::dead_letter).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetter<R> {
    /// The id of the record: SQS's message id, or the sequence number in a stream.
    pub id: String,
    /// The failure.
    pub failure: Failure,
    /// The record of the event, not decoded.
    pub record: R,
    /// The invocation it was handled in.
    pub invocation: Invocation,
}

pub(super) type Hook<R> = Arc<dyn Fn(DeadLetter<R>) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> + Send + Sync>;
