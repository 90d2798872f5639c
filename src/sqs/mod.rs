//! The hop through a queue: a typed handler per message, a span per message, and an answer that names exactly what failed.
//!
//! ```no_run
//! use lambda_lifecycle::{Error, Lifecycle, sqs::{self, Message}};
//!
//! #[derive(serde::Deserialize)]
//! struct Order { id: u64 }
//! #[derive(Clone)]
//! struct App;
//! impl App { async fn connect() -> Result<Self, Error> { Ok(Self) } }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let life = Lifecycle::from_env();
//!     let app = life.init("app", App::connect()).await?;
//!     life.run_concurrent(sqs::batch(app, place).concurrency(8)).await
//! }
//!
//! async fn place(app: App, message: Message<Order>) -> Result<(), Error> {
//!     println!("order {}", message.body.id);
//!     Ok(())
//! }
//! ```
//!
//! The event source mapping must have `ReportBatchItemFailures` among its function response types: without it Lambda does not read
//! which messages failed. See
//! [Handling errors for an SQS event source](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).
//!
//! What happens to a message:
//! - its handler returns `Ok`: it is deleted;
//! - its handler returns an error or panics, or its body is no `T`: it alone is reported, and comes back;
//! - the deadline nears: no new message is started; those under way have the grace period, and what is unfinished then is
//!   reported. What is finished stays finished.
//! - in a FIFO queue, messages of one group are handled in order, and the first failure ends its group for this batch.

mod batch;
mod contained;
mod event;
mod failure;
mod lanes;
mod run;
mod span;

#[cfg(test)]
mod properties;

pub use batch::{Batch, batch, batch_raw};
pub use event::{BatchItemFailure, BatchResponse, Message, MessageAttribute, SqsEvent, SqsRecord};
pub use failure::{FailedMessage, Failure, NotAnSqsEvent};
