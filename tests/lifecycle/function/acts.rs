//! The function that does the tasks of its events.

use super::{measured, panic_now, rare};
use crate::{
    behavior::Do,
    support::{hold_thread_at, wait_at},
};
use lambda_lifecycle::{Error, Invocation, LambdaEvent, metrics::Unit, xray::Propagator};
use opentelemetry::{
    propagation::TextMapPropagator as _,
    trace::{TraceContextExt as _, Tracer as _},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    future::pending,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Ends in the way that the event asks for.
pub(crate) async fn value(event: LambdaEvent<Value>) -> Result<Value, Error> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let invocation = Invocation::current();
    invocation.metric("Calls", 1, Unit::Count);
    if let Some(note) = event.payload["after"].as_str() {
        let note = note.to_owned();
        invocation.after_response(async move { tracing::info!(note, "after the response") });
    }
    let answer = || {
        let mut by_hand = HashMap::new();
        Propagator.inject_context(&opentelemetry::Context::current(), &mut by_hand);
        let header = invocation.trace_header().map(|header| header.to_string());
        json!({ "calls": calls, "header": header, "by_hand": by_hand.get("x-amzn-trace-id") })
    };
    match Do::asked_by(&event.payload) {
        Do::Fail => return Err("no stock".into()),
        Do::Panic => panic_now(),
        Do::Log => log("").await,
        Do::LogWith { secret } => log(&secret).await,
        Do::FailWith { secret } => return Err(format!("no stock for {secret}").into()),
        Do::PanicWith { secret } => panic!("fuse was lit by {secret}"),
        Do::Instrument { secret } => careless(&secret),
        Do::Big => return Ok(json!("x".repeat(6 * 1024 * 1024 + 200))),
        Do::Hang => pending::<()>().await,
        Do::Stop => {
            invocation.cancellation_token().cancelled().await;
            return Ok(json!({ "stopped": true, "remaining_ms": u64::try_from(invocation.remaining().as_millis())? }));
        }
        Do::Within => {
            let bounded = invocation.within(pending::<()>()).await;
            return Ok(json!({ "within": bounded.expect_err("nothing ends").to_string() }));
        }
        Do::Sleep { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
        Do::WorkBesideHangingWork => invocation.after_response(async {
            Invocation::current().after_response(async { tracing::info!("stored by work") });
            pending().await
        }),
        Do::WaitAtGate { gate } => wait_at(&gate).await,
        Do::WorkOfTask { gate } => drop(invocation.spawn(async move {
            wait_at(&gate).await;
            Invocation::current().after_response(async { tracing::info!("the work runs") });
            tracing::info!("a task has stored work");
        })),
        Do::WorkOfLateTask { gate } => drop(invocation.spawn(async move {
            wait_at(&gate).await;
            tracing::info_span!("late task").in_scope(|| ());
            Invocation::current().after_response(async {
                tracing::info_span!("late work").in_scope(|| ());
                tracing::info!("the late work is done");
            });
        })),
        Do::HangingWork => invocation.after_response(pending()),
        Do::WorkWithToken => invocation.after_response(async {
            Invocation::current().cancellation_token().cancelled().await;
            tracing::info!("the work was asked to stop");
        }),
        Do::Cooperate => loop {
            tokio::task::consume_budget().await;
        },
        Do::ExplicitParent => tracing::info_span!(parent: tracing::Span::current(), "explicit").in_scope(|| careless("")),
        Do::GlobalTracer => tracing::info_span!("outer").in_scope(|| {
            opentelemetry::global::tracer("a library").in_span("inner", |_| ());
        }),
        Do::AskSpan => {
            let span = tracing::info_span!("asked");
            span.set_attribute("annotation.asked", true);
            return Ok(json!(span.context().span().span_context().span_id().to_string()));
        }
        Do::TickingSpans => invocation.after_response(async {
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                work("").await;
            }
            println!("the ticking is over");
        }),
        Do::TickingWork { gate } => invocation.after_response(async move {
            wait_at(&gate).await;
            for tick in 0..3 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                tracing::info!(tick, "tick");
            }
        }),
        Do::Block => block(Duration::from_secs(60)),
        Do::BlockEveryThread => {
            // The last one waits for this thread, and the others for free threads.
            for _ in 0..3 {
                drop(tokio::spawn(async { block(Duration::from_secs(60)) }));
            }
            block(Duration::from_secs(60));
        }
        Do::BlockAtGate { gate } => {
            block_at(&gate);
            tokio::task::yield_now().await;
        }
        Do::WaitForBlockedTask => {
            drop(tokio::spawn(async { std::thread::sleep(Duration::from_secs(60)) }));
            pending::<()>().instrument(tracing::info_span!("waiting")).await;
        }
        Do::Spin => spin(),
        Do::Idle => return Ok(json!(invocation.idle().map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)))),
        Do::ManySpans { count } => {
            for number in 0..count {
                numbered(number);
            }
        }
        Do::Abort => std::process::abort(),
        Do::Allocate => drop(std::hint::black_box(vec![1_u8; 256 << 20])),
        Do::Spawn => {
            let kept = invocation.spawn(async { Invocation::current().request_id().to_owned() }).await?;
            return Ok(json!(kept == invocation.request_id()));
        }
        Do::LogManyErrorsAndFail => {
            (0..300).for_each(|number| tracing::error!(number, "one of many"));
            return Err("no stock".into());
        }
        Do::PanickingWork => invocation.after_response(async { panic_now() }),
        act @ (Do::LogErrors
        | Do::LogAtEndOfThread
        | Do::ChainSpans
        | Do::SpansAtEndOfThreads
        | Do::TooManyContexts
        | Do::ServeAndBlock
        | Do::Outlive { .. }
        | Do::AnnotateAndHang
        | Do::WorkThroughHandle { .. }
        | Do::WorkWithoutEnd) => rare::act(act).await,
        act @ (Do::Measure { .. } | Do::MeasureBadly | Do::MeasureLate { .. } | Do::MeasureALot) => measured::act(act).await?,
        // Tasks of other functions.
        act @ (Do::Endless | Do::BadError | Do::Refuse) => panic!("{act} is not for this function"),
        Do::Nothing => {}
    }
    Ok(answer())
}

async fn log(secret: &str) {
    tracing::info!(secret, "the user's line");
    work(secret).await;
}

#[tracing::instrument(skip_all)]
pub(super) async fn work(_: &str) {
    tracing::debug!("working");
}

#[tracing::instrument]
fn careless(argument: &str) {}

#[tracing::instrument(name = "blocking query", fields(sql = "select"))]
fn block(time: Duration) {
    println!("blocks");
    std::thread::sleep(time);
}

#[tracing::instrument(name = "blocking query", skip_all)]
fn block_at(gate: &str) {
    hold_thread_at(gate);
}

#[tracing::instrument(name = "endless loop")]
fn spin() {
    loop {
        std::hint::spin_loop();
    }
}

#[tracing::instrument(name = "numbered", fields(filler = "some forty characters, as a span often has"))]
fn numbered(number: u64) {}
