//! The documents that are sent of a trace that is too big, and the counts of the others in the invocation's document.

mod xray_support;

use std::{collections::HashSet, time::Duration};

use lambda_lifecycle::xray::{Batch, Budget, DAEMON_HEADER, DocumentWriter, Frame, MAX_TRACE};
use opentelemetry::{
    KeyValue,
    trace::{SpanId, Status, TraceId},
};
use opentelemetry_sdk::trace::SpanData;
use proptest::{collection::vec, prelude::*};
use serde_json::Value;
use xray_support::{TRACE, context, span};

const INVOCATION: u64 = 1;

fn child(id: u64, parent: u64, millis: u64) -> SpanData {
    let mut span = span("work");
    span.span_context = context(TRACE, id);
    span.parent_span_id = SpanId::from(parent);
    span.end_time = span.start_time + Duration::from_millis(millis);
    span
}

fn faulty(mut span: SpanData) -> SpanData {
    span.status = Status::error("");
    span
}

struct Result {
    left_out: u32,
    ids: Vec<u64>,
    bytes: usize,
    invocation: Value,
}

fn run(spans: &[SpanData], budget: &mut Budget) -> Result {
    let (mut writer, mut batch) = (DocumentWriter::default(), Batch::new());
    for span in spans {
        batch.push(&mut writer, span, &Frame::of(span));
    }
    let invocation = child(INVOCATION, 99, 1_000);
    let left_out = batch.finish(&mut writer, &invocation, Frame::of(&invocation).invocation(), budget);
    assert!(batch.datagrams().all(|datagram| datagram.starts_with(DAEMON_HEADER)));
    let documents: Vec<Value> = batch.documents().map(|document| serde_json::from_slice(document).unwrap()).collect();
    let ids: Vec<u64> = documents.iter().map(|one| u64::from_str_radix(one["id"].as_str().unwrap(), 16).unwrap()).collect();
    let known: HashSet<&str> = documents.iter().map(|one| one["id"].as_str().unwrap()).collect();
    let above = |one: &Value| one["id"] == "0000000000000001" || known.contains(one["parent_id"].as_str().unwrap());
    assert!(documents.iter().all(above), "every parent is there");
    assert_eq!(ids.len() + left_out as usize, spans.len() + 1, "what is sent and what is left out is everything");
    let bytes = batch.documents().map(<[u8]>::len).sum();
    assert_packed_are(&documents, &mut batch);
    Result { left_out, ids, bytes, invocation: documents.last().unwrap().clone() }
}

/// The same documents, whole, in datagrams that are no more and no longer than they may be.
fn assert_packed_are(documents: &[Value], batch: &mut Batch) {
    let single: usize = batch.datagrams().map(<[u8]>::len).sum();
    let (mut flat, mut datagrams, mut bytes) = (Vec::new(), 0, 0);
    for datagram in batch.packed() {
        let document = datagram.strip_prefix(DAEMON_HEADER).expect("the daemon's header");
        let document: Value = serde_json::from_slice(document).unwrap();
        if document.get("subsegments").is_some() {
            assert!(datagram.len() <= 16_000, "{} bytes", datagram.len());
        }
        xray_support::assert_valid(&document);
        (datagrams, bytes) = (datagrams + 1, bytes + datagram.len());
        flatten(document, None, &mut flat);
    }
    assert!(datagrams <= documents.len() && bytes <= single, "{bytes} bytes in {datagrams} datagrams");
    let mut expected = documents.to_vec();
    for all in [&mut expected, &mut flat] {
        all.sort_by_key(|document| document["id"].to_string());
    }
    assert_eq!(flat, expected);
}

/// As if each had come alone.
fn flatten(mut document: Value, above: Option<&Value>, flat: &mut Vec<Value>) {
    let nested = document.as_object_mut().unwrap().remove("subsegments");
    if let Some(above) = above {
        assert!(["trace_id", "parent_id", "type"].iter().all(|key| document.get(key).is_none()), "said twice: {document}");
        document["trace_id"] = above["trace_id"].clone();
        document["parent_id"] = above["id"].clone();
        document["type"] = "subsegment".into();
    }
    for child in nested.iter().flat_map(|nested| nested.as_array().unwrap()) {
        flatten(child.clone(), Some(&document), flat);
    }
    flat.push(document);
}

#[test]
fn spans_of_an_invocation_leave_in_its_own_document() {
    let (mut writer, mut batch) = (DocumentWriter::default(), Batch::new());
    for id in 2..12 {
        let span = child(id, if id % 3 == 0 { id - 1 } else { INVOCATION }, 1);
        batch.push(&mut writer, &span, &Frame::of(&span));
    }
    let invocation = child(INVOCATION, 99, 1_000);
    batch.finish(&mut writer, &invocation, Frame::of(&invocation).invocation(), &mut Budget::default());
    assert_eq!((batch.datagrams().count(), batch.packed().count()), (11, 1));
    let documents: Vec<Value> = batch.documents().map(|document| serde_json::from_slice(document).unwrap()).collect();
    assert_packed_are(&documents, &mut batch);
}

