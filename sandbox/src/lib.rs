#![doc = include_str!("../README.md")]
#![cfg(unix)]
#![forbid(unsafe_code)]

pub mod cloudwatch_logs;
pub mod console;
pub mod control_groups;
mod event;
pub mod event_bridge;
mod event_source;
pub mod function;
mod history;
mod ids;
pub mod kafka;
mod listener;
pub mod render;
pub mod sns;
pub mod sqs;
pub mod streams;
pub mod url;
mod verdict;
pub mod wait;
pub mod xray;

pub(crate) use event::invoke_until_accepted;
pub use event::{Event, Failure, FunctionResponse, Invoke, StreamPart};
