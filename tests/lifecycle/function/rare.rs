//! Rare tasks of a function.

use crate::{behavior::Do, support::wait_at};
use lambda_lifecycle::Invocation;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use std::time::Duration;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Does the event's task. [`super::acts`] has the others.
pub(super) async fn act(act: Do) {
    match act {
        Do::Outlive { gate } => drop(Invocation::current().spawn(async move {
            wait_at(&gate).instrument(tracing::info_span!("outliving")).await;
            tracing::info!("a span has outlived its invocation");
        })),
        Do::WorkThroughHandle { gate } => {
            let invocation = Invocation::current();
            let storing = invocation.clone();
            drop(invocation.spawn(async move {
                wait_at(&gate).await;
                storing.after_response(async { tracing::info!("the work runs") });
                tracing::info!("a task has stored work");
            }));
        }
        Do::WorkWithoutEnd => {
            fn store(invocation: &Invocation) {
                let again = invocation.clone();
                invocation.after_response(async move {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    store(&again);
                });
            }
            store(&Invocation::current());
        }
        Do::TooManyContexts => {
            // As many as OpenTelemetry refuses, which it logs.
            let mut attached: Vec<_> = (0..70_000).map(|_| opentelemetry::Context::current().attach()).collect();
            while attached.pop().is_some() {}
        }
        Do::LogErrors => {
            tracing::error!("disk full");
            tracing::error!(error = &std::io::Error::other("sector 7") as &dyn std::error::Error, "writing failed");
            tracing::info_span!("inner").in_scope(|| tracing::error!("inside a span"));
            Invocation::current().after_response(async { tracing::error!("cleaning failed") });
        }
        Do::AnnotateAndHang => {
            Invocation::current().annotate("plan", "gold");
            println!("annotated");
            std::future::pending().await
        }
        Do::ChainSpans => {
            let mut span = tracing::Span::none();
            for _ in 0..10_000 {
                span = tracing::info_span!(parent: &span, "link");
            }
        }
        Do::LogAtEndOfThread => {
            struct Last;
            impl Drop for Last {
                fn drop(&mut self) {
                    let _ = Invocation::current().remaining();
                    tracing::error!("the thread ends");
                }
            }
            thread_local! { static LAST: Last = const { Last }; }
            let thread = std::thread::spawn(|| {
                LAST.with(|_| ());
                tracing::info!("the thread begins");
            });
            thread.join().expect("the thread ends well");
        }
        Do::SpansAtEndOfThreads => spans_at_the_end_of_threads(),
        Do::ServeAndBlock => {
            let remote =
                SpanContext::new(TraceId::from(7_u128 << 96), SpanId::from(8), TraceFlags::SAMPLED, true, TraceState::NONE);
            let span = tracing::info_span!("served", otel.kind = "server");
            let _ = span.set_parent(opentelemetry::Context::current().with_remote_span_context(remote));
            span.in_scope(|| std::thread::sleep(Duration::from_secs(60)));
        }
        act => panic!("{act} is not rare"),
    }
}

/// Creates, holds and moves spans while thread-locals are dropped that were created at different times.
fn spans_at_the_end_of_threads() {
    struct Last(std::cell::RefCell<Option<tracing::Span>>);
    impl Drop for Last {
        fn drop(&mut self) {
            let held = self.0.take();
            let span = tracing::info_span!("made at the end", field = 1);
            span.record("field", 2);
            span.in_scope(|| tracing::error!("an event at the end"));
            let child = tracing::info_span!(parent: &span, "its child");
            child.follows_from(&span);
            let clone = span.clone();
            // On another thread it is the same.
            let moved = std::thread::spawn(move || {
                let _entered = clone.enter();
                tracing::info_span!("a child elsewhere").in_scope(|| tracing::error!(parent: &clone, "an event elsewhere"));
            });
            let _ = moved.join();
            drop(tracing::Span::current());
            Invocation::current().annotate("at_the_end", true);
            drop(Invocation::current().trace_header());
            if let Some(held) = held {
                held.in_scope(|| tracing::error!("an event in a span that was held"));
            }
        }
    }
    thread_local! { static LAST: Last = const { Last(std::cell::RefCell::new(None)) }; }
    let hold = |span: Option<tracing::Span>| LAST.with(|last| drop(last.0.replace(span)));
    let all: [fn(); 6] = [
        || (),
        || drop(opentelemetry::Context::current().attach()),
        || tracing::error!("a line"),
        || drop(tracing::info_span!(parent: None, "before")),
        || drop(tracing::info_span!("before")),
        || tracing::info_span!("before").in_scope(|| tracing::error!("within")),
    ];
    for before in all {
        for after in all {
            for holds in [false, true] {
                let thread = std::thread::spawn(move || {
                    before();
                    hold(None);
                    after();
                    if holds {
                        hold(Some(tracing::info_span!("held")));
                    }
                });
                thread.join().expect("the thread ends well");
            }
        }
    }
}
