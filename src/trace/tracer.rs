//! The tracer of this process, and its spans.
//!
//! The SDK's own tracer would keep a span's data in the span, where the watchdog cannot read it. A copy of every span at its
//! start would be needed, for the rare one that does not end.

use super::{
    Scope,
    init_spans::{self, is_in_init},
};
use crate::{
    Invocation,
    export::Wanted,
    ids::ProcessIds,
    invocation::{EXECUTIONS, Execution, Slot},
};
use opentelemetry::{
    Context, InstrumentationScope, KeyValue, TraceId, Value,
    trace::{
        self, Event, Link, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceState, Tracer,
    },
};
use opentelemetry_sdk::trace::{IdGenerator, SpanData, SpanEvents, SpanLinks};
use std::{borrow::Cow, sync::Arc, time::SystemTime};

/// The most attributes, events and links of one span; more are left out, and counted. A span around all of `main` gets every
/// error of a process.
const MOST: usize = 10_000;

/// The library's own tracer. It has no state, because a span belongs to the invocation in which it is created.
pub(crate) static TRACER: SpanTracer = SpanTracer { scope: None };

/// Creates spans of one instrumentation scope. X-Ray's limits are applied later, when a document's size is known; only unlimited
/// growth is prevented here. Nothing is sampled here either, because that is decided before a span is created.
#[derive(Clone, Debug)]
pub struct SpanTracer {
    /// `None` for the library's own.
    scope: Option<InstrumentationScope>,
}

/// OpenTelemetry's provider of tracers, for [`opentelemetry::global::set_tracer_provider`]. Spans that libraries create with
/// `opentelemetry::global::tracer` are recorded in the invocation, as children of the spans around them.
///
/// [`Builder::exporter`](crate::Builder::exporter) sets it. Set it yourself if X-Ray is the only destination:
///
/// ```no_run
/// use lambda_lifecycle::{Lifecycle, trace::TracerProvider};
/// use opentelemetry::{global, trace::Tracer};
///
/// global::set_tracer_provider(TracerProvider::new());
/// let life = Lifecycle::from_env();
/// // Anywhere in an invocation:
/// global::tracer("my-library").in_span("look up", |_| ());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TracerProvider {
    _private: (),
}

impl TracerProvider {
    /// The provider. It has no state: spans belong to the invocation that is running when they start.
    pub fn new() -> Self {
        Self::default()
    }
}

impl trace::TracerProvider for TracerProvider {
    type Tracer = SpanTracer;

    fn tracer_with_scope(&self, scope: InstrumentationScope) -> SpanTracer {
        SpanTracer { scope: Some(scope) }
    }
}

/// Makes the tracer the global one.
pub(crate) fn install_global() {
    opentelemetry::global::set_tracer_provider(TracerProvider::new());
}

/// The instrumentation scope of the library's own spans, and of those of `tracing`. Making it costs less than a clone.
fn own_scope() -> InstrumentationScope {
    InstrumentationScope::builder("lambda-lifecycle").build()
}

/// The context of a new span below `parent`.
fn new_context(parent: &SpanContext, wanted: Wanted) -> SpanContext {
    let id = ProcessIds.new_span_id();
    if parent.is_valid() {
        let flags = wanted.flags(parent.trace_flags());
        return SpanContext::new(parent.trace_id(), id, flags, false, parent.trace_state().clone());
    }
    SpanContext::new(ProcessIds.new_trace_id(), id, wanted.flags(TraceFlags::default()), false, TraceState::NONE)
}

impl SpanTracer {
    /// The data of a span when it starts.
    #[allow(clippy::inline_always, reason = "a span has 400 bytes, and is then copied once instead of twice")]
    #[inline(always)]
    fn data(&self, builder: SpanBuilder, context: SpanContext, parent: &SpanContext) -> SpanData {
        let start_time = builder.start_time.unwrap_or_else(SystemTime::now);
        let (mut events, mut links) = (SpanEvents::default(), SpanLinks::default());
        if let Some(given) = builder.events {
            events.events = given;
        }
        if let Some(given) = builder.links {
            links.links = given;
        }
        let has_parent = parent.is_valid();
        SpanData {
            span_context: context,
            parent_span_id: if has_parent { parent.span_id() } else { SpanId::INVALID },
            parent_span_is_remote: has_parent && parent.is_remote(),
            span_kind: builder.span_kind.unwrap_or(SpanKind::Internal),
            name: builder.name,
            start_time,
            end_time: start_time,
            attributes: builder.attributes.unwrap_or_default(),
            dropped_attributes_count: 0,
            events,
            links,
            status: Status::Unset,
            instrumentation_scope: self.scope.clone().unwrap_or_else(own_scope),
        }
    }

