//! Initializers that block their thread.

use crate::panics;
use opentelemetry::Context;
use std::{future::pending, panic::resume_unwind};
use tokio::{runtime::Handle, sync::oneshot};
use tracing::Span;

/// Runs an initializer in a separate thread, inside the span that is current here. On a Tokio thread for blocking work,
/// the process could not end before the initializer does.
pub(crate) async fn off_the_executor<T, E>(setup: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    let (done, ended) = oneshot::channel();
    let (runtime, context, span) = (Handle::current(), Context::current(), Span::current());
    let work = move || {
        let _runtime = runtime.enter();
        let _context = context.attach();
        // The receiver is gone if the budget is used up.
        let _ = done.send(panics::catch(|| span.in_scope(setup)));
    };
    if let Err(error) = std::thread::Builder::new().name("init".to_owned()).spawn(work) {
        // Reported like a panic of this initializer.
        resume_unwind(Box::new(format!("no thread could be started: {error}")));
    }
    match ended.await {
        Ok(Ok(ended)) => ended,
        Ok(Err(panic)) => resume_unwind(Box::new(panic.to_string())),
        Err(_) => pending().await,
    }
}
