//! The engine of all batches: SQS, Kinesis, DynamoDB and Kafka have one handler for each record, and one response for all of them.
//!
//! You write a handler for one record, and `sqs::batch`, `kinesis::batch`, `dynamodb::batch` or `kafka::batch` makes a service of it:
//!
//! ```no_run
//! use lambda_lifecycle::{Error, Lifecycle, batch::permanent, sqs::{self, Message}};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "local")]
//! # async fn main() -> Result<(), Error> {
//! Lifecycle::from_env().run_concurrent(sqs::batch(ship).concurrency(8).time_limit(Duration::from_secs(5))).await
//! # }
//!
//! async fn ship(message: Message<u32>) -> Result<(), Error> {
//!     // A parcel of nothing is never retried.
//!     if message.body == 0 { Err(permanent("no items")) } else { Ok(()) }
//! }
//! ```
//!
//! This module has the parts that all sources share.
//!
//! # What happens to a record
//!
//! - At most [`concurrency`](Batch::concurrency) handlers run at once. Records that have an order among them run one after the other.
//! - A handler that returns an error or panics, and a record that does not decode, affect only their own record and the records whose
//!   order depends on it.
//! - A handler that takes longer than [`time_limit`](Batch::time_limit) is dropped, and its record failed.
//! - A record whose handler returns [`permanent`] is never retried. Neither is one that does not decode, if there is a hook for
//!   [dead letters](Batch::dead_letter).
//! - No record is started after the soft deadline. Running handlers have four fifths of the grace period. A handler that is still running
//!   then is dropped, and its record is reported as not done.
//! - The response names exactly the records that the source has to send again, in the form that the source expects.
//!
//! # What its trace shows
//!
//! Below the invocation there is a span `process <queue or stream>`, and below it a span `process` for each record. The annotation
//! `message_id` of a record's span is the id that the response names, and `annotate` on a record adds more. A batch with failures has
//! the annotations `batch_failed`, `batch_unfinished` and `batch_discarded` with their number, so `annotation.batch_failed > 0` finds it.

mod annotations;
mod contained;
mod dead_letter;
mod entry;
mod failure;
mod lanes;
mod permanent;
mod run;
mod service;
mod source;
mod span;
#[cfg(all(test, feature = "sqs"))]
mod tests;

pub(crate) use annotations::Annotations;
#[cfg(any(feature = "kinesis", feature = "dynamodb", feature = "kafka"))]
pub(crate) use annotations::annotate;
pub use dead_letter::DeadLetter;
pub use failure::{FailedRecord, Failure};
pub use permanent::{Permanent, permanent};
pub use service::Batch;
#[cfg(feature = "sqs")]
pub(crate) use source::Delaying;
pub use source::{BatchItemFailure, BatchResponse, Source};
pub(crate) use source::{Known, Opened, Progress, Sealed};
