#![doc = include_str!("../links.md")]
#![doc = include_str!("../../docs/after_response.md")]

mod hooks;
mod spawn;
mod stage;

pub use crate::invocation::Report;
#[cfg(feature = "testing")]
pub(crate) use stage::run;
pub(crate) use stage::{after_posting, nothing_follows, only_documents_follow, release};

use crate::{Invocation, invocation::Work};
use spawn::spawn_now;
use std::future::Future;

impl Invocation {
    /// Runs `future` after the response is sent, before the next invocation of this environment.
    ///
    /// The future is stored now and spawned later, so it does not delay the response. It also runs when the handler fails, panics
    /// or exceeds its deadline. Its time is billed. It runs at most once, so use a queue for work that must not be lost.
    pub fn after_response<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work: Work = Box::pin(future);
        // Outside of an invocation, and in one that is over, no response follows, so the work would never run.
        let refused = if self.is_detached() { Err(work) } else { self.deferred().push(work, &stage::STAGE) };
        if let Err(work) = refused {
            spawn_now(self, work);
        }
    }
}
