//! From finished spans to documents on their way.

use super::{Recorder, exporters, spans::frame_of_invocation};
use crate::{
    Environment, Export, Invocation, environment,
    invocation::Own,
    settings::Settings,
    xray::{Batch, Budget, DaemonAddress, DocumentOptions, DocumentWriter, Frame, Pace, StdoutEmitter, UdpEmitter},
};
use opentelemetry::{
    TraceId,
    trace::{SpanId, SpanKind},
};
use opentelemetry_sdk::trace::SpanData;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex as SyncMutex, Once, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Mutex, oneshot};

/// The way documents take.
struct Road {
    /// For documents that leave at once.
    express: SyncMutex<(Vehicle, DocumentWriter, Batch)>,
    /// For documents that leave at the pace the daemon's buffer survives.
    paced: Mutex<(Vehicle, DocumentWriter, Batch, Budget)>,
}

enum Vehicle {
    Udp(UdpEmitter),
    Stdout(StdoutEmitter),
}

impl Vehicle {
    /// True when there was nobody at the other end after the last invocation.
    fn is_unheard(&self) -> bool {
        matches!(self, Self::Udp(emitter) if emitter.is_unheard())
    }

    fn express(&mut self, batch: &mut Batch) {
        match self {
            // What the kernel refuses here is told when the finished document goes.
            Self::Udp(emitter) => batch.packed().for_each(|datagram| _ = emitter.send(datagram)),
            Self::Stdout(emitter) => batch.datagrams().for_each(|datagram| _ = emitter.send(datagram)),
        }
    }

    /// False where nobody would hear what is sent now.
    fn is_worth_a_try(&self) -> bool {
        match self {
            Self::Udp(emitter) => emitter.is_worth_a_try(),
            Self::Stdout(_) => true,
        }
    }

    async fn paced(&mut self, batch: &mut Batch) {
        match self {
            Self::Udp(emitter) => {
                emitter.send_all(batch.packed(), pause).await;
                match emitter.notice() {
                    // Outside Lambda, where nobody asked for a daemon, there is as a rule none.
                    Some(notice) if Environment::current().xray_daemon_address.is_none() => tracing::debug!("{notice}"),
                    Some(notice) => crate::notice::warn(format_args!("{notice}")),
                    None => {}
                }
            }
            Self::Stdout(_) => self.express(batch),
        }
    }
}

/// Spans that wait for their turn at the pace, of invocations side by side. Beyond it an invocation's own document alone waits, and beyond twice as
/// many nothing does: where spans are made faster for good than they may leave, they would wait without end.
const QUEUED: usize = 10_000;

/// Spans of one invocation that wait for their turn.
struct Queued {
    spans: usize,
    /// Those that waited already.
    before: usize,
}

static QUEUE: AtomicUsize = AtomicUsize::new(0);

impl Queued {
    fn new(spans: usize) -> Self {
        // What the trace's budget has no room for will not wait: few documents are smaller than this.
        const SMALL: usize = 300;
        let spans = spans.min(Settings::current().trace_budget / SMALL);
        let before = QUEUE.fetch_add(spans, Ordering::Relaxed);
        if before >= QUEUED {
            static TOLD: Once = Once::new();
            TOLD.call_once(|| {
                crate::notice::warn(format_args!(
                    "spans are made faster than the X-Ray daemon's buffer may be filled: some are left out; sample less"
                ))
            });
        }
        Self { spans, before }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        QUEUE.fetch_sub(self.spans, Ordering::Relaxed);
    }
}

static ROAD: OnceLock<Option<Road>> = OnceLock::new();

/// The road, made at the first call; `None` where there is nowhere to send to.
fn road() -> Option<&'static Road> {
    ROAD.get_or_init(|| {
        let (express, paced) = vehicles()?;
        Some(Road {
            express: SyncMutex::new((express, writer(), Batch::new())),
            paced: Mutex::new((paced, writer(), Batch::new(), Budget::new(Settings::current().trace_budget))),
        })
    })
    .as_ref()
}

