//! X-Ray documents, or OTLP in place of them: from finished spans to a transport.

mod frames;
mod transport;

pub(crate) use frames::Sending;

#[cfg(feature = "otlp-udp")]
use super::otlp::{self, OtlpBatch};
use super::{
    encoder::Encoder,
    scrub::{YIELDS, scrub, scrub_all},
    wanted::is_for_xray,
};
#[cfg(feature = "xray-api")]
use crate::xray_api::XRayApi;
use crate::{
    Environment, Export, environment,
    notice::{self, Data, Warning},
    settings::Settings,
    xray::{Budget, DaemonAddress, DocumentOptions, Frame, Redactor},
};
use frames::Continued;
use opentelemetry::{
    TraceId,
    trace::{SpanId, SpanKind},
};
use opentelemetry_sdk::trace::SpanData;
use std::{
    net::SocketAddr,
    sync::{
        Mutex as SyncMutex, Once, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};
use transport::{Transport, lock, pause, report};

/// The most bytes that concurrent invocations take while they wait for the pace. Beyond it only an invocation's own document waits,
/// and beyond twice as many none does. Otherwise, documents that are created faster than they can be sent would wait without end.
/// An invocation that starts beyond it records only its own span, so that what cannot be sent is not made.
const QUEUED: usize = 8 * 1024 * 1024;

/// The bytes of an invocation that waits, without its spans.
const INVOCATION: usize = 6 * 1024;

/// The assumed size of a document until it is written. Few are smaller.
const SMALL: usize = 400;

/// Encoders that are kept for the next invocation.
const KEPT: usize = 4;

/// The documents of one lifecycle, and their destination.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    export: Export,
    /// Whose spans they are, where they leave as OTLP.
    #[cfg(feature = "otlp-udp")]
    otlp: Option<std::sync::Arc<opentelemetry_proto::tonic::resource::v1::Resource>>,
    #[cfg(feature = "xray-api")]
    api: Option<XRayApi>,
    options: Options,
    /// Applied to spans before they are encoded.
    redactor: Option<Redactor>,
    /// Whether documents are also written to standard output.
    print: bool,
    /// Opened for the first document; `None` without a destination.
    transport: OnceLock<Option<Transport>>,
    #[allow(clippy::vec_box, reason = "an encoder is moved with each document, and would enlarge the futures that hold it")]
    encoders: SyncMutex<Vec<Box<Encoder>>>,
    trace_budget: usize,
    budget: SyncMutex<Budget>,
    continued: SyncMutex<Continued>,
    /// The bytes that wait for the pace.
    queued: AtomicUsize,
}

/// Shared by all documents.
#[derive(Debug, Default)]
struct Options {
    annotations: Vec<String>,
}

impl Options {
    fn of_documents(&self) -> DocumentOptions {
        let log_group = &Environment::current().log_group;
        let mut options = DocumentOptions::new()
            .sdk("lambda-lifecycle", env!("CARGO_PKG_VERSION"))
            .annotations(self.annotations.iter().cloned());
        if !log_group.is_empty() {
            options = options.log_groups([log_group.as_str()]);
        }
        options
    }
}

impl Documents {
    pub(super) fn new(
        settings: &Settings,
        #[cfg(feature = "otlp-udp")] resource: &[opentelemetry::KeyValue],
        #[cfg(feature = "xray-api")] api: Option<XRayApi>,
    ) -> Self {
        #[cfg(feature = "otlp-udp")]
        let resource = || super::resource::resource(resource.to_vec(), settings.redactor.as_ref());
        Self {
            #[cfg(feature = "otlp-udp")]
            otlp: (settings.export == Export::OtlpUdp).then(|| otlp::resource_of(&resource())),
            #[cfg(feature = "xray-api")]
            api,
            export: settings.export,
            options: Options { annotations: settings.annotations.clone() },
            redactor: settings.redactor.clone(),
            print: settings.trace_print && settings.export != Export::Stdout,
            trace_budget: settings.trace_budget,
            budget: SyncMutex::new(Budget::new(settings.trace_budget)),
            ..Self::default()
        }
    }

    /// Decides about the values of spans, also for exporters.
    pub(super) fn redactor(&self) -> Option<&Redactor> {
        self.redactor.as_ref()
    }

    /// True if spans are sent as OTLP, including those of invocations that are not sampled.
    #[cfg(feature = "otlp-udp")]
    pub(super) fn take_unsampled(&self) -> bool {
        self.otlp.is_some()
    }

