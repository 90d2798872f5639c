//! Streams of Kinesis and DynamoDB in memory, and the event source mapping that feeds a function from their shards.
//!
//! There is no API in front of a stream: a test puts records into it. What a mapping sends, what it reads of a response and how it
//! retries are the same as in Lambda. There is no delay between retries.

mod mapping;
mod shard;
mod stream;
mod verdict;

pub use mapping::{Discarded, MappingBuilder, StartingPosition, StreamBatch, StreamMapping, StreamMappingError};
pub(crate) use shard::{Shard, Stored};
pub use stream::Stream;
pub(crate) use verdict::{Verdict, failures};
