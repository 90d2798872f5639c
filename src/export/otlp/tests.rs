use super::*;
use crate::export::{Wanted, fixtures::span};
use opentelemetry::trace::{Event, Link, Status};
use std::time::SystemTime;

fn resource() -> Arc<ProtoResource> {
    resource_of(&Resource::builder_empty().with_attribute(KeyValue::new("service.name", "orders")).build())
}

/// The spans of a batch as a receiver decodes them, each with whether it is sampled, datagram by datagram.
fn received(batch: &mut OtlpBatch) -> Vec<Vec<(bool, Span)>> {
    let read = |datagram: &[u8]| {
        assert!(datagram.len() <= MOST, "{} bytes", datagram.len());
        let body = datagram.strip_prefix(DAEMON_HEADER).expect("the header");
        let (prefix, text) = body.split_at(3);
        let message = STANDARD.decode(text).expect("base64");
        let request = ExportTraceServiceRequest::decode(&*message).expect("a request");
        let [spans] = &request.resource_spans[..] else { panic!("{request:?}") };
        assert_eq!(spans.resource.as_ref(), Some(&*resource()));
        spans.scope_spans.iter().flat_map(|scope| scope.spans.clone()).map(|span| (prefix == SAMPLED, span)).collect()
    };
    batch.datagrams().map(read).collect()
}

fn with_text(bytes: usize) -> SpanData {
    SpanData { attributes: vec![KeyValue::new("text", "x".repeat(bytes)), KeyValue::new("kept", 1)], ..span() }
}

#[test]
fn spans_share_datagrams_and_each_comes_once_whatever_its_size() {
    for bytes in [0, 10, 500, 5_000, 11_000, 12_500, 40_000, 47_000] {
        let mut batch = OtlpBatch::new(&resource());
        let spans: Vec<SpanData> = (0..100).map(|_| with_text(bytes)).collect();
        for span in &spans {
            batch.push(span, &Frame::of(span));
        }
        let datagrams = received(&mut batch);
        let ids: Vec<Vec<u8>> = datagrams.iter().flatten().map(|(_, span)| span.span_id.clone()).collect();
        let sent: Vec<Vec<u8>> = spans.iter().map(|span| span.span_context.span_id().to_bytes().to_vec()).collect();
        assert_eq!(ids, sent, "{bytes}");
        assert!(datagrams.iter().flatten().all(|(_, span)| span.attributes.len() == 2), "{bytes}");
        assert!(bytes > 500 || datagrams.len() < 10, "{bytes}: {} datagrams", datagrams.len());
        assert_eq!(batch.left_out(), 0);
    }
}

#[test]
fn a_span_that_is_too_long_is_cut_and_the_others_are_whole() {
    let event = |bytes: usize| Event::new("exception", SystemTime::now(), vec![KeyValue::new("text", "x".repeat(bytes))], 0);
    let mut long = with_text(60_000);
    long.events.events = vec![event(70_000), event(10)];
    long.status = Status::error("e".repeat(70_000));
    let mut many = span();
    many.attributes = (0..5_000).map(|at| KeyValue::new(format!("key{at}"), "x".repeat(20))).collect();
    many.events.events = (0..5_000).map(|_| event(20)).collect();
    many.links.links = (0..5_000).map(|_| Link::with_context(span().span_context)).collect();
    let spans = [span(), long, many, SpanData { name: "n".repeat(70_000).into(), ..span() }, span()];
    let mut batch = OtlpBatch::new(&resource());
    for span in &spans {
        batch.push(span, &Frame::of(span));
    }
    let came: Vec<Span> = received(&mut batch).into_iter().flatten().map(|(_, span)| span).collect();
    assert_eq!(came.len(), spans.len());
    let [first, long, many, named, last] = &came[..] else { panic!("{}", came.len()) };
    assert_eq!((first.dropped_attributes_count, last.dropped_attributes_count), (0, 0));
    assert_eq!(long.dropped_attributes_count, 2, "the small one goes where the large one is not enough");
    let message = long.status.as_ref().map(|status| status.message.len());
    assert!(message.is_some_and(|length| length <= 250), "{message:?}");
    assert_eq!(many.events.len() + many.dropped_events_count as usize, 5_000);
    assert_eq!(many.links.len() + many.dropped_links_count as usize, 5_000);
    assert_eq!(many.attributes.len() + many.dropped_attributes_count as usize, 5_000);
    assert!(many.dropped_events_count > 0);
    assert!(named.name.len() <= 250);
    assert_eq!(batch.left_out(), 0);
}

#[test]
fn a_large_attribute_leaves_and_what_is_small_stays() {
    let mut batch = OtlpBatch::new(&resource());
    let mut long = with_text(100_000);
    let exception = vec![KeyValue::new("exception.type", "Refused"), KeyValue::new("exception.stacktrace", "x".repeat(100_000))];
    long.events.events = vec![Event::new("exception", SystemTime::now(), exception, 0)];
    batch.push(&long, &Frame::of(&long));
    let came = received(&mut batch);
    let [(_, span)] = &came[0][..] else { panic!("{came:?}") };
    let keys = |attributes: &[ProtoAttribute]| attributes.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
    assert_eq!((keys(&span.attributes), span.dropped_attributes_count), (vec!["kept".to_owned()], 1));
    let [event] = &span.events[..] else { panic!("{:?}", span.events) };
    assert_eq!((keys(&event.attributes), event.dropped_attributes_count), (vec!["exception.type".to_owned()], 1));
}

#[test]
fn what_cannot_be_cut_is_left_out_and_counted() {
    let mut batch = OtlpBatch::new(&resource());
    let scope = opentelemetry::InstrumentationScope::builder("x".repeat(70_000)).build();
    let stuck = SpanData { instrumentation_scope: scope, ..span() };
    for span in [&span(), &stuck, &span()] {
        batch.push(span, &Frame::of(span));
    }
    assert_eq!(received(&mut batch).into_iter().flatten().count(), 2);
    assert_eq!(batch.left_out(), 1);
}

#[test]
fn sampled_and_unsampled_spans_leave_apart() {
    let mut batch = OtlpBatch::new(&resource());
    let mut unsampled = span();
    Wanted { unsampled: true, ..Wanted::default() }.mark(&mut unsampled);
    let main = Frame::under(opentelemetry::TraceId::from(7), opentelemetry::trace::SpanId::INVALID).left_out(3);
    for (span, frame) in [(&span(), Frame::of(&span())), (&unsampled, main), (&span(), Frame::of(&span()))] {
        batch.push(span, &frame);
    }
    let came = received(&mut batch);
    assert_eq!(came.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
    assert!(came[0].iter().all(|(sampled, span)| *sampled && span.flags & 0xff == 1));
    let (sampled, span) = &came[1][0];
    assert!(!sampled && span.flags.trailing_zeros() >= 8 && span.parent_span_id.is_empty());
    assert_eq!(span.trace_id, opentelemetry::TraceId::from(7).to_bytes());
    assert_eq!(span.attributes[0].key, "lambda_lifecycle.spans_left_out");
}

#[test]
fn a_long_resource_is_cut() {
    let long = (0..100).map(|at| KeyValue::new(format!("key{at}"), "x".repeat(1_000)));
    let resource = resource_of(&Resource::builder_empty().with_attributes(long).build());
    assert!(resource.encoded_len() < RESOURCE + 100);
    assert_eq!(resource.attributes.len() + resource.dropped_attributes_count as usize, 100);
}