#[test]
fn a_document_takes_others_until_it_is_full() {
    let (mut writer, mut batch) = (DocumentWriter::default(), Batch::new());
    for id in 2..200 {
        let span = child(id, INVOCATION, 1);
        batch.push(&mut writer, &span, &Frame::of(&span));
    }
    let invocation = child(INVOCATION, 99, 1_000);
    batch.finish(&mut writer, &invocation, Frame::of(&invocation).invocation(), &mut Budget::default());
    let alone = batch.datagrams().map(<[u8]>::len).max().expect("documents");
    let fullest = batch.packed().map(<[u8]>::len).max().expect("datagrams");
    assert!(fullest <= 16_000 && fullest + alone > 16_000, "{fullest} bytes, and {alone} bytes would have fitted");
}

#[test]
fn spans_below_one_another_segments_and_other_traces_leave_alone() {
    let (mut writer, mut batch) = (DocumentWriter::default(), Batch::new());
    let spans = [child(2, 3, 1), child(3, 2, 1), child(4, 4, 1), child(5, 6, 1), child(7, 5, 1), child(8, 7, 1)];
    for span in &spans {
        let frame = match span.span_context.span_id() {
            id if id == SpanId::from(7) => Frame::of(span).segment(),
            id if id == SpanId::from(8) => Frame::under(TraceId::from(TRACE + 1), span.parent_span_id),
            _ => Frame::of(span),
        };
        batch.push(&mut writer, span, &frame);
    }
    let mut alone: Vec<_> = batch.datagrams().map(<[u8]>::to_vec).collect();
    // As an invocation's own document, what was written last leaves first.
    alone.rotate_right(1);
    assert_eq!(batch.packed().map(<[u8]>::to_vec).collect::<Vec<_>>(), alone);
}

/// The number of documents that the daemon keeps when they arrive faster than it can forward them.
const DAEMON_QUEUE: usize = 400;

#[test]
fn of_many_documents_the_important_ones_leave_last_because_the_daemon_drops_the_oldest() {
    const FAULTY: u64 = 2_000;
    const ABOVE: u64 = 1_999;
    let (mut writer, mut batch) = (DocumentWriter::default(), Batch::new());
    for id in 2..5_000 {
        let mut span = child(id, if id == FAULTY { ABOVE } else { INVOCATION }, if id == 100 { 900 } else { id % 7 });
        // Too large for its parent's document.
        span.attributes = vec![KeyValue::new("filler", "x".repeat(if id == FAULTY { 16_000 } else { 100 }))];
        if id == FAULTY {
            span.status = Status::error("disk full");
        }
        batch.push(&mut writer, &span, &Frame::of(&span));
    }
    let invocation = child(INVOCATION, u64::MAX, 1_000);
    batch.finish(&mut writer, &invocation, Frame::of(&invocation).invocation(), &mut Budget::new(usize::MAX));
    let id_of = |datagram: &[u8]| -> u64 {
        let document: Value = serde_json::from_slice(&datagram[DAEMON_HEADER.len()..]).unwrap();
        u64::from_str_radix(document["id"].as_str().unwrap(), 16).unwrap()
    };
    let order: Vec<u64> = batch.packed().map(id_of).collect();
    assert!(order.len() > 10 * DAEMON_QUEUE, "{}", order.len());
    assert_eq!(
        order[order.len() - 4..],
        [100, ABOVE, FAULTY, INVOCATION],
        "the slowest, the fault with its parent, and the own one"
    );
    let documents: Vec<Value> = batch.documents().map(|document| serde_json::from_slice(document).unwrap()).collect();
    assert_packed_are(&documents, &mut batch);
}

fn length() -> usize {
    let span = child(2, 1, 1);
    DocumentWriter::default().write(&span, &Frame::of(&span), &mut Vec::new()).len
}

#[test]
fn a_small_trace_is_sent_whole_with_the_invocation_last() {
    let spans: Vec<_> = (2..20).map(|id| child(id, id - 1, 5)).collect();
    let result = run(&spans, &mut Budget::default());
    assert_eq!((result.left_out, result.ids.last()), (0, Some(&INVOCATION)));
    assert_eq!(result.invocation["metadata"], Value::Null);
}

#[test]
fn faults_then_slow_spans_are_kept_each_with_its_ancestors() {
    let spans = [
        child(10, INVOCATION, 1),
        child(11, 10, 1),
        faulty(child(12, 11, 1)),
        child(20, INVOCATION, 1),
        child(21, 20, 900),
        child(30, INVOCATION, 500),
        child(31, INVOCATION, 400),
    ];
    // Room for six documents and the invocation's with its count.
    let result = run(&spans, &mut Budget::new(length() * 7 + 100));
    let mut ids = result.ids.clone();
    ids.sort_unstable();
    assert_eq!(ids, [INVOCATION, 10, 11, 12, 20, 21, 30]);
    assert_eq!(result.left_out, 1);
    assert_eq!(result.invocation["metadata"]["lambda_lifecycle"]["spans_left_out"], 1);
}

