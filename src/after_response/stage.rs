//! The stage between the post of the response and the next event.

use super::spawn::spawn_now;
use crate::{
    Invocation, Report, Unfinished, clock, environment, frozen,
    invocation::{CURRENT, Done, Stage, Work},
    metrics,
    notice::{self, Data, Warning},
    panics::Panic,
    trace,
};
use opentelemetry::{
    Context as OtelContext, KeyValue,
    context::FutureExt as _,
    trace::{SpanBuilder, SpanId, SpanKind, TraceContextExt, Tracer},
};
use std::{
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use tracing::Instrument;

/// The functions that handle stored work.
pub(super) static STAGE: Stage =
    Stage { run: |invocation, context| Box::pin(background_work(invocation, context)), leave, begin: spawn_now };

/// True if the stage after the response has nothing to do, so that no task is spawned for it. That is only the case with
/// concurrent invocations, when this one is not recorded and on time. Elsewhere the stage is not a task, and it records when it
/// ended.
pub(crate) fn nothing_follows(invocation: &Invocation) -> bool {
    let shared = invocation.shared();
    let bare = !invocation.is_recorded() && shared.hooks.after.is_empty() && !shared.destinations.has_exporters();
    let nothing = bare
        && environment::kind().is_concurrent()
        && invocation.deadline().is_none_or(|kill| clock::now() <= kill)
        && invocation.deferred().close_if_empty();
    if nothing {
        metrics::finished(invocation, &metrics::Spent::default());
    }
    nothing
}

/// True if the stage after the response runs no code of the user, except for the redactor, and calls no exporter.
pub(crate) fn only_documents_follow(invocation: &Invocation) -> bool {
    let shared = invocation.shared();
    shared.hooks.after.is_empty() && !shared.destinations.has_exporters() && invocation.deferred().is_empty()
}

/// Runs between the post and the next event. The invocation's spans are sent first, so that nothing later can lose them. Then the
/// background work runs, and its spans are sent.
pub(crate) async fn after_posting(invocation: Invocation, context: OtelContext) {
    let posted = clock::now();
    let recorded = invocation.is_recorded();
    if invocation.deadline().is_some_and(|kill| posted > kill) {
        // Only reached where timeouts are not enforced. Otherwise the process would have been killed.
        notice::log(Warning::LateResponse, Data::default());
        invocation.annotate("late_response", true);
    }
    let mut spent = metrics::Spent::new(&invocation);
    if recorded {
        spent.flush.start_if(true);
        trace::finish(&context, &invocation);
        spent.left_out(trace::deliver(&invocation, context.span().span_context().span_id()).await);
        spent.flush.stop();
    }
    let done = work_and_export(&invocation, &context, &mut spent).await;
    let hooks = &invocation.shared().hooks;
    if !hooks.after.is_empty() {
        spent.work.start_if(true);
        let report = Report {
            outcome: invocation.notes().outcome.clone(),
            finished: done.finished,
            panicked: done.panicked,
            unfinished: done.unfinished,
            after_response: clock::now().saturating_duration_since(posted),
            invocation: invocation.clone(),
        };
        let until = invocation.timing().map(|deadline| deadline.after_response(clock::now()));
        if let Some(run_after) = hooks.run_after {
            run_after(hooks, &report, &context, until).await;
        }
        spent.work.stop();
    }
    // Work that hooks, or tasks of the handler, have stored meanwhile.
    while !invocation.deferred().close_if_empty() {
        if stored_work(&invocation, &context).await.unfinished > 0
            && let Some(stage) = invocation.deferred().stage()
        {
            (stage.leave)(&invocation, &context);
        }
    }
    if recorded {
        // Spans that hooks, or tasks of the handler, have ended meanwhile.
        spent.flush.start_if(true);
        spent.left_out(trace::deliver(&invocation, SpanId::INVALID).await);
        trace::export(&invocation).await;
        spent.flush.stop();
        invocation.close_spans();
    }
    metrics::finished(&invocation, &spent);
    frozen::begin();
}

/// Runs the stored work, and exports the spans. Short work is exported together with the invocation's own spans, in one call of
/// an exporter. Longer work runs concurrently with the export: it must not delay the spans, and an exporter that hangs must not
/// use up the work's time.
async fn work_and_export(invocation: &Invocation, context: &OtelContext, spent: &mut metrics::Spent) -> Done {
    /// The time of a call to a distant backend. Work that takes less adds hardly any time.
    const SOON: Duration = Duration::from_millis(100);
    let metrics::Spent { work: work_time, flush, .. } = spent;
    let mut work = pin!(async {
        work_time.start_if(!invocation.deferred().is_empty());
        let done = stored_work(invocation, context).await;
        work_time.stop();
        done
    });
    let export = async {
        flush.start_if(invocation.is_recorded());
        trace::export(invocation).await;
        flush.stop();
    };
    let may_wait = invocation.shared().destinations.has_exporters() && clock::timers_run();
    if may_wait && let Ok(done) = tokio::time::timeout(SOON, &mut work).await {
        export.await;
        return done;
    }
    let ((), done) = tokio::join!(export, work);
    done
}

/// Runs the stored work, if there is any.
async fn stored_work(invocation: &Invocation, context: &OtelContext) -> Done {
    match invocation.deferred().stage() {
        Some(stage) => (stage.run)(invocation, context).await,
        None => Done::default(),
    }
}

/// Runs the work that was stored for after the response, in a separate span.
async fn background_work(invocation: &Invocation, context: &OtelContext) -> Done {
    let recorded = invocation.is_recorded();
    let mut done = Done::default();
    if !invocation.deferred().is_empty() {
        let span = recorded.then(|| {
            let span = SpanBuilder::from_name("after response").with_kind(SpanKind::Internal);
            trace::TRACER.build_with_context(span, context)
        });
        let work = match span {
            Some(span) => context.with_span(span),
            None => context.clone(),
        };
        done = run(invocation, &work).await;
        if recorded {
            let span = work.span();
            for (key, count) in
                [("work.finished", done.finished), ("work.panicked", done.panicked), ("work.unfinished", done.unfinished)]
            {
                span.set_attribute(KeyValue::new(key, i64::try_from(count).unwrap_or(i64::MAX)));
            }
            if done.panicked + done.unfinished > 0 {
                span.set_status(opentelemetry::trace::Status::error("unfinished work after the response"));
            }
            // The invocation's own document is already being sent.
            let sends = invocation.notes().take_unsampled_sends();
            let annotations = std::mem::take(&mut invocation.notes().annotations);
            for annotation in annotations.into_iter().chain(sends) {
                span.set_attribute(annotation);
            }
            span.end();
            let id = span.span_context().span_id();
            trace::deliver(invocation, id).await;
        }
    }
    done
}

/// Starts the work that a handler has stored, as soon as the handler has ended, if no runtime layer runs the stage.
pub(crate) fn release(invocation: &Invocation) {
    let stored = invocation.deferred().close();
    if let Some(stage) = invocation.deferred().stage() {
        for work in stored {
            (stage.begin)(invocation, work);
        }
    }
}

/// Runs the stored work, and the work that it stores, until all is done or its time is over.
pub(crate) async fn run(invocation: &Invocation, context: &OtelContext) -> Done {
    let until = until(invocation);
    // While enough time is left to stop in order.
    let mut soft = invocation.timing().map(|deadline| deadline.soft).filter(|soft| until.is_some_and(|until| *soft < until));
    let mut done = Done::default();
    let mut tasks = JoinSet::new();
    loop {
        begin(invocation.deferred().take(), invocation, context, &mut tasks);
        let joined = poll_fn(|cx| match tasks.poll_join_next(cx) {
            // Work that running work has stored starts concurrently with it.
            Poll::Pending => invocation.deferred().poll_stored(cx).map(|()| None),
            joined @ Poll::Ready(_) => joined,
        });
        let joined = match soft.or(until) {
            Some(at) => match tokio::time::timeout_at(at.into(), joined).await {
                Ok(joined) => joined,
                Err(_) if soft.take().is_some() => {
                    invocation.token().cancel();
                    continue;
                }
                Err(_) => break,
            },
            None => joined.await,
        };
        match joined {
            Some(Ok(())) => done.finished += 1,
            Some(Err(error)) => {
                done.panicked += 1;
                if let Some(panic) = Panic::of_task(error) {
                    notice::log(Warning::WorkPanicked, Data::error(&panic));
                }
            }
            None if tasks.is_empty() && invocation.deferred().is_empty() => return done,
            None => {}
        }
    }
    // Counted too, and then it continues or is cancelled like the rest.
    begin(invocation.deferred().take(), invocation, context, &mut tasks);
    done.unfinished = tasks.len();
    invocation.shared().hooks.run_unfinished(invocation, done.unfinished);
    if freezes(invocation) {
        notice::log(Warning::WorkFrozen, Data::unfinished(done.unfinished));
        tasks.detach_all();
    } else {
        notice::log(Warning::WorkCancelled, Data::unfinished(done.unfinished));
        invocation.token().cancel();
        // Not waited for, because a task that blocks a thread does not end when it is aborted.
        tasks.abort_all();
        tokio::task::yield_now().await;
    }
    done
}

/// Ends the stage, although more work was stored when its time was over.
fn leave(invocation: &Invocation, context: &OtelContext) {
    let mut tasks = JoinSet::new();
    begin(invocation.deferred().close(), invocation, context, &mut tasks);
    if freezes(invocation) {
        tasks.detach_all();
    } else if !tasks.is_empty() {
        notice::log(Warning::WorkStoredLate, Data::unfinished(tasks.len()));
    }
}

/// True if unfinished work continues in the next invocation.
fn freezes(invocation: &Invocation) -> bool {
    invocation.shared().settings.unfinished == Unfinished::Freeze && !environment::kind().is_concurrent()
}

fn begin(stored: Vec<Work>, invocation: &Invocation, context: &OtelContext, tasks: &mut JoinSet<()>) {
    for work in stored {
        let work: Work = Box::pin(CURRENT.scope(invocation.clone(), work).with_context(context.clone()).in_current_span());
        tasks.spawn(work);
    }
}

/// The end of the time for work after the response. It leaves time to send the work's spans.
fn until(invocation: &Invocation) -> Option<Instant> {
    let settings = &invocation.shared().settings;
    let now = clock::now();
    let hard = invocation.timing().map(|deadline| deadline.after_response(now));
    let budget = match settings.unfinished {
        Unfinished::Wait => settings.after_response_budget.and_then(|budget| now.checked_add(budget)),
        Unfinished::Cancel | Unfinished::Freeze => Some(now),
    };
    if clock::timers_run() { budget.into_iter().chain(hard).min() } else { None }
}
