//! The cost of a batch per message, compared with hand-written `buffer_unordered` without tracing.
//!
//! `overhead` is the CPU time of the serving thread, in batches of a hundred messages without work. "sampled" includes the span,
//! its link, its annotations and the document, sent to a daemon on this machine. `throughput` is the time to the response, with
//! messages that wait for a millisecond, sixteen at a time. Documents are sent after the response, at a rate that the daemon's
//! buffer can take.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use futures_util::StreamExt;
use lambda_lifecycle::{
    Error, LambdaEvent,
    service::RuntimeLayer,
    sqs::{self, BatchItemFailure, BatchResponse, Message, SqsEvent, SqsRecord},
};
use lambda_runtime::{Context, LambdaInvocation};
use nix::time::{ClockId, clock_gettime};
use serde::Deserialize;
use std::{
    collections::HashMap,
    future::Future,
    hint::black_box,
    net::UdpSocket,
    pin::Pin,
    process::{Command, ExitCode},
    sync::atomic::{AtomicU64, Ordering},
    task::{self, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Runtime;
use tower::{Layer, Service};

/// Each invocation has a separate trace, because a trace's budget counts everything that is sent into it.
static TRACES: AtomicU64 = AtomicU64::new(1);

#[derive(Deserialize)]
struct Order {
    id: u64,
    waits: bool,
}

async fn work(order: Order) -> Result<(), Error> {
    if order.waits {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    if black_box(order.id) == u64::MAX { Err("no stock".into()) } else { Ok(()) }
}

async fn handle(message: Message<Order>) -> Result<(), Error> {
    work(message.body).await
}

/// The batch without this library.
async fn by_hand(event: SqsEvent) -> BatchResponse {
    let one = async |record: SqsRecord| {
        let done = async { work(serde_json::from_str(&record.body)?).await }.await;
        done.is_err().then_some(BatchItemFailure { item_identifier: record.message_id })
    };
    let failures = futures_util::stream::iter(event.records).map(one).buffer_unordered(16);
    let failures = failures.filter_map(std::future::ready).collect().await;
    BatchResponse { batch_item_failures: failures }
}

fn event(messages: usize, waits: bool) -> SqsEvent {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let record = |number: usize| {
        let mut record = SqsRecord::default();
        record.message_id = format!("059f36b4-87a3-44ab-83d2-{number:012}");
        record.body = format!(r#"{{"id":{number},"waits":{waits}}}"#);
        record.attributes = HashMap::from([
            ("ApproximateReceiveCount".to_owned(), "1".to_owned()),
            ("SentTimestamp".to_owned(), now.to_string()),
            ("SenderId".to_owned(), "AIDAIENQZJOLO23YVJ4VO".to_owned()),
            ("ApproximateFirstReceiveTimestamp".to_owned(), now.to_string()),
            ("AWSTraceHeader".to_owned(), format!("Root=1-5759e988-{:024x};Parent=53995c3f42cd8ad8;Sampled=1", number % 10 + 1)),
        ]);
        "aws:sqs".clone_into(&mut record.event_source);
        "arn:aws:sqs:eu-west-1:123456789012:orders".clone_into(&mut record.event_source_arn);
        record
    };
    SqsEvent { records: (0..messages).map(record).collect() }
}

/// Nanoseconds from the last batch to its response.
static ANSWERED_AFTER: AtomicU64 = AtomicU64::new(0);

/// The stand-in for lambda_runtime between position A and the handler, without HTTP and JSON.
struct Handed<H> {
    handler: H,
    event: Option<SqsEvent>,
}

impl<H> Service<LambdaInvocation> for Handed<H>
where
    H: Service<LambdaEvent<SqsEvent>, Response = BatchResponse>,
    H::Future: Send + 'static,
    H::Error: std::fmt::Debug,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let event = self.event.take().expect("one event for each invocation");
        let answer = self.handler.call(LambdaEvent::new(event, invocation.context));
        let began = Instant::now();
        Box::pin(async move {
            black_box(answer.await.expect("messages of SQS"));
            ANSWERED_AFTER.store(u64::try_from(began.elapsed().as_nanos()).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        })
    }
}

fn invocation(sampled: bool) -> LambdaInvocation {
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(60);
    let mut context = Context::default();
    "8476a536-e9f4-11e8-9739-2dfe598c3fcd".clone_into(&mut context.request_id);
    context.deadline = u64::try_from(deadline.as_millis()).unwrap_or(0);
    let trace = TRACES.fetch_add(1, Ordering::Relaxed);
    context.xray_trace_id = Some(format!("Root=1-5759e988-{trace:024x};Parent=53995c3f42cd8ad8;Sampled={}", u8::from(sampled)));
    let (parts, ()) = http::Response::new(()).into_parts();
    LambdaInvocation { parts, body: bytes::Bytes::from_static(br#"{"Records":[]}"#), context }
}

#[derive(Clone, Copy)]
enum Way {
    ByHand,
    NotSampled,
    Sampled,
}

fn run(runtime: &Runtime, way: Way, event: SqsEvent) {
    let sampled = match way {
        Way::ByHand => return drop(black_box(runtime.block_on(by_hand(event)))),
        Way::NotSampled => false,
        Way::Sampled => true,
    };
    let handed = Handed { handler: sqs::batch(handle).concurrency(16), event: Some(event) };
    let mut service = RuntimeLayer::new().layer(handed);
    runtime.block_on(service.call(invocation(sampled))).expect("it is served");
}

/// The measurement of one batch.
#[derive(Clone, Copy)]
enum Measured {
    ThreadTime,
    TimeToAnswer,
}

fn one(runtime: &Runtime, way: Way, event: SqsEvent, measured: Measured) -> Duration {
    let (began, began_on_thread) = (Instant::now(), thread_time());
    run(runtime, way, event);
    match (measured, way) {
        (Measured::ThreadTime, _) => thread_time().saturating_sub(began_on_thread),
        (Measured::TimeToAnswer, Way::ByHand) => began.elapsed(),
        (Measured::TimeToAnswer, _) => Duration::from_nanos(ANSWERED_AFTER.load(Ordering::Relaxed)),
    }
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

fn measure(criterion: &mut Criterion, name: &str, messages: usize, waits: bool, measured: Measured) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let event = event(messages, waits);
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(messages as u64));
    for (label, way) in [("by hand", Way::ByHand), ("not sampled", Way::NotSampled), ("sampled", Way::Sampled)] {
        group.bench_function(BenchmarkId::from_parameter(label), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| one(&runtime, way, event.clone(), measured)).sum());
        });
    }
    group.finish();
}

fn batches(criterion: &mut Criterion) {
    measure(criterion, "overhead of 100 messages", 100, false, Measured::ThreadTime);
    measure(criterion, "throughput of 1000 messages at concurrency 16", 1_000, true, Measured::TimeToAnswer);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(4));
    targets = batches
}

/// The library reads the daemon's address from the environment once, so it runs in a child process. This process is the daemon.
fn main() -> ExitCode {
    if std::env::var_os("AWS_XRAY_DAEMON_ADDRESS").is_some() {
        benches();
        Criterion::default().configure_from_args().final_summary();
        return ExitCode::SUCCESS;
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while socket.recv(&mut buffer).is_ok() {}
    });
    let program = std::env::current_exe().expect("a running program has a path");
    let status = Command::new(program).args(std::env::args_os().skip(1)).env("AWS_XRAY_DAEMON_ADDRESS", address).status();
    if status.is_ok_and(|status| status.success()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
