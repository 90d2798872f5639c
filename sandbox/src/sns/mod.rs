//! SNS on one machine: topics that hand what is published to queues and functions, with the publisher's trace header.
//!
//! Spoken to with the real `aws-sdk-sns`. A topic is in SNS's default tracing mode, PassThrough: the header that comes with a call
//! goes to all its subscriptions. See
//! [Active tracing in Amazon SNS](https://docs.aws.amazon.com/sns/latest/dg/sns-active-tracing.html).

mod publish;
mod server;
mod topic;

pub use server::Sns;
pub(crate) use topic::iso_8601;
pub use topic::{Delivery, Topic};
