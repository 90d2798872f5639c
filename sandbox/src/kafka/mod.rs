//! Topics of Kafka in memory, and the event source mapping that feeds a function from their partitions.
//!
//! There is no broker: a test puts records into a topic. What a mapping sends, what it reads of a response and how it retries are the
//! same as in Lambda's provisioned mode. There is no delay between retries.

mod mapping;
mod topic;

pub use mapping::{DiscardedRecords, KafkaBatch, KafkaMapping, KafkaMappingBuilder};
pub use topic::{Message, Topic};
