//! Uses the time until the first event. The first run of the library's code takes some 150 µs longer than later ones, mostly because it
//! touches memory for the first time.

use crate::{
    Invocation, deadline,
    invocation::Shared,
    panics, subscriber,
    trace::{self, Trigger},
};
use std::sync::Arc;

/// Does what the first event would wait for, unless it was done in the Init phase.
pub(super) fn warm_up(shared: &Arc<Shared>) {
    deadline::start(&shared.settings);
    record_nothing(shared);
}

/// Records an invocation with a span of `tracing` and writes their documents, of which none is sent. The user's exporters,
/// subscriber and redactor see nothing of it. Done once.
pub(super) fn record_nothing(shared: &Arc<Shared>) {
    let _ = panics::catch(|| shared.is_warm.call_once(|| record(shared)));
}

fn record(shared: &Arc<Shared>) {
    if !shared.settings.trace {
        return;
    }
    let documents = shared.destinations.documents();
    // Resolving a name would block.
    if documents.resolves_a_name() || !documents.open() {
        return;
    }
    let invocation = Invocation::for_warm_up(shared);
    let context = trace::begin(&invocation, Trigger::Direct, b"{}");
    if subscriber::is_ours() {
        let _running = context.clone().attach();
        tracing::info_span!(target: "lambda_lifecycle::warm_up", "warm up", kind = "span", number = 1).in_scope(|| ());
    }
    trace::finish(&context, &invocation);
    if let Some(own) = invocation.spans().own() {
        shared.destinations.warm_up(invocation.spans().take(), &trace::sending_of(&own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        settings::Settings,
        xray::{Redaction, Redactor},
    };
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn it_leaves_memory_for_the_first_invocation_and_nothing_else() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let redactor = Redactor::new(move |_, _| {
            counted.fetch_add(1, Ordering::Relaxed);
            Redaction::Keep
        });
        let shared = Shared::of(Settings { redactor: Some(redactor), ..Settings::default() });
        warm_up(&shared);
        assert_eq!((asked.load(Ordering::Relaxed), shared.late.len(), shared.watched().len()), (0, 0, 0));
        assert!(shared.take_known().all(|(invocation, _)| invocation.is_none()), "none is in progress");
        assert!(shared.destinations.spare().capacity() > 0);
    }
}
