//! Shared by the streams of Kinesis and DynamoDB: the event, order in a shard, tumbling windows and the response.

mod event;
mod window;

pub use event::{StreamEvent, StreamResponse, UnidentifiedRecord};
pub(crate) use event::{age, respond};
pub use window::Window;

/// The records of a batch that are handled in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    #[default]
    Shard,
    Key,
}
