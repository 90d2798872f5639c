//! Streamed responses against a Runtime API that responds early, late, slowly or not at first.

use super::{Log, Watch, api::Fake, api::Wrong, faults::patiently, run, stream};
use bytes::Bytes;
use lambda_runtime::{Error, LambdaEvent, MetadataPrelude, StreamResponse, service_fn};
use serde_json::Value;
use std::{sync::atomic::Ordering, time::Duration};

/// One byte an hour, three times.
async fn slow(_: LambdaEvent<Value>) -> Result<StreamResponse<lambda_runtime::streaming::Body>, Error> {
    let (mut sender, body) = lambda_runtime::streaming::channel();
    tokio::spawn(async move {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            if sender.send_data("x".into()).await.is_err() {
                return;
            }
        }
    });
    Ok(StreamResponse { metadata_prelude: MetadataPrelude::default(), stream: body })
}

/// A chunk that is larger than all buffers on the way.
async fn large(_: LambdaEvent<Value>) -> Result<StreamResponse<lambda_runtime::streaming::Body>, Error> {
    let (mut sender, body) = lambda_runtime::streaming::channel();
    tokio::spawn(async move { sender.send_data(Bytes::from(vec![b'x'; LARGE])).await });
    Ok(StreamResponse { metadata_prelude: MetadataPrelude::default(), stream: body })
}

const LARGE: usize = 8 * 1024 * 1024;

async fn outcome(watch: &Watch, id: &str) -> &'static str {
    let known = async {
        loop {
            if let Some(outcome) = watch.outcome(id) {
                return outcome;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    patiently(known, id).await
}

/// The next event gets its response, over the expected number of connections.
async fn goes_on(fake: &Fake, connections: usize) {
    fake.event("again", &[], r#"{"chunks":1}"#);
    patiently(fake.posted("again"), "again").await;
    assert_eq!(fake.lock().connections, connections);
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_after_a_response_that_came_early() {
    let (log, _guard) = Log::start();
    let (fake, shared) = super::api(1);
    let (watch, running) = run(service_fn(slow), shared);
    fake.wrong("response", [Wrong::RespondEarly]);
    fake.event("s", &[], "{}");
    let posted = patiently(fake.posted("s"), "early").await;
    assert!(posted.text().ends_with("\0xxx"), "{}", posted.text());
    assert_eq!(outcome(&watch, "s").await, "unknown");
    goes_on(&fake, 1).await;
    assert_eq!((log.faults(), log.of("outcome")), (vec![], vec![]));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_after_an_early_response_is_undelivered() {
    let (log, _guard) = Log::start();
    let (fake, shared) = super::api(1);
    let (watch, running) = run(service_fn(slow), shared);
    fake.wrong("response", [Wrong::RespondEarlyAndClose]);
    fake.event("s", &[], "{}");
    assert_eq!(outcome(&watch, "s").await, "undelivered_response");
    goes_on(&fake, 2).await;
    assert_eq!(log.of("outcome"), ["undelivered_response"]);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_survives_connections_that_are_refused() {
    for (refusals, arrives) in [(1, true), (4, true), (5, false)] {
        let (fake, shared) = super::api(1);
        let (watch, running) = run(service_fn(stream), shared);
        fake.wrong("next", [Wrong::CloseAfter]);
        patiently(fake.request(|request| request.endpoint() == "next"), "next").await;
        fake.refusals.store(refusals, Ordering::Relaxed);
        fake.event("s", &[], r#"{"chunks":2}"#);
        let expected = if arrives { "unknown" } else { "undelivered_response" };
        assert_eq!(outcome(&watch, "s").await, expected, "{refusals} refusals");
        let posted = fake.lock().requests.iter().find(|request| request.line.contains("/s/")).map(super::api::Request::text);
        assert_eq!(posted.is_some_and(|text| text.ends_with("\0chunk 0;chunk 1;")), arrives, "{refusals} refusals");
        running.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_a_slow_line_gets_the_whole_stream() {
    let (log, _guard) = Log::start();
    let (fake, shared) = super::api(1);
    let (watch, running) = run(service_fn(large), shared);
    fake.wrong("response", [Wrong::ReadSlowly]);
    fake.event("s", &[], "{}");
    assert_eq!(outcome(&watch, "s").await, "unknown");
    assert!(patiently(fake.posted("s"), "slow").await.body.len() > LARGE);
    assert_eq!(log.faults(), Vec::<String>::new());
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_whose_body_breaks_off_is_one() {
    for (wrong, expected) in [(Wrong::StatusHalfABody(413), "response_too_large"), (Wrong::StatusHalfABody(410), "late_response")]
    {
        let (fake, shared) = super::api(1);
        let (watch, running) = run(service_fn(stream), shared);
        fake.wrong("response", [wrong]);
        fake.event("s", &[], r#"{"chunks":2}"#);
        assert_eq!(outcome(&watch, "s").await, expected);
        running.abort();
    }
}

/// A stream that has one chunk.
struct Fused {
    chunk: Option<&'static str>,
}

impl futures_core::Stream for Fused {
    type Item = Result<Bytes, Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, Error>>> {
        std::task::Poll::Ready(self.chunk.take().map(|chunk| Ok(chunk.into())))
    }
}

impl Drop for Fused {
    fn drop(&mut self) {
        panic!("fuse was lit");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_destructor_panics_is_delivered_to_its_end() {
    let (fake, shared) = super::api(1);
    let handler = service_fn(async |_: LambdaEvent<Value>| {
        let stream = Fused { chunk: Some("all") };
        Ok::<_, Error>(StreamResponse { metadata_prelude: MetadataPrelude::default(), stream })
    });
    let (watch, running) = run(handler, shared);
    fake.event("s", &[], "{}");
    let posted = patiently(fake.posted("s"), "fused").await;
    assert!(posted.text().ends_with("\0all"), "{}", posted.text());
    assert_eq!(posted.trailers, []);
    assert_eq!(outcome(&watch, "s").await, "unknown");
    assert_eq!(fake.lock().connections, 1);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_given_up_may_panic_in_its_destructor() {
    let (fake, shared) = super::api(1);
    let handler = service_fn(async |_: LambdaEvent<Value>| {
        let stream = Fused { chunk: Some("all") };
        Ok::<_, Error>(StreamResponse { metadata_prelude: MetadataPrelude::default(), stream })
    });
    let (watch, running) = run(handler, shared);
    fake.wrong("response", [Wrong::Reset]);
    fake.event("s", &[], "{}");
    assert_eq!(outcome(&watch, "s").await, "undelivered_response");
    running.abort();
}
