//! Batches of SQS messages: a typed handler and a span for each message, and a response that names exactly the failed messages.
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
//!     life.run_concurrent(sqs::batch(place).with_state(app).concurrency(8)).await
//! }
//!
//! async fn place(app: App, message: Message<Order>) -> Result<(), Error> {
//!     println!("order {}", message.body.id);
//!     Ok(())
//! }
//! ```
//!
//! The event source mapping must have `ReportBatchItemFailures` among its function response types. Without it Lambda does not read
//! which messages failed: the invocation succeeded, so **it deletes the whole batch, failed messages included**. See
//! [Handling errors for an SQS event source](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).
//!
//! # Outcomes of a message
//!
//! - Its handler returns `Ok`: it is deleted.
//! - Its handler returns an error or panics, or its body has another type: only this message is returned to the queue.
//!   [`on_failure`](crate::batch::Batch::on_failure) is called.
//! - The deadline is near: no new message is started. Running messages have four fifths of the grace period. Then unfinished ones
//!   are dropped and returned to the queue, with those that were never started. Finished messages stay finished, even if the
//!   batch ran out of time.
//! - In a FIFO queue the messages of one group are handled in order, and a group's first failure ends it for this batch: the
//!   failed message and all later ones of the group are returned to the queue, as Lambda requires. Other groups continue.
//! - A message is in the batch twice, which at-least-once delivery allows: it is handled once.
//!
//! An event that is not a batch of messages fails as a whole, with an error that names the record, before anything is handled. A
//! message without an id could not be reported, and Lambda deletes messages that are not reported.
//!
//! SQS delivers at least once, so handlers must be idempotent. After a kill no response is sent, and the whole batch is returned
//! to the queue.
//!
//! # Messages that are tried again later, or never
//!
//! A failed message is received again when its visibility timeout is over. [`backoff`](crate::batch::Batch::backoff) changes that timeout by
//! the number of receives, so that a message that keeps failing comes less and less often.
//!
//! Return [`permanent`](crate::batch::permanent) for a message that no retry helps, and set
//! [`dead_letter`](crate::batch::Batch::dead_letter) to keep it.
//!
//! # Messages that were never started
//!
//! SQS counts a message as received when Lambda takes it from the queue, even if its handler is never called. A message that was
//! returned because the deadline came first has used up one of the receives that the queue's redrive policy allows. If that
//! happens `maxReceiveCount` times, SQS moves it to the dead-letter queue although no handler ever ran for it. The event does not
//! show whether a message failed or was never started. Therefore:
//!
//! - Choose the batch size, the concurrency and the function's timeout so that a batch ends before its deadline. When one does not, the
//!   library logs a warning with the number of messages that were not started (`not_started`).
//! - Set `maxReceiveCount` to 5 or more, as AWS recommends for event source mappings.
//! - In a FIFO queue, a failed message returns all later messages of its group, which count as received too. Keep batches of such
//!   queues small.
//!
//! # What its trace shows
//!
//! Below the invocation is the span `process <queue>`, with a link to each distinct producer, twenty at most. Below it is one
//! span `process` for each message, with its own link and these attributes:
//!
//! | in X-Ray | from |
//! |---|---|
//! | annotation `message_id` | the message's id |
//! | annotation `producer_trace_id` | the trace of the call that sent it, searchable even if links are not shown |
//! | `messaging.message.receive_count`, `messaging.message.age_ms` | how often it was received, and how long ago it was sent |
//! | `messaging.message.group_id` | its group in a FIFO queue, if [`record_group_ids`](crate::batch::Batch::record_group_ids) asks for it |
//!
//! The producer is the caller that the system attribute `AWSTraceHeader` names, and that of a W3C `traceparent` among the message
//! attributes. A message whose producer is not sampled adds no documents, and calls made for it send its header on.
//! [`continue_traces`](crate::batch::Batch::continue_traces) puts the work into the producer's trace instead. [`span_budget`](crate::batch::Batch::span_budget) keeps the faults of a big
//! batch within X-Ray's limit.
//!
//! # Cost
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench batch` compares it with hand-written `buffer_unordered`, and
//! [`benches/RESULTS.md`](https://github.com/OWNER/lambda-lifecycle/blob/main/benches/RESULTS.md#a-record-of-a-batch) has the figures.

mod backoff;
mod event;
mod source;

#[cfg(test)]
mod properties;

pub use crate::batch::{BatchItemFailure, BatchResponse, FailedRecord as FailedMessage, Failure};
pub use backoff::{Backoff, VisibilityChange};
pub use event::{Message, MessageAttribute, SqsEvent, SqsRecord};
pub use source::{Batch, NotAnSqsEvent, Sqs, batch, batch_raw};
