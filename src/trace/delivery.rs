//! From finished spans to documents on their way.

use super::Recorder;
use crate::{
    Environment, Invocation,
    xray::{Batch, Budget, DaemonAddress, DocumentOptions, DocumentWriter, Frame, UdpEmitter},
};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, SpanKind, TraceContextExt, TraceState},
};
use opentelemetry_sdk::trace::SpanData;
use std::{
    net::SocketAddr,
    sync::{Mutex as SyncMutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::Mutex;

/// Where documents go; `None` where there is no daemon to send to.
struct Road {
    /// For documents that leave at once.
    express: SyncMutex<(UdpEmitter, DocumentWriter, Batch)>,
    /// For documents that leave at the pace the daemon's buffer survives.
    paced: Mutex<(UdpEmitter, DocumentWriter, Batch, Budget)>,
}

static ROAD: OnceLock<Option<Road>> = OnceLock::new();

fn road() -> Option<&'static Road> {
    ROAD.get_or_init(|| {
        let written = Environment::current().xray_daemon_address.as_deref()?;
        let address = match DaemonAddress::parse(written) {
            Ok(address) => address,
            Err(error) => {
                tracing::warn!("AWS_XRAY_DAEMON_ADDRESS={written:?} cannot be used, nothing is sent to X-Ray: {error}");
                return None;
            }
        };
        let emitters = UdpEmitter::new(&address).and_then(|emitter| Ok((emitter.try_clone()?, emitter)));
        match emitters {
            Ok((express, paced)) => Some(Road {
                express: SyncMutex::new((express, writer(), Batch::new())),
                paced: Mutex::new((paced, writer(), Batch::new(), Budget::default())),
            }),
            Err(error) => {
                tracing::warn!("nothing is sent to X-Ray: {error}");
                None
            }
        }
    })
    .as_ref()
}

fn writer() -> DocumentWriter {
    let environment = Environment::current();
    let mut options = DocumentOptions::new().sdk("lambda-lifecycle", env!("CARGO_PKG_VERSION"));
    if !environment.log_group.is_empty() {
        options = options.log_groups([environment.log_group.clone()]);
    }
    DocumentWriter::new(options)
}

/// Resolves a daemon address that is a name, off the executor. An address of numbers costs nothing here.
pub(crate) async fn resolve() {
    let named = |address: &str| DaemonAddress::parse(address).is_ok_and(|address| address.udp().parse::<SocketAddr>().is_err());
    if Environment::current().xray_daemon_address.as_deref().is_some_and(named) {
        // A failure is told when the road is first used.
        let _ = tokio::task::spawn_blocking(|| road().is_some()).await;
    }
}

/// Tells X-Ray that an invocation has begun, so that one which is killed is visible.
pub(crate) fn announce(invocation: &Invocation, span: &SpanData) {
    let Some(road) = road() else { return };
    let mut express = road.express.lock().unwrap_or_else(PoisonError::into_inner);
    let (emitter, writer, batch) = &mut *express;
    batch.clear();
    batch.push(writer, span, &frame_of_invocation(invocation, span).in_progress());
    for datagram in batch.datagrams() {
        // What the kernel refuses here is told when the finished document goes.
        emitter.send(datagram);
    }
}

fn frame_of_invocation(invocation: &Invocation, span: &SpanData) -> Frame {
    let parent = invocation.parent_id().unwrap_or(SpanId::INVALID);
    Frame::under(span.span_context.trace_id(), parent).invocation()
}

/// Sends what has finished. The document of `main` says how many were left out for want of room.
pub(crate) async fn deliver(invocation: &Invocation, main: SpanId) {
    let spans = invocation.spans().take();
    let late = Recorder::get().map(|recorder| recorder.spans.take_late()).unwrap_or_default();
    if spans.is_empty() && late.is_empty() {
        return;
    }
    let Some(road) = road() else { return };
    let mut paced = road.paced.lock().await;
    let (emitter, writer, batch, budget) = &mut *paced;
    batch.clear();
    let (mains, others): (Vec<&SpanData>, Vec<&SpanData>) =
        spans.iter().chain(&late).partition(|span| span.span_context.span_id() == main);
    for (index, span) in others.into_iter().enumerate() {
        batch.push(writer, span, &Frame::of(span));
        if index % 256 == 255 {
            tokio::task::yield_now().await;
        }
    }
    match mains.first() {
        Some(span) if span.span_kind == SpanKind::Server => {
            batch.finish(writer, span, frame_of_invocation(invocation, span), budget);
        }
        Some(span) => {
            batch.finish(writer, span, Frame::of(span), budget);
        }
        None => {
            batch.select(budget, invocation.received_header().root().unwrap_or(opentelemetry::TraceId::INVALID), 0);
        }
    }
    emitter.send_all(batch.datagrams(), pause).await;
    batch.clear();
    if let Some(notice) = emitter.notice() {
        tracing::warn!("{notice}");
    }
}

async fn pause(time: Duration) {
    if crate::deadline::timers_run() {
        tokio::time::sleep(time).await;
    } else {
        tokio::task::yield_now().await;
    }
}

/// Takes the spans of init into the trace of the first invocation; without a trace they are dropped.
pub(crate) fn adopt_init(invocation: &Invocation, context: &Context) {
    let Some(recorder) = Recorder::get().filter(|recorder| recorder.is_in_init()) else { return };
    let orphans = recorder.spans.take_init();
    if !invocation.is_recorded() {
        return;
    }
    let invocation_span = context.span().span_context().clone();
    for mut span in orphans {
        let own = &span.span_context;
        span.span_context =
            SpanContext::new(invocation_span.trace_id(), own.span_id(), own.trace_flags(), false, TraceState::NONE);
        if span.parent_span_id == SpanId::INVALID {
            span.parent_span_id = invocation_span.span_id();
        }
        invocation.spans().adopt(span);
    }
}
