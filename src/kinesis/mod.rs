//! Streams of Kinesis: a typed handler for each record, in order, and a response that says where Lambda continues.
//!
//! ```no_run
//! use lambda_lifecycle::{Error, Lifecycle, kinesis::{self, Record}};
//!
//! #[derive(serde::Deserialize)]
//! struct Reading { sensor: String, celsius: f64 }
//! #[derive(Clone)]
//! struct App;
//! impl App { async fn connect() -> Result<Self, Error> { Ok(Self) } }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let life = Lifecycle::from_env();
//!     let app = life.init("app", App::connect()).await?;
//!     life.run_concurrent(kinesis::batch(store).with_state(app)).await
//! }
//!
//! async fn store(app: App, record: Record<Reading>) -> Result<(), Error> {
//!     println!("{} measured {} °C", record.data.sensor, record.data.celsius);
//!     Ok(())
//! }
//! ```
//!
//! The event source mapping must have `ReportBatchItemFailures` among its function response types. Without it Lambda does not read which
//! record failed: the invocation succeeded, so **it continues after the batch, and failed records are skipped**. See
//! [Configuring partial batch response](https://docs.aws.amazon.com/lambda/latest/dg/services-kinesis-batchfailurereporting.html).
//!
//! # Order
//!
//! A batch comes from one shard. By default its records are handled one after the other. With
//! [`ordered_by_key`](crate::batch::Batch::ordered_by_key) records of different partition keys run at once, up to
//! [`concurrency`](crate::batch::Batch::concurrency), and those of one key one after the other.
//!
//! # Outcomes of a record
//!
//! - Its handler returns `Ok`: it is done.
//! - Its handler returns an error or panics, or its data does not decode: the response names it, and Lambda continues with it. No later record
//!   of the batch is started. Records of other keys that were started are finished, and are sent again too.
//!   [`on_failure`](crate::batch::Batch::on_failure) is called, and
//!   [`FailedRecord::retried_with`](crate::batch::FailedRecord::retried_with) lists the records that are sent again with it.
//! - The deadline nears: no new record is started. Lambda continues with the first record that is not done.
//!
//! Set `MaximumRetryAttempts`, `BisectBatchOnFunctionError` and an on-failure destination in the mapping. By default a record that always
//! fails blocks its shard until it expires.
//!
//! # Records that are malformed
//!
//! A field of the wrong type, or data that is not base64, fails only its own record. A record whose sequence number is missing in
//! `kinesis.sequenceNumber` is named by the number in its `eventID`. Where that is missing too, the response names the record before it, which
//! is then handled again. Where there is none before it, the batch is refused with [`UnidentifiedRecord`] after the attempt.
//!
//! Records that the Kinesis Producer Library aggregated are not taken apart: their data begins with the bytes `F3 89 9A C2`. Take
//! them with [`batch_raw`], or switch aggregation off in the producer.
//!
//! # Tumbling windows
//!
//! In a mapping with a tumbling window each record has its [`Window`], whose state the handler reads and changes. The response carries the state.
//! [`Window`] shows what to do at the end of a window.
//!
//! # Traces
//!
//! A record has no trace header, so its span links to nothing. See the [engine](crate::batch).

mod event;
mod source;

#[cfg(test)]
mod properties;

pub use crate::{
    batch::{BatchItemFailure, FailedRecord, Failure},
    stream::{StreamEvent, StreamResponse, UnidentifiedRecord, Window},
};
pub use event::{KinesisEvent, KinesisRecord, Record};
pub use source::{Batch, Kinesis, batch, batch_raw};
