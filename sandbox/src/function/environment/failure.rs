//! Results for callers whose process does not start, or ends.

use crate::{
    Failure,
    function::{
        api::error::FunctionError,
        message::{WarmUpError, Work},
        settings::Settings,
    },
};
use std::collections::VecDeque;

/// Tells those who wait.
pub(super) type Tell = Box<dyn FnOnce() + Send>;

/// Fails everyone who waits for a process that will not start. Returns their number.
pub(super) fn give_up(work: &mut VecDeque<Work>, failure: Failure, settings: &Settings) -> (usize, Tell) {
    let limit = settings.init_limit();
    let work = std::mem::take(work);
    let count = work.len();
    let error = match failure.clone() {
        Failure::Function { error_type, error_message } => WarmUpError::Failed { error_type, error_message },
        Failure::TimedOut { .. } => WarmUpError::TimedOut(limit),
        other => WarmUpError::Failed { error_type: "Runtime.ExitError".into(), error_message: other.to_string() },
    };
    let tell = move || {
        for work in work {
            match work {
                Work::Job(mut job) => job.respond(Err(failure.clone()), false),
                Work::WarmUp(reply) => drop(reply.send(Err(error.clone()))),
            }
        }
    };
    (count, Box::new(tell))
}

pub(super) fn function_failure(error: FunctionError) -> Failure {
    Failure::Function { error_type: error.error_type, error_message: error.error_message }
}

/// The message for hooks that took too long.
pub(super) fn restore_timed_out(settings: &Settings) -> FunctionError {
    let message = format!("the work after the restore took longer than {:?}", settings.restore_limit);
    FunctionError::new("SnapStartTimeoutException", message)
}
