#![doc = include_str!("../README.md")]
#![cfg(unix)]
#![forbid(unsafe_code)]

pub mod cloudwatch_logs;
pub mod console;
pub mod control_groups;
mod event;
pub mod event_bridge;
pub mod function;
mod history;
mod ids;
pub mod kafka;
pub mod render;
pub mod sns;
pub mod sqs;
pub mod streams;
pub mod url;
pub mod wait;
pub mod xray;

pub use event::{Answer, Event, Failure, Invoke, StreamPart};
