#![doc = include_str!("../links.md")]
#![doc = include_str!("../../docs/deadline.md")]

mod alarm;
mod fallback;
mod thread;
mod watchdog;

pub use crate::invocation::DeadlineExceeded;
pub(crate) use alarm::Alarm;
pub use fallback::{Fallback, FallbackFuture, fallback};
pub(crate) use watchdog::{Watched, prepare, start, watch};
