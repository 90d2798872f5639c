//! SQS on one machine, and the event source mapping that feeds a function from a queue.
//!
//! Queues are `awsim-sqs`'s, spoken to with the real `aws-sdk-sqs`. Three things are the sandbox's own: an `x-amzn-trace-id` header
//! becomes the trace header of the messages, receiving keeps FIFO order and counts as the service does, and long polls are woken
//! instead of looking again every now and then.

mod event;
mod ledger;
mod mapping;
mod operations;
mod queue;
mod receive;
mod server;
mod service;

pub(crate) use ledger::{MessageEvent, MessageEventKind};
pub use mapping::{Batch, BatchOutcome, EventSourceMapping, MappingBuilder, MappingError};
pub use queue::{Counts, DeadLetter, Queue, QueueError, QueueOptions, StoredMessage};
pub use server::Sqs;

/// The region of every queue, whatever region a client signs for.
pub const REGION: &str = "us-east-1";
/// The account of every queue.
pub const ACCOUNT: &str = "000000000000";
