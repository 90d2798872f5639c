//! The thread that waits for the end of the environment.
//!
//! Hooks must run while a handler blocks its thread, which can be the thread of `main`. So a separate thread with a small runtime
//! waits for SIGTERM and handles it.

use signal_hook::{consts::SIGTERM, low_level::pipe};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};
use tokio::{runtime::Runtime, sync::oneshot};

/// A listener for SIGTERM, which starts before the signal can be sent. It needs a thread.
pub(super) struct Listener {
    /// Wakes the thread like SIGTERM does.
    wake: UnixStream,
    over: oneshot::Receiver<()>,
}

impl Listener {
    /// Starts the thread, which runs `shutdown` on SIGTERM.
    pub(super) fn start(shutdown: impl FnOnce(&Runtime) + Send + 'static) -> io::Result<Self> {
        let (mut terminated, handler) = UnixStream::pair()?;
        let wake = handler.try_clone()?;
        let (done, over) = oneshot::channel();
        let wait = move || {
            // An error means that nothing can wake it any more.
            if terminated.read_exact(&mut [0]).is_ok() {
                run(shutdown);
            }
            let _ = done.send(());
        };
        std::thread::Builder::new().name("lambda-shutdown".to_owned()).spawn(wait)?;
        pipe::register(SIGTERM, handler)?;
        Ok(Self { wake, over })
    }

    /// Ready when the environment has ended and the shutdown is complete.
    pub(super) async fn over(&mut self) {
        // An error means that the thread has failed. The task of `main` then runs the shutdown.
        let _ = (&mut self.over).await;
    }

    /// Ends the environment from here, like SIGTERM.
    pub(super) async fn end(mut self) {
        if self.wake.write_all(&[0]).is_ok() {
            let _ = (&mut self.over).await;
        }
    }
}

/// On a separate runtime: a hook may wait for a timer or a socket, and the driver of `main`'s runtime may belong to a thread that
/// is blocked.
fn run(shutdown: impl FnOnce(&Runtime)) {
    // Without a runtime, the task of `main` runs the shutdown.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    shutdown(&runtime);
    // A hook or an exporter that blocks its thread is not waited for.
    runtime.shutdown_background();
}
