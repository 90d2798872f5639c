//! The speed of this machine. A goal in microseconds holds for the machine on which it was set.

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_aws::xray_exporter::SegmentTranslator;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::{
    hint::black_box,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Microseconds in which `opentelemetry-aws` 0.21 translated the span below on the machine of 22 November 2026, on which the goals were set
/// (`benches/RESULTS.md`).
const THERE: f64 = 1.34;

const ROUNDS: usize = 15;
const EACH: u32 = 2_000;

/// How many times as long this machine takes. It is measured with code of another project, which does not change with this library.
pub fn factor() -> f64 {
    let batch = [span()];
    let mut translator = SegmentTranslator::new().metadata_all_attrs().with_indexed_attr("order.id".to_owned());
    let mut buffer = Vec::with_capacity(65_536);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..EACH {
                buffer.clear();
                for document in translator.translate_spans(black_box(&batch)) {
                    document.to_writer(&mut buffer);
                }
                black_box(buffer.len());
            }
            began.elapsed().as_secs_f64() * 1e6 / f64::from(EACH)
        })
        .collect();
    rounds.sort_unstable_by(f64::total_cmp);
    rounds[ROUNDS / 2] / THERE
}

/// The span of eight attributes of `benches/xray.rs`.
fn span() -> SpanData {
    let now = SystemTime::now();
    // The translator looks at the time in the trace id.
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let trace = TraceId::from(u128::from(seconds) << 96 | 0x1234_5678_9abc_def0);
    SpanData {
        span_context: SpanContext::new(trace, SpanId::from(0x5399_5c3f_42cd_8ad8), TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: SpanId::from(0xdefd_fd99_12dc_5a56),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "place order".into(),
        start_time: now,
        end_time: now + Duration::from_millis(12),
        attributes: vec![
            KeyValue::new("code.file.path", "src/orders.rs"),
            KeyValue::new("code.line.number", 42),
            KeyValue::new("order.id", "059f36b4-87a3-44ab-83d2-661975830a7d"),
            KeyValue::new("order.total", 129.95),
            KeyValue::new("order.items", 7),
            KeyValue::new("customer.returning", true),
            KeyValue::new("thread.name", "tokio-runtime-worker"),
            KeyValue::new("busy_ns", 1_234_567),
        ],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}
