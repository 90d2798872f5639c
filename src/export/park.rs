//! Runs a future on a thread that may block.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread, which sleeps while the future waits.
///
/// Tokio's `Handle::block_on` would mark the thread as one that drives a runtime. reqwest's blocking client creates its own
/// runtime and drops it, in debug builds for every request, and Tokio panics when a runtime is dropped on such a thread. On a
/// thread of `spawn_blocking` the function's runtime is still available, so clients that need one find it.
pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runtime_can_be_dropped_and_the_surrounding_one_is_there() {
        let (wake, woken) = tokio::sync::oneshot::channel();
        let waits = tokio::task::spawn_blocking(|| {
            block_on(async {
                drop(tokio::runtime::Builder::new_current_thread().build());
                let woken = woken.await;
                (woken, tokio::spawn(async { 1 }).await.ok())
            })
        });
        wake.send(()).expect("the receiver exists");
        let ended = tokio::time::timeout(std::time::Duration::from_secs(60), waits).await.expect("it ends").expect("no panic");
        assert_eq!(ended, (Ok(()), Some(1)));
    }
}