    /// The data of a span when it starts, without the marks of its destinations.
    #[inline(never)]
    pub(super) fn prepare(&self, builder: SpanBuilder, parent: &Context, wanted: Wanted) -> SpanData {
        let parent = parent.span();
        let parent = parent.span_context();
        self.data(builder, new_context(parent, wanted), parent)
    }
}

impl Tracer for SpanTracer {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> Span {
        self.build(builder, parent, parent.get::<Invocation>())
    }
}

impl SpanTracer {
    /// Starts a span below `parent`, which belongs to `of_parent`.
    pub(super) fn build(&self, builder: SpanBuilder, parent: &Context, of_parent: Option<&Invocation>) -> Span {
        if parent.is_telemetry_suppressed() {
            return Span::left_out(SpanContext::NONE);
        }
        let span = parent.span();
        let around = span.span_context();
        let running = if of_parent.is_none() { running_in(around.trace_id()) } else { None };
        let scope = parent.get::<Scope>();
        let Some(invocation) = of_parent.or(running.as_ref()) else { return self.build_in_init(builder, parent, scope) };
        let wanted = scope.map_or_else(|| invocation.wanted(), |scope| scope.wanted);
        if wanted.own_only {
            invocation.leave_out_span();
            return Span::left_out(around.clone());
        }
        let context = new_context(around, wanted);
        if !Span::is_stored(invocation, wanted) {
            return Span::left_out(context);
        }
        let slot = invocation.open_span(self.data(builder, wanted.marked(&context), around));
        Span { context, slot: Some(slot), execution: None }
    }

    /// Starts a span of the Init phase, whose destinations are not known yet.
    #[cold]
    fn build_in_init(&self, builder: SpanBuilder, parent: &Context, scope: Option<&Scope>) -> Span {
        let span = self.prepare(builder, parent, Wanted::by_xray(true));
        let context = span.span_context.clone();
        let waits = scope.is_none_or(|scope| scope.wanted.anywhere()) && is_in_init();
        Span { context, slot: waits.then(|| init_spans::open(span)), execution: None }
    }
}

/// The invocation that is running here, if this is its trace. A root span of `tracing` removes the invocation from the context,
/// so only the trace id shows which invocation a span belongs to.
fn running_in(trace: TraceId) -> Option<Invocation> {
    Invocation::try_current().filter(|invocation| invocation.parent().is_some_and(|parent| parent.trace_id() == trace))
}

/// A span whose data is in its invocation's buffer. A span without a destination has no data.
#[derive(Debug)]
pub struct Span {
    context: SpanContext,
    slot: Option<Slot>,
    /// Of a span around the handler of a durable execution.
    execution: Option<Arc<Execution>>,
}

impl Span {
    /// A span is stored if the invocation is recorded, because work of an unrecorded invocation may continue in a recorded one.
    fn is_stored(invocation: &Invocation, wanted: Wanted) -> bool {
        invocation.is_recorded() && wanted.anywhere()
    }

    /// Starts the invocation's own span, if it is stored.
    pub(super) fn open(invocation: &Invocation, mut span: SpanData, wanted: Wanted) -> Self {
        let context = span.span_context.clone();
        if !Self::is_stored(invocation, wanted) {
            return Self::left_out(context);
        }
        wanted.mark(&mut span);
        Self { context, slot: Some(invocation.open_span(span)), execution: None }
    }

    /// A span that is not recorded.
    pub(super) fn left_out(context: SpanContext) -> Self {
        Self { context, slot: None, execution: None }
    }

    pub(super) fn set_execution(&mut self, execution: Arc<Execution>) {
        self.execution = Some(execution);
    }

    /// Removes the span.
    pub(super) fn discard(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.discard();
        }
    }

    fn change(&self, change: impl FnOnce(&mut SpanData)) {
        if let Some(slot) = &self.slot {
            slot.change(change);
        }
    }

    fn observe(&self, attribute: &KeyValue) {
        if let Some(execution) = &self.execution {
            execution.observe(attribute);
        }
    }

    /// True while what happens here has happened in an earlier invocation.
    fn replays(&self) -> bool {
        self.execution.as_ref().is_some_and(|execution| execution.replays())
    }
}

