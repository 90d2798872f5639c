//! A trace and its spans, for the tests of this folder.

use super::{Sending, Wanted};
use crate::xray::Frame;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use std::{
    future::IntoFuture,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

pub(super) const TRACE: TraceId = TraceId::from_bytes(0x5759_e988_bd86_2e3f_e1be_46a9_9427_2793_u128.to_be_bytes());

/// A finished span of one trace.
pub(super) fn span() -> SpanData {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let id = SpanId::from(LAST.fetch_add(1, Ordering::Relaxed) + 1);
    let mut span = SpanData {
        span_context: SpanContext::new(TRACE, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: SpanId::from(u64::MAX),
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "work".into(),
        start_time: SystemTime::now(),
        end_time: SystemTime::now(),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: opentelemetry::InstrumentationScope::builder("test").build(),
    };
    Wanted { exporters: true, ..Wanted::by_xray(true) }.mark(&mut span);
    span
}

/// Waits for a result that comes at once, or never.
pub(super) async fn within<T>(what: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what.into_future()).await.expect("it never came")
}

/// A group of spans without a main one.
pub(super) fn sending() -> Sending {
    Sending {
        here: Some(TRACE),
        continued: false,
        main: SpanId::INVALID,
        frame: Frame::under(TRACE, SpanId::from(1)),
        not_recorded: 0,
    }
}
