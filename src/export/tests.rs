//! Tests of both destinations together.

use super::{
    Destinations, Flush, SPANS_OF_SPARE, Sending,
    documents::tests::documents,
    fixtures::{TRACE, sending, span, within},
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
    let destinations = Destinations { documents, exporters: Some(gate.exporters(Flush::OnShutdown)), ..Destinations::default() };
    let spans: Vec<SpanData> = (0..SPANS).map(|_| span()).collect();
    let main = spans[0].span_context.span_id();
    let sending = Sending { main, frame: Frame::under(TRACE, SpanId::from(u64::MAX)).invocation(), ..sending() };
    let sent = destinations.send(SPANS, || spans, Vec::new, sending, true);
    let flushed = destinations.flush(Some(Instant::now() + Duration::from_secs(60)));
    within(async { tokio::join!(sent, flushed) }).await;
    assert_eq!(gate.spans.load(Ordering::Relaxed), SPANS);
}

#[tokio::test]
async fn the_buffer_of_an_invocation_is_used_again_unless_it_is_large() {
    for (count, is_kept) in [(SPANS_OF_SPARE, true), (SPANS_OF_SPARE + 1, false)] {
        let gate = Gate::closed();
        let destinations = Destinations { exporters: Some(gate.exporters(Flush::OnShutdown)), ..Destinations::default() };
        let mut spans = Vec::with_capacity(count);
        spans.extend([span(), span()]);
        let sending = sending();
        within(destinations.send(2, || spans, Vec::new, sending, false)).await;
        let spare = destinations.spare();
        assert!(spare.is_empty());
        assert_eq!(spare.capacity() > 0, is_kept, "{count}");
        assert_eq!(destinations.spare().capacity(), 0, "it is in use");
    }
}