impl trace::Span for Span {
    fn add_event_with_timestamp<T>(&mut self, name: T, timestamp: SystemTime, attributes: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        if self.replays() {
            return;
        }
        let event = Event::new(name, timestamp, attributes, 0);
        self.change(|span| add_event(span, event));
    }

    fn span_context(&self) -> &SpanContext {
        &self.context
    }

    fn is_recording(&self) -> bool {
        self.slot.is_some()
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        self.observe(&attribute);
        self.change(|span| set(span, attribute));
    }

    fn set_attributes(&mut self, attributes: impl IntoIterator<Item = KeyValue>) {
        // User code may create them, so they are collected outside of the buffer's lock.
        let attributes = Vec::from_iter(attributes);
        for attribute in &attributes {
            self.observe(attribute);
        }
        self.change(|span| attributes.into_iter().for_each(|attribute| set(span, attribute)));
    }

    fn set_status(&mut self, status: Status) {
        if status != Status::Unset && !self.replays() {
            self.change(|span| set_status(span, status));
        }
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        let name = name.into();
        self.change(|span| span.name = name);
    }

    fn add_link(&mut self, context: SpanContext, attributes: Vec<KeyValue>) {
        let link = Link::new(context, attributes, 0);
        self.change(|span| keep(&mut span.links.links, &mut span.links.dropped_count, link));
    }

    fn end_with_timestamp(&mut self, time: SystemTime) {
        if let Some(execution) = self.execution.take() {
            EXECUTIONS.close(&execution);
            if execution.is_repeated() {
                self.discard();
            }
        }
        if let Some(slot) = self.slot.take() {
            slot.end(time, init_spans::keep_late);
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if self.slot.is_some() || self.execution.is_some() {
            trace::Span::end(self);
        }
    }
}

/// The attributes of an `exception` event, by OpenTelemetry's
/// [conventions](https://opentelemetry.io/docs/specs/semconv/exceptions/exceptions-spans/).
pub(crate) fn exception(kind: impl Into<Value>, message: impl Into<Value>) -> Vec<KeyValue> {
    vec![KeyValue::new("exception.type", kind), KeyValue::new("exception.message", message)]
}

fn keep<T>(kept: &mut Vec<T>, dropped: &mut u32, one: T) {
    if kept.len() < MOST {
        kept.push(one);
    } else {
        *dropped = dropped.saturating_add(1);
    }
}

pub(super) fn add_event(span: &mut SpanData, event: Event) {
    keep(&mut span.events.events, &mut span.events.dropped_count, event);
}

/// Ok takes precedence over an error, and both over an unset status.
pub(super) fn set_status(span: &mut SpanData, status: Status) {
    if status > span.status {
        span.status = status;
    }
}

/// Readers use the last value of a repeated key. A full span replaces the value in place instead.
pub(super) fn set(span: &mut SpanData, attribute: KeyValue) {
    if span.attributes.len() < MOST {
        span.attributes.push(attribute);
    } else if let Some(known) = span.attributes.iter_mut().rfind(|known| known.key == attribute.key) {
        *known = attribute;
    } else {
        span.dropped_attributes_count = span.dropped_attributes_count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation::SpanBuffer;
    use opentelemetry::trace::Span as _;

    #[test]
    fn a_span_that_never_ends_does_not_grow_without_end() {
        let buffer = SpanBuffer::default();
        let span = TRACER.prepare(SpanBuilder::from_name("main"), &Context::new(), Wanted::by_xray(true));
        let context = span.span_context.clone();
        let mut span = Span { context, slot: Some(buffer.open(span, |_| None).0), execution: None };
        for number in 0..30_000 {
            span.add_event("event", vec![]);
            span.add_link(SpanContext::NONE, vec![]);
            span.set_attribute(KeyValue::new("number", number));
        }
        span.set_attributes([KeyValue::new("other", 1), KeyValue::new("number", -1)]);
        span.end();
        let ended = buffer.take();
        let [span] = ended.as_slice() else { panic!("{} spans", ended.len()) };
        assert_eq!((span.events.len(), span.events.dropped_count), (10_000, 20_000));
        assert_eq!((span.links.len(), span.links.dropped_count), (10_000, 20_000));
        assert_eq!((span.attributes.len(), span.dropped_attributes_count), (10_000, 1));
        assert_eq!(span.attributes.last(), Some(&KeyValue::new("number", -1)));
    }
}
