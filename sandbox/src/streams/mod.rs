//! Streams of Kinesis and DynamoDB in memory, and the event source mapping that feeds a function from their shards.
//!
//! There is no API in front of a stream: a test puts records into it. What a mapping sends, what it reads of a response and how it
//! retries are the same as in Lambda. There is no delay between retries.

mod clock;
mod mapping;
mod options;
mod shard;
mod stream;
mod window;

pub use clock::Clock;
pub use mapping::{Condition, Discarded, StreamBatch, StreamMapping};
pub use options::{MappingBuilder, StartingPosition, StreamMappingError};
pub(crate) use shard::{Shard, Stored};
pub use stream::Stream;