fn vehicles() -> Option<(Vehicle, Vehicle)> {
    match Settings::current().export {
        Export::None => None,
        Export::Stdout => Some((Vehicle::Stdout(StdoutEmitter), Vehicle::Stdout(StdoutEmitter))),
        Export::Udp => {
            let address = match Environment::current().xray_daemon_address.as_deref() {
                Some(written) => DaemonAddress::parse(written)
                    .inspect_err(|error| {
                        crate::notice::warn(format_args!(
                            "AWS_XRAY_DAEMON_ADDRESS={written:?} cannot be used, nothing is sent to X-Ray: {error}"
                        ));
                    })
                    .ok()?,
                // As AWS's X-Ray SDKs do.
                None => DaemonAddress::default(),
            };
            match UdpEmitter::new(&address).and_then(|emitter| Ok((emitter.try_clone()?, emitter))) {
                Ok((express, paced)) => Some((Vehicle::Udp(express), Vehicle::Udp(paced.with_pace(pace())))),
                Err(error) => {
                    crate::notice::warn(format_args!("nothing is sent to X-Ray: {error}"));
                    None
                }
            }
        }
    }
}

/// As set.
fn pace() -> Pace {
    // A document of a common size each for itself, as the setting counts them.
    let each = Pace::charge(600);
    Pace { per_millisecond: Settings::current().trace_pace.saturating_mul(each), ..Pace::default() }
}

fn writer() -> DocumentWriter {
    DocumentWriter::new(document_options())
}

/// What all documents of this process have in common.
pub(crate) fn document_options() -> DocumentOptions {
    let (environment, settings) = (Environment::current(), Settings::current());
    let mut options = DocumentOptions::new()
        .sdk("lambda-lifecycle", env!("CARGO_PKG_VERSION"))
        .annotations(settings.annotations.iter().map(String::as_str));
    if !environment.log_group.is_empty() {
        options = options.log_groups([environment.log_group.as_str()]);
    }
    if let Some(redactor) = &settings.redactor {
        let redactor = Arc::clone(redactor);
        options = options.redact(move |key, value| redactor(key, value));
    }
    options
}

/// Resolves a daemon address that is a name, off the executor. An address of numbers costs nothing here.
pub(crate) async fn resolve() {
    let Some(address) = environment::xray_daemon_address() else { return };
    // As Lambda writes it.
    if address.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b':')) {
        return;
    }
    if DaemonAddress::parse(&address).is_ok_and(|address| address.udp().parse::<SocketAddr>().is_err()) {
        let (done, resolved) = oneshot::channel();
        let resolving = std::thread::Builder::new().name("resolver".to_owned()).spawn(move || done.send(road().is_some()));
        // A failure is told when the road is first used.
        if resolving.is_ok() {
            let _ = resolved.await;
        }
    }
}

/// Tells X-Ray that an invocation has begun, so that one which is killed is visible.
pub(crate) fn announce(invocation: &Invocation, span: &SpanData) {
    let Some(road) = road() else { return };
    let mut express = road.express.lock().unwrap_or_else(PoisonError::into_inner);
    let (vehicle, writer, batch) = &mut *express;
    // Nobody is there, or the document that would take its place may have to stay away.
    if vehicle.is_unheard() || QUEUE.load(Ordering::Relaxed) >= QUEUED {
        return;
    }
    batch.clear();
    batch.push(writer, span, &frame_of_invocation(invocation, span.span_context.trace_id()).in_progress());
    vehicle.express(batch);
}

/// Sends documents from any thread, at once and whatever the pace, and keeps them for other exporters: for an invocation that is about to be killed.
pub(crate) fn deliver_now(own: Option<&Own>, mut spans: Vec<SpanData>) {
    if spans.is_empty() {
        return;
    }
    if let Some(road) = road() {
        let mut express = road.express.lock().unwrap_or_else(PoisonError::into_inner);
        let (vehicle, writer, batch) = &mut *express;
        batch.clear();
        for span in &spans {
            let frame = match own {
                Some(own) if own.id == span.span_context.span_id() => own.frame.clone(),
                _ => frame_of_part(own.map(|own| own.frame.trace_id()), span),
            };
            batch.push(writer, span, &frame);
        }
        vehicle.express(batch);
        batch.clear();
    }
    let rootless = own.filter(|own| own.frame.parent_id() == SpanId::INVALID);
    keep_for_exporters(rootless.map(|own| own.id), &mut spans);
}