    #[cfg(not(feature = "otlp-udp"))]
    #[allow(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(super) fn take_unsampled(&self) -> bool {
        false
    }

    /// Remembers where X-Ray shows an invocation that continued a W3C trace: some of its spans may end later, and are sent with the spans of
    /// another invocation.
    pub(crate) fn remember(&self, trace: TraceId, own: SpanId, frame: Frame) {
        lock(&self.continued).remember(trace, own, frame);
    }

    fn frame_of(&self, span: &SpanData, sending: &Sending) -> Frame {
        if span.span_context.span_id() == sending.main && span.span_kind == SpanKind::Server {
            sending.frame.clone()
        } else {
            self.frame_of_part(span, sending)
        }
    }

    fn frame_of_part(&self, span: &SpanData, sending: &Sending) -> Frame {
        if sending.here == Some(span.span_context.trace_id()) {
            Frame::under(sending.frame.trace_id(), span.parent_span_id)
        } else {
            lock(&self.continued).frame(span)
        }
    }

    /// False if X-Ray is disabled.
    pub(super) fn are_sent(&self) -> bool {
        self.export != Export::None
    }

    /// True if so many documents wait for the pace that only the invocations' own ones can follow.
    pub(super) fn are_behind(&self) -> bool {
        self.queued.load(Ordering::Relaxed) >= QUEUED
    }

    /// Makes more bytes wait for the pace than may.
    #[cfg(test)]
    pub(crate) fn fall_behind(&self) {
        self.queued.store(QUEUED, Ordering::Relaxed);
    }

    /// The destination of documents, and the invocations that it gets.
    pub(super) fn describe(&self) -> String {
        let what = "invocations that Lambda samples";
        match self.export {
            Export::None => "X-Ray: off".to_owned(),
            Export::Udp => format!("X-Ray daemon: {what}"),
            #[cfg(feature = "otlp-udp")]
            Export::OtlpUdp => "X-Ray daemon: OTLP of all invocations".to_owned(),
            Export::Stdout => format!("standard output: X-Ray documents of {what}"),
            #[cfg(feature = "xray-api")]
            Export::Api => format!("X-Ray API: {what}"),
        }
    }

    /// True if documents wait for calls of the API.
    #[cfg(feature = "xray-api")]
    pub(super) fn is_api(&self) -> bool {
        self.export == Export::Api && self.api.is_some()
    }

    #[cfg(not(feature = "xray-api"))]
    #[allow(clippy::unused_self, reason = "the same call with and without the feature")]
    pub(super) fn is_api(&self) -> bool {
        false
    }

    #[cfg(feature = "otlp-udp")]
    fn is_udp(&self) -> bool {
        matches!(self.export, Export::Udp | Export::OtlpUdp)
    }

    #[cfg(not(feature = "otlp-udp"))]
    fn is_udp(&self) -> bool {
        self.export == Export::Udp
    }

    /// True if opening the transport resolves a name. That blocks, so it is done outside of the executor.
    pub(crate) fn resolves_a_name(&self) -> bool {
        let Some(address) = environment::xray_daemon_address().filter(|_| self.is_udp()) else { return false };
        // Lambda's own format, which need not be parsed twice.
        if address.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b':')) {
            return false;
        }
        DaemonAddress::parse(&address).is_ok_and(|address| address.udp().parse::<SocketAddr>().is_err())
    }

    /// Opens the transport, if it is not open. Returns false without a destination.
    pub(crate) fn open(&self) -> bool {
        self.transport().is_some()
    }

    fn transport(&self) -> Option<&Transport> {
        self.transport.get_or_init(|| self.connect()).as_ref()
    }

    fn connect(&self) -> Option<Transport> {
        if self.is_udp() {
            return Transport::udp();
        }
        match self.export {
            Export::None => None,
            Export::Stdout => Some(Transport::Stdout),
            #[cfg(feature = "xray-api")]
            Export::Api if self.api.is_some() => Some(Transport::Api(SyncMutex::default())),
            #[cfg(feature = "xray-api")]
            Export::Api => {
                notice::log(Warning::XRayApiMissing, Data::default());
                None
            }
            _ => None,
        }
    }

    /// Announces that an invocation has started, so that it is visible even if the process is killed.
    pub(crate) fn announce(&self, span: &SpanData, frame: &Frame) {
        // OTLP knows finished spans only.
        if self.take_unsampled() {
            return;
        }
        let Some(transport) = self.transport() else { return };
        let is_unheard = match transport {
            Transport::Udp(udp) => lock(&udp.immediate).is_unheard(),
            Transport::Stdout => false,
            // A call before the response would delay it by milliseconds.
            #[cfg(feature = "xray-api")]
            Transport::Api(_) => true,
        };
        // Either no daemon is listening, or the final document may not be sent, and this one would never be replaced.
        if is_unheard || self.are_behind() {
            return;
        }
        let mut encoder = self.encoder();
        let frame = frame.clone().in_progress();
        match self.redactor() {
            Some(redactor) => {
                let mut span = span.clone();
                scrub(&mut span, Some(redactor));
                encoder.push(&span, &frame);
            }
            // No error is known yet.
            None => encoder.push(span, &frame),
        }
        transport.send_now(&mut encoder);
        self.give_back(encoder);
    }

    /// Writes documents as [`send`](Self::send) does, and drops them.
    pub(super) fn warm_up(&self, spans: &[SpanData], sending: &Sending) {
        let mut encoder = self.encoder();
        let own = spans.iter().find(|span| span.span_context.span_id() == sending.main);
        for span in spans.iter().filter(|span| span.span_context.span_id() != sending.main) {
            encoder.push(span, &self.frame_of_part(span, sending));
        }
        encoder.finish(own.map(|own| (own, self.frame_of(own, sending))), &mut Budget::new(self.trace_budget));
        encoder.packed().for_each(drop);
        self.give_back(encoder);
    }

    /// Sends documents from any thread, at once and regardless of the pace.
    pub(super) fn send_now(&self, spans: &[SpanData], sending: Option<&Sending>) {
        let Some(transport) = self.transport() else { return };
        let mut encoder = self.encoder();
        self.encode_all(&mut encoder, spans, sending);
        transport.send_now(&mut encoder);
        self.give_back(encoder);
    }

    /// Sends the documents of several batches of spans one after the other at the pace. At `until` the environment ends, so the
    /// rest is sent at once.
    pub(super) async fn send_last(&self, batches: &[(Vec<SpanData>, Option<Sending>)], until: Option<Instant>) {
        let Some(transport) = self.transport() else { return };
        for (spans, sending) in batches {
            let mut encoder = self.encoder();
            self.encode_all(&mut encoder, spans, sending.as_ref());
            if let Transport::Udp(udp) = transport {
                udp.send_until(&mut encoder, until).await;
            } else {
                transport.send_now(&mut encoder);
            }
            self.give_back(encoder);
        }
    }

    /// Writes the documents of all spans, regardless of the budget.
    fn encode_all(&self, encoder: &mut Encoder, spans: &[SpanData], sending: Option<&Sending>) {
        for span in spans.iter().filter(|span| is_for_xray(span)) {
            let frame = sending.map_or_else(|| lock(&self.continued).frame(span), |sending| self.frame_of(span, sending));
            encoder.push(span, &frame);
        }
        self.print(encoder);
    }

    /// Sends the documents of spans at the pace. Before that, `keep` gets the spans, redacted if there are exporters. The main span's document has the
    /// number of spans beyond the budget, which is returned too. `take_parts` takes all spans but the main one.
    pub(super) async fn send(
        &self,
        count: usize,
        take: impl FnOnce() -> Vec<SpanData>,
        take_parts: impl FnOnce() -> Vec<SpanData>,
        sending: &Sending,
        has_exporters: bool,
        keep: impl Fn(Vec<SpanData>),
    ) -> u32 {
        // For the exporters: nothing else sees these spans.
        let scrubbed = |mut spans: Vec<SpanData>| {
            if has_exporters {
                scrub_all(&mut spans, self.redactor());
            }
            spans
        };
        let Some(transport) = self.transport() else {
            keep(scrubbed(take()));
            return 0;
        };
        let mut waiting = Waiting::new(&self.queued, INVOCATION + (count * SMALL).min(self.trace_budget));
        let before = waiting.before;
        let mut left_out = None;
        if before >= QUEUED {
            static LOGGED: Once = Once::new();
            LOGGED.call_once(|| {
                notice::log(Warning::SpansOverPace, Data::default());
            });
            if before >= 2 * QUEUED {
                let spans = scrubbed(take());
                let left_out = u32::try_from(spans.len()).unwrap_or(u32::MAX);
                keep(spans);
                return left_out.saturating_add(sending.not_recorded);
            }
            // Only the main span uses memory while it waits.
            let parts = take_parts();
            waiting.resize(INVOCATION + SMALL);
            left_out = Some(parts.iter().map(|span| u32::from(is_for_xray(span))).sum());
            keep(scrubbed(parts));
        }
        let mut emitter = match transport {
            Transport::Udp(udp) => Some(udp.paced.lock().await),
            Transport::Stdout => None,
            #[cfg(feature = "xray-api")]
            Transport::Api(_) => None,
        };
        let mut spans = take();
        for (index, span) in spans.iter_mut().enumerate() {
            scrub(span, self.redactor());
            if index % YIELDS == YIELDS - 1 {
                tokio::task::yield_now().await;
            }
        }
        if spans.is_empty() || emitter.as_ref().is_some_and(|emitter| !emitter.is_worth_a_try()) {
            keep(spans);
            return left_out.unwrap_or_default();
        }
        let mut encoder = self.encoder();
        let left_out = self.encode(&mut encoder, &spans, sending, left_out).await;
        waiting.resize(INVOCATION + encoder.bytes());
        self.print(&mut encoder);
        // A shutdown limits its wait for the pace, and then finds these spans with the exporters.
        keep(spans);
        match &mut emitter {
            Some(emitter) => {
                emitter.send_all(encoder.packed(), pause).await;
                if let Some(loss) = emitter.first_loss() {
                    report(loss);
                }
            }
            None => transport.send_now(&mut encoder),
        }
        self.give_back(encoder);
        self.count_left_out(left_out);
        left_out
    }

    /// Counts documents beyond the trace's budget, if the user can read the counts.
    #[cfg(feature = "xray-api")]
    fn count_left_out(&self, documents: u32) {
        if let Some(api) = self.api.as_ref().filter(|_| self.is_api()) {
            api.count_left_out(documents);
        }
    }

    #[cfg(not(feature = "xray-api"))]
    #[allow(clippy::unused_self, reason = "the same call with and without the feature")]
    fn count_left_out(&self, _: u32) {}

    /// Waits until the documents that are being sent have been sent, at most until `until`.
    pub(super) async fn finish_sending(&self, until: Option<Instant>) {
        let Some(Some(Transport::Udp(udp))) = self.transport.get() else { return };
        let sending = udp.paced.lock();
        match until {
            Some(until) => drop(tokio::time::timeout_at(until.into(), sending).await),
            None => drop(sending.await),
        }
    }

    /// Writes the documents that fit into the trace's budget, and only the main one if others were `left_out` before.
    async fn encode(&self, encoder: &mut Encoder, spans: &[SpanData], sending: &Sending, left_out: Option<u32>) -> u32 {
        let is_main = |span: &&SpanData| span.span_context.span_id() == sending.main;
        let others = spans.iter().filter(|span| is_for_xray(span) && !is_main(span));
        // Spans that ended in the meantime are left out too.
        let unwritten =
            left_out.map_or(0, |before| before.saturating_add(u32::try_from(others.clone().count()).unwrap_or(u32::MAX)));
        let unwritten = unwritten.saturating_add(sending.not_recorded);
        for (index, span) in others.enumerate().filter(|_| left_out.is_none()) {
            encoder.push(span, &self.frame_of_part(span, sending));
            if index % YIELDS == YIELDS - 1 {
                tokio::task::yield_now().await;
            }
        }
        let mut budget = lock(&self.budget);
        match spans.iter().find(|span| is_for_xray(span) && is_main(span)) {
            Some(span) => {
                let frame = self.frame_of(span, sending);
                let frame = if unwritten > 0 { frame.left_out(unwritten) } else { frame };
                unwritten + encoder.finish(Some((span, frame)), &mut budget)
            }
            None => unwritten + encoder.finish(None, &mut budget),
        }
    }

    /// Writes what is sent to standard output, if that is enabled.
    fn print(&self, encoder: &mut Encoder) {
        if self.print {
            encoder.print();
        }
    }

    fn encoder(&self) -> Box<Encoder> {
        let kept = lock(&self.encoders).pop();
        kept.unwrap_or_else(|| {
            Box::new(Encoder::new(
                self.options.of_documents(),
                #[cfg(feature = "otlp-udp")]
                self.otlp.as_ref().map(OtlpBatch::new),
            ))
        })
    }

    fn give_back(&self, mut encoder: Box<Encoder>) {
        encoder.clear();
        let mut encoders = lock(&self.encoders);
        if encoders.len() < KEPT {
            encoders.push(encoder);
        }
    }

    /// Calls the API with the waiting documents, at most until `until`.
    #[cfg(feature = "xray-api")]
    pub(super) async fn call_api(&self, until: Option<Instant>) {
        let (Some(api), Some(Transport::Api(waiting))) = (&self.api, self.transport()) else { return };
        let documents = std::mem::take(&mut *lock(waiting));
        if !documents.is_empty() {
            api.send_until(documents, until).await;
        }
    }

    #[cfg(not(feature = "xray-api"))]
    #[allow(clippy::unused_async, clippy::unused_self, reason = "the same call with and without the feature")]
    pub(super) async fn call_api(&self, _: Option<Instant>) {}
}

/// The bytes of one invocation that wait for the pace.
struct Waiting<'d> {
    queued: &'d AtomicUsize,
    bytes: usize,
    /// The bytes that were already waiting.
    before: usize,
}

impl<'d> Waiting<'d> {
    fn new(queued: &'d AtomicUsize, bytes: usize) -> Self {
        Self { queued, bytes, before: queued.fetch_add(bytes, Ordering::Relaxed) }
    }

    fn resize(&mut self, bytes: usize) {
        // In one step, so that nobody sees both sizes at once.
        if bytes >= self.bytes {
            self.queued.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            self.queued.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod tests;
