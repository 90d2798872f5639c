//! Tests of both destinations together.

use super::{
    Destinations, Flush, Sending,
    documents::tests::documents,
    fixtures::{TRACE, span, within},
    queue::tests::Gate,
};
use crate::xray::Frame;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::trace::SpanData;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

#[tokio::test]
async fn the_last_flush_has_the_spans_of_an_invocation_at_the_pace() {
    // Enough for the task to yield to the executor.
    const SPANS: usize = 1_000;
    let (documents, _daemon) = documents();
    let gate = Gate::closed();
    gate.through.add_permits(SPANS);
    let destinations = Destinations { documents, exporters: Some(gate.exporters(Flush::OnShutdown)) };
    let spans: Vec<SpanData> = (0..SPANS).map(|_| span()).collect();
    let main = spans[0].span_context.span_id();
    let sending =
        Sending { here: Some(TRACE), continued: false, main, frame: Frame::under(TRACE, SpanId::from(u64::MAX)).invocation() };
    let sent = destinations.send(SPANS, || spans, Vec::new, sending, true);
    let flushed = destinations.flush(Some(Instant::now() + Duration::from_secs(60)));
    within(async { tokio::join!(sent, flushed) }).await;
    assert_eq!(gate.spans.load(Ordering::Relaxed), SPANS);
}
