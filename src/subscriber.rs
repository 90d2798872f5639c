//! The `tracing` subscriber for functions without their own: the log and the trace. Contains `unsafe`: see `downcast_raw` below.
//!
//! A registry with two filtered layers does the same. This subscriber creates the registry for the first span, so call sites need
//! no layered filter. A start takes 473,300 instructions to the first `/next` with a registry, and 437,600 with this: 7.5 %
//! fewer. To reproduce, run `cargo run --release --manifest-path benches/cold_start/Cargo.toml -- --only
//! bare,ours,ours_registry`. `benches/RESULTS.md` has the table.

use crate::{
    logs::{self, Log, Scope},
    notice::{Problem, Warning},
    settings::Settings,
    thread_end,
    trace::{self, RecordingFilter, SpanRegistry},
};
use std::{any::TypeId, cell::RefCell, sync::OnceLock};
use tracing::{
    Event, Level, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::{Interest, NoSubscriber},
};
use tracing_core::span::Current;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Sets the global subscriber if none is set, and returns the settings that could not be applied.
pub(crate) fn subscribe(settings: &Settings) -> Vec<Problem> {
    let (log, trace) = (settings.log, settings.trace);
    match present() {
        Present::None => {}
        Present::Ours { records } => {
            let hidden = trace && !records;
            return Vec::from_iter(hidden.then(|| Problem::new(Warning::EarlierLifecycleRecordsNothing)));
        }
        Present::Other => {
            let hidden = trace.then(|| what_hides_spans(settings)).flatten().map(Problem::new);
            // Its settings were read before anything could be logged.
            let of_log = if logs::layer_is_taken() { logs::from_env(settings).1 } else { Vec::new() };
            return hidden.into_iter().chain(of_log).collect();
        }
    }
    let (log, problems) = log.then(|| logs::from_env(settings)).unzip();
    if log.is_some() || trace {
        let level = log.as_ref().map_or(LevelFilter::OFF, Log::max_level);
        // Other code may set a subscriber at the same moment, which then takes precedence.
        let set = tracing::subscriber::set_global_default(DefaultSubscriber {
            log,
            recording: trace.then(|| RecordingFilter::of_settings(settings)),
            spans: OnceLock::new(),
        });
        if set.is_ok() {
            logs::take_records(level);
        }
    }
    problems.unwrap_or_default()
}

/// The global subscriber that is already set.
enum Present {
    None,
    /// An earlier lifecycle set it.
    Ours {
        records: bool,
    },
    Other,
}

fn present() -> Present {
    // Also true if a subscriber was set for a scope that has ended.
    if !tracing::dispatcher::has_been_set() {
        return Present::None;
    }
    tracing::dispatcher::get_default(|current| {
        if current.is::<NoSubscriber>() {
            Present::None
        } else if let Some(ours) = current.downcast_ref::<DefaultSubscriber>() {
            Present::Ours { records: ours.recording.is_some() }
        } else {
            Present::Other
        }
    })
}

/// True if the subscriber is this one, and records spans.
pub(crate) fn is_ours() -> bool {
    matches!(present(), Present::Ours { records: true })
}

/// The reason why the existing subscriber does not record for X-Ray.
fn what_hides_spans(settings: &Settings) -> Option<Warning> {
    if !trace::layer_is_taken() {
        return Some(Warning::SubscriberRecordsNothing);
    }
    // A filter that hides this crate's spans hides those of others too: a filter at INFO, or one that names crates.
    let wanted = settings.trace_filter.would_enable(module_path!(), &Level::INFO);
    (wanted && !tracing::span_enabled!(Level::INFO)).then_some(Warning::FilterHidesSpans)
}

/// Passes events to the log, and spans with their errors to the trace.
struct DefaultSubscriber {
    log: Option<Log>,
    recording: Option<RecordingFilter>,
    spans: OnceLock<SpanRegistry>,
}

impl DefaultSubscriber {
    fn logs(&self, metadata: &Metadata<'_>) -> bool {
        self.log.as_ref().is_some_and(|log| log.wants(metadata))
    }

    fn records(&self, metadata: &Metadata<'_>) -> bool {
        self.recording.as_ref().is_some_and(|filter| filter.records(metadata))
    }

    /// True for a span that log lines below it need. The trace need not record it.
    fn keeps(&self, metadata: &Metadata<'_>) -> bool {
        self.log.as_ref().is_some_and(|log| log.keeps(metadata))
    }

