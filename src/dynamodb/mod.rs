//! Streams of DynamoDB: a typed handler for each change of a table, in order, and a response that says where Lambda continues.
//!
//! ```no_run
//! use lambda_lifecycle::{Error, Lifecycle, dynamodb::{self, Change, ChangeKind}};
//!
//! #[derive(serde::Deserialize)]
//! struct Order { id: String, total: u64 }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     Lifecycle::from_env().run_concurrent(dynamodb::batch(project)).await
//! }
//!
//! async fn project(change: Change<Order>) -> Result<(), Error> {
//!     match (change.kind, change.new_image) {
//!         (ChangeKind::Remove, _) => println!("{} is gone", change.keys.decode::<serde_json::Value>()?),
//!         (_, Some(order)) => println!("order {} costs {}", order.id, order.total),
//!         (_, None) => println!("the stream has no new images"),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The event source mapping must have `ReportBatchItemFailures` among its function response types. Without it Lambda does not read which
//! record failed: the invocation succeeded, so **it continues after the batch, and failed changes are skipped**. See
//! [Configuring partial batch response](https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html).
//!
//! # Images
//!
//! `serde_dynamo` decodes images, so `T` is the same type that you read from and write to the table. A batch of `Change<serde_json::Value>`
//! takes any image without binary attributes. An image is there if the view type of the stream includes it.
//!
//! # Order
//!
//! A batch comes from one shard. By default its changes are handled one after the other. With
//! [`ordered_by_key`](crate::batch::Batch::ordered_by_key) changes of different items run at once, up to
//! [`concurrency`](crate::batch::Batch::concurrency), and those of one item one after the other.
//!
//! # Outcomes of a change
//!
//! The same as to a record of [Kinesis](https://docs.rs/lambda-lifecycle/latest/lambda_lifecycle/kinesis/): the response names the first change
//! that is not done, and Lambda continues with it. Set `MaximumRetryAttempts`, `BisectBatchOnFunctionError` and an on-failure destination in
//! the mapping. By default a change that always fails blocks its shard until it expires after 24 hours.
//!
//! # Records that are malformed
//!
//! A field of the wrong type fails only its own record. For a record without `dynamodb.SequenceNumber` the response names the record before
//! it, which is then handled again. Where there is none before it, the batch is refused with [`UnidentifiedRecord`] after the attempt.
//!
//! Tumbling windows work as for Kinesis: see [`Window`].

mod event;
mod source;

pub use crate::{
    batch::{BatchItemFailure, FailedRecord, Failure},
    stream::{StreamEvent, StreamResponse, UnidentifiedRecord, Window},
};
pub use event::{Change, ChangeKind, DynamoDbEvent, DynamoDbRecord, Image, UndecodableImage};
pub use source::{Batch, DynamoDb, batch};
