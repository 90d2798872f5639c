//! AWS Lambda's execution environment on one machine.
#![cfg(unix)]

mod event;
pub mod function;
pub mod render;
pub mod sqs;
pub mod url;
pub mod xray;

pub use event::{Answer, Event, Failure, Invoke};