    /// The span of an event, if this thread still has spans.
    fn span_of(&self, event: &Event<'_>) -> Option<SpanRef<'_, SpanRegistry>> {
        let spans = self.spans.get().filter(|_| thread_end::has_spans())?;
        match event.parent() {
            Some(parent) if is_refused(parent) => None,
            Some(parent) => spans.span(parent),
            None if event.is_contextual() => spans.span(spans.current_span().id()?),
            None => None,
        }
    }

    fn spans(&self) -> &SpanRegistry {
        self.spans.get_or_init(trace::span_registry)
    }
}

/// False at the end of a thread too.
fn is_usable(span: &Id) -> bool {
    !is_refused(span) && thread_end::has_spans()
}

/// The id of all spans that are created while their thread ends. The registry counts up from 1 and never gets there.
const REFUSED: u64 = u64::MAX;

fn refused() -> Id {
    Id::from_u64(REFUSED)
}

fn is_refused(span: &Id) -> bool {
    span.into_u64() == REFUSED
}

impl Subscriber for DefaultSubscriber {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.logs(metadata) || self.keeps(metadata) {
            return Interest::always();
        }
        self.recording.as_ref().map_or_else(Interest::never, |filter| filter.interest(metadata))
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logs(metadata) || self.keeps(metadata) || self.records(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        self.log.as_ref().map(Log::max_level).max(self.recording.as_ref().map(RecordingFilter::max_level))
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        if !thread_end::has_spans() || attributes.parent().is_some_and(is_refused) {
            return refused();
        }
        let kept = self.keeps(attributes.metadata());
        // A span that the log does not keep is created because it is recorded.
        let recorded = !kept || self.records(attributes.metadata());
        let spans = self.spans();
        let span = if recorded { spans.new_span(attributes) } else { trace::unrecorded(spans, attributes) };
        thread_end::span_was_made();
        if kept && let Some(span) = spans.span(&span) {
            logs::keep(&span, attributes, recorded);
        }
        span
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        if is_usable(span) {
            self.spans().record(span, values);
            if let Some(span) = self.spans().span(span) {
                logs::record(&span, values);
            }
        }
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        if is_usable(span) && !is_refused(follows) {
            self.spans().record_follows_from(span, follows);
        }
    }

    fn event(&self, event: &Event<'_>) {
        let normalized = logs::normalized(event);
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        if let Some(log) = &self.log {
            log.event(event, metadata, || Scope::of(self.span_of(event).as_ref()));
        }
        if !self.records(metadata) {
            return;
        }
        match (self.span_of(event), self.spans.get()) {
            (Some(span), Some(spans)) if logs::is_recorded(&span) => spans.event(event),
            // The event's parent is known, although the span is not stored here.
            (None, _) if event.parent().is_some() => {}
            _ => trace::record_error(event),
        }
    }

    fn enter(&self, span: &Id) {
        if is_usable(span) {
            self.spans().enter(span);
            thread_end::span_was_entered();
        }
    }

    fn exit(&self, span: &Id) {
        if is_usable(span) {
            self.spans().exit(span);
        }
    }

    fn clone_span(&self, span: &Id) -> Id {
        if is_refused(span) { span.clone() } else { self.spans().clone_span(span) }
    }

    fn try_close(&self, span: Id) -> bool {
        if is_refused(&span) {
            return true;
        }
        let Some(_closing) = Closing::begin(&span) else { return false };
        let closed = self.spans().try_close(span);
        while let Some(parent) = Closing::next() {
            self.spans().try_close(parent);
        }
        closed
    }

    fn current_span(&self) -> Current {
        match self.spans.get() {
            Some(spans) if thread_end::has_spans() => spans.current_span(),
            _ => Current::none(),
        }
    }

    // Extensions of spans beyond this trait, like `OpenTelemetrySpanExt`, are found only through this method.
    //
    // SAFETY: the pointer is either this subscriber itself, requested by its own type, or the registry's result for the same
    // request. The registry lives as long as this subscriber: it is never taken out of its cell, nor moved.
    #[allow(unsafe_code)]
    unsafe fn downcast_raw(&self, id: TypeId) -> Option<*const ()> {
        if id == TypeId::of::<Self>() {
            return Some(std::ptr::from_ref(self).cast());
        }
        // SAFETY: as above; the caller guarantees the rest.
        unsafe { self.spans.get()?.downcast_raw(id) }
    }
}

thread_local! {
    /// The parents of the spans that are being closed on this thread.
    static PARENTS: RefCell<Option<Vec<Id>>> = const { RefCell::new(None) };
}

/// Closes spans because their last child was closed. The registry closes a parent from within its child's close. A long chain of
/// spans would overflow the stack; tasks that each spawn the next one create such a chain.
struct Closing;

impl Closing {
    /// `None` if the span is closed later.
    fn begin(span: &Id) -> Option<Self> {
        // A thread that is ending cannot postpone it, and closes the span at once.
        let waits = PARENTS.try_with(|parents| match &mut *parents.borrow_mut() {
            Some(parents) => {
                parents.push(span.clone());
                true
            }
            none => {
                *none = Some(Vec::new());
                false
            }
        });
        (!waits.unwrap_or(false)).then(|| Self)
    }

    fn next() -> Option<Id> {
        PARENTS.try_with(|parents| parents.borrow_mut().as_mut()?.pop()).ok()?
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let _ = PARENTS.try_with(|parents| parents.borrow_mut().take());
    }
}
