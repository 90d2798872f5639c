//! Reports invocations that will not end by themselves: their handler blocks its thread, or the environment ends.

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

/// What the watchdog found out about an invocation that is overdue.
enum Overdue {
    /// It is not recorded, so it has no spans.
    Unrecorded,
    /// Its handler blocks its thread, in the span of this name.
    Blocked(Cow<'static, str>),
    /// Its handler waits, and the executor has not run since the deadline.
    Stalled,
}

/// Sends the invocation's documents, unless its outcome is known. Finished spans are unchanged, and open ones are faults that end
/// now. None is sent again if the handler yields later.
pub(crate) fn report_blocked(invocation: &Invocation) {
    // Read once, so that the document and the line agree.
    let runs = invocation.is_polled();
    let Some(overdue) = send_overdue(invocation, runs) else { return };
    metrics::blocked(invocation);
    // Last, because the blocked thread may hold a lock that the log needs.
    invocation.release_lines();
    let culprit = match &overdue {
        Overdue::Blocked(name) => Some(name.as_ref()),
        Overdue::Unrecorded if !invocation.keeps_lines() => return,
        Overdue::Unrecorded | Overdue::Stalled => None,
    };
    let warning = if runs { Warning::HandlerBlocked } else { Warning::ExecutorStalled };
    notice::log(warning, Data { invocation: Some(invocation.request_id()), name: culprit, ..Data::default() });
}

/// `None` if the invocation is neither blocked nor stalled.
fn send_overdue(invocation: &Invocation, runs: bool) -> Option<Overdue> {
    let mut notes = invocation.notes();
    // If the handler has yielded, it is not the cause; the response is still being sent. Without the handler's layer no response
    // is sent at the deadline, and an invocation that only waits blocks nothing.
    let waits = !runs && (!notes.handled || notes.responding);
    if notes.outcome.is_some() || notes.concluded || waits {
        return None;
    }
    let (own, mut open) = invocation.spans().take_open();
    if let Some(span) = of_invocation(own.as_ref(), &mut open) {
        notes.describe(span);
    }
    drop(notes);
    let Some(innermost) = open.iter().max_by_key(|span| span.start_time) else { return Some(Overdue::Unrecorded) };
    // No span of a handler that waits is the cause.
    let culprit = runs.then(|| (innermost.span_context.span_id(), innermost.name.clone()));
    let error = match &culprit {
        Some((_, name)) => ("Lifecycle.Blocked", format!("timed out: the thread is blocked in {name}")),
        None => ("Lifecycle.ExecutorStalled", STALLED.to_owned()),
    };
    for span in &mut open {
        let is_culprit = culprit.as_ref().is_some_and(|(culprit, _)| *culprit == span.span_context.span_id());
        end_as_fault(span, own.as_ref(), "timed out", "blocked", &error, is_culprit);
    }
    // The open spans first, because they show what happened.
    open.append(&mut invocation.spans().take());
    deliver_now(invocation.shared(), own.as_ref(), open);
    Some(culprit.map_or(Overdue::Stalled, |(_, name)| Overdue::Blocked(name)))
}

const STALLED: &str =
    "timed out: the executor has not run since the deadline: another task blocks its threads, or they get no CPU time";

/// Sends the spans of invocations in progress when the environment ends. Finished spans are unchanged, and open ones are faults
/// that end now. An invocation whose outcome is known keeps it. Spans that ended after their invocation are sent too, because
/// there is no next invocation.
///
/// All spans are taken before the first wait. They are sent at the pace, and at `until` the rest is sent at once.
pub(crate) async fn report_shutdown(shared: &Shared, until: Option<Instant>) {
    let mut reports: Vec<_> = take_cut_off(shared).collect();
    // Last, because it is the least important.
    reports.push((None, shared.late.take()));
    deliver_last(shared, reports, until).await;
}

/// Reports an invocation that starts after the shutdown has searched the others.
pub(super) fn report_begun_late(shared: &Shared) {
    for (own, spans) in take_cut_off(shared) {
        deliver_now(shared, own.as_ref(), spans);
    }
}

fn take_cut_off(shared: &Shared) -> impl Iterator<Item = (Option<Own>, Vec<SpanData>)> {
    shared.take_known().map(|(invocation, buffer)| {
        if let Some(invocation) = &invocation {
            metrics::cut_off(invocation);
            if invocation.notes().outcome.is_none() {
                invocation.release_lines();
            }
        }
        cut_off(invocation.as_ref(), &buffer)
    })
}

fn cut_off(invocation: Option<&Invocation>, buffer: &SpanBuffer) -> (Option<Own>, Vec<SpanData>) {
    let error = ("Lifecycle.ShutDown", "the platform ended the environment while the invocation was in progress".to_owned());
    // Locked until its spans are taken, so that the invocation either responds with its document's outcome, or not at all.
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

/// Ends a span now. The invocation's own span has the outcome, and both it and the blocking span have the error.
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
