//! Reports of invocations that will not end by themselves: their handler blocks its thread, or the environment ends.

use super::{
    delivery::{deliver_last, deliver_now},
    tracer::exception,
};
use crate::{
    Invocation,
    invocation::{Own, Shared, SpanBuffer},
    metrics,
    notice::{self, Data, Warning},
};
use opentelemetry::{
    KeyValue,
    trace::{Event, Status},
};
use opentelemetry_sdk::trace::SpanData;
use std::{
    borrow::Cow,
    time::{Instant, SystemTime},
};

/// Sends the invocation's documents, unless its outcome is known: the finished ones as they are, the open ones as faults that end now. None of
/// them is sent again should the handler give way after all.
pub(crate) fn report_blocked(invocation: &Invocation) {
    let Some(culprit) = send_blocked(invocation) else { return };
    metrics::blocked(invocation);
    // Last, because the blocked thread may hold what a log needs.
    if let Some(name) = culprit {
        let data = Data { invocation: Some(invocation.request_id()), ..Data::name(&name) };
        notice::log(Warning::HandlerBlocked, data);
    }
}

/// `None` where the invocation is not blocked, else the span that blocks it, where there is one.
#[allow(clippy::option_option, reason = "an invocation that is not recorded has no span")]
fn send_blocked(invocation: &Invocation) -> Option<Option<Cow<'static, str>>> {
    let mut notes = invocation.notes();
    // A handler that has given way is no longer to blame: it is the response that takes its time. Without the handler's layer no response is
    // made at the deadline, and one that merely waits blocks nothing.
    let waits = !invocation.is_polled() && (!notes.handled || notes.responding);
    if notes.outcome.is_some() || notes.concluded || waits {
        return None;
    }
    let (own, mut open) = invocation.spans().take_open();
    if let Some(span) = of_invocation(own.as_ref(), &mut open) {
        notes.describe(span);
    }
    drop(notes);
    let culprit = open.iter().max_by_key(|span| span.start_time).map(|span| (span.span_context.span_id(), span.name.clone()));
    let Some((culprit, name)) = culprit else { return Some(None) };
    let error = ("Lifecycle.Blocked", format!("timed out: the thread is blocked in {name}"));
    for span in &mut open {
        let is_culprit = span.span_context.span_id() == culprit;
        end_as_fault(span, own.as_ref(), "timed out", "blocked", &error, is_culprit);
    }
    // The open ones first: they show what happened.
    open.append(&mut invocation.spans().take());
    deliver_now(invocation.shared(), own.as_ref(), open);
    Some(Some(name))
}

/// Sends what is known of the invocations in progress when the environment ends: the finished spans as they are, the open ones as faults that end
/// now. An invocation whose outcome is known keeps it. Also sends what has ended after its invocation, because no other invocation will.
///
/// All of it is taken before this first waits. It leaves at the pace, and the rest at once at `until`.
pub(crate) async fn report_shutdown(shared: &Shared, until: Option<Instant>) {
    let mut reports: Vec<_> = take_cut_off(shared).collect();
    // Last, because it matters least.
    reports.push((None, shared.late.take()));
    deliver_last(shared, reports, until).await;
}

/// Reports an invocation that begins when the shutdown has looked through the others.
pub(super) fn report_begun_late(shared: &Shared) {
    for (own, spans) in take_cut_off(shared) {
        deliver_now(shared, own.as_ref(), spans);
    }
}

fn take_cut_off(shared: &Shared) -> impl Iterator<Item = (Option<Own>, Vec<SpanData>)> {
    shared.take_known().map(|(invocation, buffer)| {
        if let Some(invocation) = &invocation {
            metrics::cut_off(invocation);
        }
        cut_off(invocation.as_ref(), &buffer)
    })
}

fn cut_off(invocation: Option<&Invocation>, buffer: &SpanBuffer) -> (Option<Own>, Vec<SpanData>) {
    let error = ("Lifecycle.ShutDown", "the platform ended the environment while the invocation was in progress".to_owned());
    // Held until its spans are taken, so that the invocation responds with the outcome that its document has, or not at all.
    let mut notes = invocation.map(Invocation::notes);
    let (own, mut open, mut finished) = buffer.take_all();
    if let Some(span) = of_invocation(own.as_ref(), &mut open)
        && let Some(notes) = &mut notes
    {
        if notes.outcome.is_some() || notes.concluded {
            notes.conclude(span);
            span.end_time = SystemTime::now();
            finished.push(span.clone());
            let id = span.span_context.span_id();
            open.retain(|span| span.span_context.span_id() != id);
        } else {
            notes.cut_off = true;
            notes.describe(span);
        }
    }
    drop(notes);
    for span in &mut open {
        end_as_fault(span, own.as_ref(), "shut down", "shut_down", &error, false);
    }
    open.append(&mut finished);
    (own, open)
}

/// The invocation's own span.
fn of_invocation<'s>(own: Option<&Own>, spans: &'s mut [SpanData]) -> Option<&'s mut SpanData> {
    let id = own?.id;
    spans.iter_mut().find(|span| span.span_context.span_id() == id)
}

/// Ends a span now. The invocation's own says how, and it and the culprit say why.
fn end_as_fault(
    span: &mut SpanData,
    own: Option<&Own>,
    status: &'static str,
    outcome: &'static str,
    error: &(&'static str, String),
    is_culprit: bool,
) {
    span.end_time = SystemTime::now();
    span.status = Status::error(status);
    let is_invocation = own.is_some_and(|own| own.id == span.span_context.span_id());
    if is_invocation {
        span.attributes.push(KeyValue::new("annotation.outcome", outcome));
    }
    if is_invocation || is_culprit {
        let (kind, message) = error;
        span.events.events.push(Event::new("exception", span.end_time, exception(*kind, message.clone()), 0));
    }
}
