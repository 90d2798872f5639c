//! Sends the spans of an invocation.

use crate::{
    Invocation,
    export::Sending,
    invocation::{Own, Shared},
};
use opentelemetry::trace::{SpanContext, SpanId};
use opentelemetry_sdk::trace::SpanData;
use std::{sync::Arc, time::Instant};
use tokio::sync::oneshot;

/// Resolves the daemon's name, outside of the executor.
pub(crate) async fn resolve(shared: &Arc<Shared>) {
    if !shared.destinations.documents().resolves_a_name() {
        return;
    }
    let (done, resolved) = oneshot::channel();
    let shared = Arc::clone(shared);
    let resolve = move || done.send(shared.destinations.documents().open());
    // A failure is logged when the transport is first used.
    if std::thread::Builder::new().name("resolver".to_owned()).spawn(resolve).is_ok() {
        let _ = resolved.await;
    }
}

/// Sends the finished spans. If `main` is one of them, its document has the number of spans that did not fit. Returns that
/// number.
pub(crate) async fn deliver(invocation: &Invocation, main: SpanId) -> u32 {
    let shared = invocation.shared();
    let waiting = invocation.spans().finished() + shared.late.len();
    if waiting == 0 {
        return 0;
    }
    // Without a trace, nothing is recorded.
    let Some(trace) = invocation.parent().map(SpanContext::trace_id) else { return 0 };
    let sending = Sending {
        here: Some(trace),
        continued: invocation.continued().is_some(),
        main,
        frame: invocation.frame(trace),
        not_recorded: invocation.take_left_out(),
    };
    let take = || {
        let mut spans = invocation.spans().take();
        spans.append(&mut shared.late.take());
        spans
    };
    let take_parts = || invocation.spans().take_parts(main);
    let to_xray = invocation.wanted().to_xray() || shared.late.has_some_for_xray();
    shared.destinations.send(waiting, take, take_parts, sending, to_xray).await
}

/// Exports the delivered spans to the destinations that take time.
pub(crate) async fn export(invocation: &Invocation) {
    let until = invocation.timing().map(|deadline| deadline.after_response(crate::clock::now()));
    invocation.shared().destinations.export(until).await;
}

/// Sends from any thread, at once: for an invocation that is about to be killed.
pub(super) fn deliver_now(shared: &Shared, own: Option<&Own>, spans: Vec<SpanData>) {
    shared.destinations.send_now(spans, own.map(sending_of).as_ref());
}

/// Sends the remaining spans of an environment, one invocation after the other.
pub(super) async fn deliver_last(shared: &Shared, reports: Vec<(Option<Own>, Vec<SpanData>)>, until: Option<Instant>) {
    let batches = reports.into_iter().map(|(own, spans)| (spans, own.as_ref().map(sending_of)));
    shared.destinations.send_last(batches.collect(), until).await;
}

/// The spans of an invocation as one group, if its own span is known.
pub(crate) fn sending_of(own: &Own) -> Sending {
    Sending { here: Some(own.trace), continued: own.continued, main: own.id, frame: own.frame.clone(), not_recorded: 0 }
}

/// The last flush.
pub(crate) async fn flush(shared: &Shared, until: Option<Instant>) {
    shared.destinations.flush(until).await;
}
