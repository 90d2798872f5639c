//! Faults of the Runtime API that a test asks for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The fault that the Runtime API injects instead of accepting a response: see
/// [`FunctionBuilder::post_fault`](super::FunctionBuilder::post_fault).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PostFault {
    /// It is refused with 413, and the caller gets [`Failure::TooLarge`](crate::Failure::TooLarge).
    TooLarge,
    /// It is refused with 410, and the caller gets [`Failure::TimedOut`](crate::Failure::TimedOut).
    Late,
    /// It is refused with 400, and the caller gets a function error of type `Runtime.InvalidResponse`.
    Refused,
    /// The connection is closed before the response is read.
    Broken,
}

/// The faults that are still to come.
#[derive(Clone, Debug, Default)]
pub(crate) struct PostFaults(Option<(PostFault, Arc<AtomicUsize>)>);

impl PostFaults {
    pub(crate) fn new(fault: PostFault, times: usize) -> Self {
        Self(Some((fault, Arc::new(AtomicUsize::new(times)))))
    }

    pub(crate) fn next(&self) -> Option<PostFault> {
        let (fault, left) = self.0.as_ref()?;
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).ok().map(|_| *fault)
    }
}