#[test]
fn ten_thousand_spans_stay_within_what_x_ray_takes() {
    for parent in [|_: u64| INVOCATION, |id: u64| id - 1, |id: u64| id / 2, |id: u64| if id == 2 { 10_001 } else { id - 1 }] {
        let cyclic = parent(2) == 10_001;
        let spans: Vec<_> = (2..10_002).map(|id| child(id, parent(id), id % 97)).collect();
        let result = run(&spans, &mut Budget::default());
        assert!(result.bytes <= MAX_TRACE, "{}", result.bytes);
        assert!(result.left_out > 0 && (cyclic || result.bytes > MAX_TRACE - 1_000), "the budget is used: {}", result.bytes);
        assert_eq!(result.invocation["metadata"]["lambda_lifecycle"]["spans_left_out"], result.left_out);
    }
}

#[test]
fn a_trace_that_comes_back_has_less_left() {
    let mut budget = Budget::new(10 * length());
    let spans: Vec<_> = (2..10).map(|id| child(id, INVOCATION, 5)).collect();
    assert_eq!(run(&spans, &mut budget).left_out, 0);
    assert_eq!(budget.remaining(TraceId::from(TRACE)), 10 * length() - 9 * length());
    let again = run(&spans, &mut budget);
    assert_eq!((again.left_out, again.ids), (8, vec![INVOCATION]), "the invocation is always sent");
    assert_eq!(budget.remaining(TraceId::from(TRACE)), 0);
    assert_eq!(budget.remaining(TraceId::from(7)), 10 * length());
}

#[test]
fn each_trace_has_a_budget_of_its_own() {
    let (mut writer, mut batch) = (DocumentWriter::default(), Batch::new());
    let mut budget = Budget::new(5 * length());
    for id in 2..12 {
        let span = child(id, INVOCATION, 5);
        batch.push(&mut writer, &span, &Frame::of(&span));
    }
    let message = child(50, 51, 5);
    let producer = TraceId::from(0xabc);
    batch.push(&mut writer, &message, &Frame::under(producer, SpanId::from(52)).segment());
    let invocation = child(INVOCATION, 99, 1_000);
    let left_out = batch.finish(&mut writer, &invocation, Frame::of(&invocation), &mut budget);
    assert!(left_out >= 6, "{left_out}");
    assert!(batch.documents().any(|document| String::from_utf8_lossy(document).contains("1-00000000-000000000000000000000abc")));
    assert!(budget.remaining(producer) < 5 * length());
}

#[test]
fn a_big_invocation_leaves_no_memory_behind() {
    let (mut writer, mut batch) = (DocumentWriter::default(), Batch::new());
    let mut big = child(2, INVOCATION, 5);
    big.attributes.push(KeyValue::new("body", "x".repeat(50_000)));
    for _ in 0..100 {
        batch.push(&mut writer, &big, &Frame::of(&big));
    }
    assert!(batch.capacity() > 5_000_000);
    batch.clear();
    assert!(batch.is_empty() && batch.capacity() <= 256 * 1024);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Of any tree of spans within any budget: valid documents, every parent there, and every span sent or counted. `run` checks
    /// the last two.
    #[test]
    fn any_tree_is_sent_or_counted_with_its_parents_there(
        shape in vec((any::<u16>(), 0_u64..5_000, any::<bool>(), 0_usize..3_000), 0..300),
        finished_first in any::<bool>(),
        budget in 0_usize..200_000,
    ) {
        let mut spans: Vec<SpanData> = shape
            .iter()
            .enumerate()
            .map(|(at, (parent, millis, fails, filler))| {
                // The invocation, or a span before this one.
                let mut span = child(at as u64 + 2, u64::from(*parent) % (at as u64 + 1) + 1, *millis);
                span.attributes.push(KeyValue::new("filler", "x".repeat(*filler)));
                if *fails { faulty(span) } else { span }
            })
            .collect();
        if finished_first {
            spans.reverse();
        }
        let result = run(&spans, &mut Budget::new(budget));
        xray_support::assert_valid(&result.invocation);
        let told = &result.invocation["metadata"]["lambda_lifecycle"]["spans_left_out"];
        prop_assert_eq!(told.as_u64().unwrap_or(0), u64::from(result.left_out));
        let most = budget.max(length_of(&result.invocation));
        prop_assert!(result.bytes <= most, "{} bytes within {}", result.bytes, most);
    }
}

/// The invocation's own document is sent whatever the budget.
fn length_of(document: &Value) -> usize {
    // Times are written with six digits, which JSON's own numbers do not keep.
    document.to_string().len() + 20
}