/// The work of a message in its producer's trace is no part of this function's segment.
fn frame_of_part(here: Option<TraceId>, span: &SpanData) -> Frame {
    let elsewhere = span.parent_span_is_remote && Some(span.span_context.trace_id()) != here;
    let frame = Frame::of(span);
    if elsewhere { frame.segment() } else { frame }
}

/// Keeps spans for other exporters, among them perhaps the own one of an invocation without a parent.
fn keep_for_exporters(rootless: Option<SpanId>, spans: &mut [SpanData]) {
    let Some(exporters) = exporters::installed() else { return };
    // A parent that was made up is nobody else's business.
    let is_rootless = |span: &&mut SpanData| Some(span.span_context.span_id()) == rootless && span.span_kind == SpanKind::Server;
    if let Some(span) = spans.iter_mut().find(is_rootless) {
        span.parent_span_id = SpanId::INVALID;
        span.parent_span_is_remote = false;
    }
    exporters.keep(spans);
}

/// Sends what has finished to X-Ray, and keeps it for other exporters. The document of `main` says how many were left out for want of room.
pub(crate) async fn deliver(invocation: &Invocation, main: SpanId) {
    let recorder = Recorder::start();
    let waiting = invocation.spans().finished() + recorder.spans.late();
    if waiting == 0 {
        return;
    }
    let queued = Queued::new(waiting);
    let mut spans = Vec::new();
    match road() {
        Some(road) if queued.before < 2 * QUEUED => {
            let mut paced = road.paced.lock().await;
            let (vehicle, writer, batch, budget) = &mut *paced;
            // Not before it is their turn: until then a shutdown finds them in their buffer, and sends them itself.
            take(invocation, recorder, &mut spans);
            if !spans.is_empty() && vehicle.is_worth_a_try() {
                let only_main = queued.before >= QUEUED;
                translate(invocation, main, &spans, only_main, writer, batch, budget).await;
                vehicle.paced(batch).await;
                batch.clear();
            }
        }
        _ => take(invocation, recorder, &mut spans),
    }
    drop(queued);
    keep_for_exporters(invocation.parent_id().is_none().then_some(main), &mut spans);
}

fn take(invocation: &Invocation, recorder: &Recorder, spans: &mut Vec<SpanData>) {
    *spans = invocation.spans().take();
    spans.append(&mut recorder.spans.take_late());
}

async fn translate(
    invocation: &Invocation,
    main: SpanId,
    spans: &[SpanData],
    only_main: bool,
    writer: &mut DocumentWriter,
    batch: &mut Batch,
    budget: &mut Budget,
) {
    batch.clear();
    let is_main = |span: &&SpanData| span.span_context.span_id() == main;
    let here = invocation.received_header().root();
    let others = if only_main { &[] } else { spans };
    for (index, span) in others.iter().filter(|span| !is_main(span)).enumerate() {
        batch.push(writer, span, &frame_of_part(here, span));
        // A big invocation must not keep the executor from the others.
        if index % 256 == 255 {
            tokio::task::yield_now().await;
        }
    }
    match spans.iter().find(is_main) {
        Some(span) if span.span_kind == SpanKind::Server => {
            let left_out = if only_main { u32::try_from(spans.len() - 1).unwrap_or(u32::MAX) } else { 0 };
            batch.finish(writer, span, frame_of_invocation(invocation, span.span_context.trace_id()).left_out(left_out), budget);
        }
        Some(span) => {
            batch.finish(writer, span, Frame::of(span), budget);
        }
        None => {
            batch.select(budget, TraceId::INVALID, 0);
        }
    }
}

/// Waits until the documents that are being sent have left, and no longer than `until`.
pub(super) async fn finish_sending(until: Option<Instant>) {
    let Some(Some(road)) = ROAD.get() else { return };
    let sending = road.paced.lock();
    match until {
        Some(until) => drop(tokio::time::timeout_at(until.into(), sending).await),
        None => drop(sending.await),
    }
}

async fn pause(time: Duration) {
    if crate::clock::timers_run() {
        tokio::time::sleep(time).await;
    } else {
        tokio::task::yield_now().await;
    }
}
