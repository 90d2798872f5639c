//! Topics of Kafka, in Amazon MSK or self-managed: a typed handler for each record, in order, with decoded key, value and headers.
//!
//! ```no_run
//! use lambda_lifecycle::{Error, Lifecycle, kafka::{self, Record}};
//!
//! #[derive(serde::Deserialize)]
//! struct Payment { order: String, cents: u64 }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     Lifecycle::from_env().run_concurrent(kafka::batch(book).partial_responses()).await
//! }
//!
//! async fn book(record: Record<Payment>) -> Result<(), Error> {
//!     println!("{} cents for {}, from {}", record.value.cents, record.value.order, record.topic);
//!     Ok(())
//! }
//! ```
//!
//! # Failures
//!
//! The mapping decides what Lambda reads of the response, so you choose:
//!
//! | builder | mapping | effect of a failed record |
//! |---|---|---|
//! | default | any | The invocation fails with [`BatchFailed`]. Lambda sends the whole batch again. No record after the failed one is started. |
//! | [`partial_responses`](crate::batch::Batch::partial_responses) | provisioned mode with `ReportBatchItemFailures` | The response names it, and each later record of its partition. Other partitions are not affected. |
//!
//! With `partial_responses` in another mapping **failed records are skipped**: Lambda does not read the response. See
//! [Configuring error handling controls for Kafka](https://docs.aws.amazon.com/lambda/latest/dg/kafka-retry-configurations.html).
//!
//! # Order
//!
//! Records of one partition are handled one after the other, and partitions at once, up to
//! [`concurrency`](crate::batch::Batch::concurrency). With [`ordered_by_key`](crate::batch::Batch::ordered_by_key) records of different keys
//! of a partition run at once too.
//!
//! # Records that are malformed
//!
//! A field of the wrong type, or a value that is not base64, fails only its own record. A record without an offset cannot be named: the response
//! names the record before it in its partition, which is then handled again. Where there is none before it, the invocation fails, and Lambda
//! sends the batch again.
//!
//! A value that is null, as in a compacted topic, decodes as JSON's `null`: take it with `Option<T>`.
//!
//! # Traces
//!
//! X-Ray does not support Kafka as a source, so each batch starts a trace of its own. Where the
//! [propagators](crate::Builder::propagators) include W3C Trace Context, a record with a header `traceparent` links to its producer.

mod event;
mod source;

pub use crate::batch::{FailedRecord, Failure};
pub use event::{ItemIdentifier, KafkaBatchItemFailure, KafkaBatchResponse, KafkaEvent, KafkaRecord, Record};
pub use source::{Batch, BatchFailed, Kafka, batch, batch_raw};
