//! A set-up that blocks its thread.

use crate::panics;
use opentelemetry::Context;
use std::{future::pending, panic::resume_unwind};
use tokio::{runtime::Handle, sync::oneshot};
use tracing::Span;

/// Runs a set-up in a thread of its own, inside the span it is polled in. Tokio's threads for such work would keep the process from
/// ending until the set-up has.
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
        // Nobody listens where the budget is used up.
        let _ = done.send(panics::catch(|| span.in_scope(setup)));
    };
    if let Err(error) = std::thread::Builder::new().name("init".to_owned()).spawn(work) {
        // Told as this set-up's own panic.
        resume_unwind(Box::new(format!("no thread could be started: {error}")));
    }
    match ended.await {
        Ok(Ok(ended)) => ended,
        Ok(Err(panic)) => resume_unwind(Box::new(panic.to_string())),
        Err(_) => pending().await,
    }
}
