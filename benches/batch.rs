//! The cost of a batch for each record, by event source, beside the same batch by hand: `buffer_unordered` without tracing.
//!
//! - `CPU` is the CPU time of the serving thread above the batch by hand, in batches of a hundred records without work, one after the other.
//!   "recorded" includes the span, its link, its annotations and the document, sent to a daemon on this machine, and the waits for the pace.
//! - `ratio` is the time to the response, divided by the time by hand, with records that wait for a millisecond, sixteen at a time. Documents
//!   are sent after the response. Between two of these batches there is enough time for the pace to recover.
//!
//! The three ways take turns, so that a change of the machine's speed affects all of them. Exits with status 1 above a goal. Recorded records
//! have none here: their goal was the cost of the first version, which `benches/RESULTS.md` shows how to measure on the same machine.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use lambda_lifecycle::{
    Error, LambdaEvent, dynamodb, kafka, kinesis,
    service::RuntimeLayer,
    sqs::{self, BatchItemFailure, BatchResponse},
};
use lambda_lifecycle_benches::measure::thread_cpu;
use lambda_runtime::{Context, LambdaInvocation};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    fmt::Debug,
    future::Future,
    hint::black_box,
    net::UdpSocket,
    pin::Pin,
    process::{Command, ExitCode},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{self, Poll},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::runtime::Runtime;
use tower::{Layer, Service};

/// Microseconds for each record.
const NOT_RECORDED: f64 = 0.7;
/// Of the time by hand.
const RATIO: f64 = 1.05;

const CONCURRENCY: usize = 16;
const CPU_ROUNDS: usize = 20;
/// Batches of each way in a round: by hand, not recorded, recorded.
const BATCHES: [u32; 3] = [200, 200, 20];
const RATIO_ROUNDS: usize = 15;
/// After it, the documents of a hundred records need no longer wait than those of the first batch.
const RECOVERY: Duration = Duration::from_millis(12);

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

/// The batch without this library: `read` finds the order in a record, or fails.
async fn by_hand<R>(records: Vec<R>, id: impl Fn(R) -> String, read: impl Fn(&R) -> Result<Order, Error>) -> BatchResponse {
    let one = async |record: R| {
        let done = async { work(read(&record)?).await }.await;
        done.is_err().then(|| BatchItemFailure { item_identifier: id(record) })
    };
    let failures = futures_util::stream::iter(records).map(one).buffer_unordered(CONCURRENCY);
    let failures = failures.filter_map(std::future::ready).collect().await;
    BatchResponse { batch_item_failures: failures }
}

fn from_base64(data: &str) -> Result<Order, Error> {
    Ok(serde_json::from_slice(&STANDARD.decode(data)?)?)
}

fn event<E: DeserializeOwned>(event: &Value) -> E {
    serde_json::from_str(&event.to_string()).expect("an event of the source")
}

fn milliseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

fn of_sqs(number: usize, order: &str) -> Value {
    json!({
        "messageId": format!("059f36b4-87a3-44ab-83d2-{number:012}"), "receiptHandle": "r", "body": order, "messageAttributes": {},
        "attributes": {
            "ApproximateReceiveCount": "1", "SentTimestamp": milliseconds().to_string(), "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": milliseconds().to_string(),
            "AWSTraceHeader": format!("Root=1-5759e988-{:024x};Parent=53995c3f42cd8ad8;Sampled=1", number % 10 + 1),
        },
        "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:orders", "awsRegion": "eu-west-1",
    })
}

fn of_kinesis(number: usize, order: &str) -> Value {
    let sequence_number = format!("495903382714902566085596925383615710959215759891365{number:05}");
    json!({
        "kinesis": { "kinesisSchemaVersion": "1.0", "partitionKey": format!("k{number}"), "sequenceNumber": sequence_number,
            "data": STANDARD.encode(order), "approximateArrivalTimestamp": milliseconds() / 1_000 },
        "eventSource": "aws:kinesis", "eventVersion": "1.0", "eventID": format!("shardId-000000000006:{sequence_number}"),
        "eventName": "aws:kinesis:record", "awsRegion": "eu-west-1",
        "eventSourceARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
    })
}

fn of_dynamodb(number: usize, order: &str) -> Value {
    let order: Value = serde_json::from_str(order).expect("it is JSON");
    json!({
        "eventID": format!("{number:032x}"), "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
        "awsRegion": "eu-west-1", "eventSourceARN": "arn:aws:dynamodb:eu-west-1:123456789012:table/orders/stream/2024",
        "dynamodb": {
            "ApproximateCreationDateTime": milliseconds() / 1_000, "Keys": { "id": { "N": number.to_string() } },
            "NewImage": { "id": { "N": number.to_string() }, "waits": { "BOOL": order["waits"] } },
            "SequenceNumber": format!("4421584500000000017450{number:05}"), "SizeBytes": 26, "StreamViewType": "NEW_IMAGE",
        },
    })
}

fn of_kafka(number: usize, order: &str) -> Value {
    json!({
        "topic": "orders", "partition": 0, "offset": number, "timestamp": milliseconds(), "timestampType": "CREATE_TIME",
        "key": STANDARD.encode(format!("k{number}")), "value": STANDARD.encode(order), "headers": [],
    })
}

fn records(record: impl Fn(usize, &str) -> Value, count: usize, waits: bool) -> Value {
    (0..count).map(|number| record(number, &format!(r#"{{"id":{number},"waits":{waits}}}"#))).collect()
}

/// Nanoseconds from the last batch to its response.
static ANSWERED_AFTER: AtomicU64 = AtomicU64::new(0);

/// The stand-in for lambda_runtime between position A and the handler, without HTTP and JSON.
struct Handed<H, E> {
    handler: H,
    event: Arc<Mutex<Option<E>>>,
}

impl<H, E> Service<LambdaInvocation> for Handed<H, E>
where
    H: Service<LambdaEvent<E>>,
    H::Future: Send + 'static,
    H::Response: Send,
    H::Error: Debug + Send,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let event = self.event.lock().ok().and_then(|mut event| event.take()).expect("one event for each invocation");
        let answer = self.handler.call(LambdaEvent::new(event, invocation.context));
        let began = Instant::now();
        Box::pin(async move {
            black_box(answer.await.expect("records that succeed"));
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

/// One way to handle a batch: its CPU time, and its time to the response.
#[derive(Clone, Copy, Default)]
struct Took {
    cpu: f64,
    answer: f64,
}

fn seconds(took: Duration) -> f64 {
    took.as_secs_f64()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The row of a source. `hand` is the batch by hand, `service` the library's. Returns whether it meets its goals.
fn row<E: Clone, H>(
    runtime: &Runtime,
    name: &str,
    event: impl Fn(usize, bool) -> E,
    hand: impl AsyncFn(E) -> BatchResponse,
    service: H,
) -> bool
where
    H: Service<LambdaEvent<E>>,
    H::Future: Send + 'static,
    H::Response: Send,
    H::Error: Debug + Send,
{
    let by_hand = |event: E| {
        let (began, cpu) = (Instant::now(), thread_cpu());
        black_box(runtime.block_on(hand(event)));
        Took { answer: seconds(began.elapsed()), cpu: seconds(thread_cpu().saturating_sub(cpu)) }
    };
    // As in a function, one service takes all batches.
    let next = Arc::new(Mutex::new(None));
    let mut service = RuntimeLayer::new().layer(Handed { handler: service, event: Arc::clone(&next) });
    let mut ours = |event: E, sampled: bool| {
        if let Ok(mut next) = next.lock() {
            *next = Some(event);
        }
        let (invocation, cpu) = (invocation(sampled), thread_cpu());
        runtime.block_on(service.call(invocation)).expect("it is served");
        let answer = Duration::from_nanos(ANSWERED_AFTER.load(Ordering::Relaxed));
        Took { answer: seconds(answer), cpu: seconds(thread_cpu().saturating_sub(cpu)) }
    };
    let mut one = |way: usize, batch: &E| match way {
        0 => by_hand(batch.clone()),
        way => ours(batch.clone(), way == 2),
    };
    let (busy, mut cpu) = (event(100, false), [const { Vec::new() }; 3]);
    for _ in 0..CPU_ROUNDS {
        for (way, batches) in BATCHES.into_iter().enumerate() {
            let round: f64 = (0..batches).map(|_| one(way, &busy).cpu).sum();
            cpu[way].push(round / f64::from(batches));
        }
    }
    let [hand, not_recorded, recorded] = cpu.map(median);
    let each = |took: f64| (took - hand) / 100.0 * 1e6;
    let (waiting, mut ratios) = (event(1_000, true), [const { Vec::new() }; 2]);
    for _ in 0..RATIO_ROUNDS {
        let [hand, not_recorded, recorded] = [0, 1, 2].map(|way| {
            std::thread::sleep(RECOVERY);
            one(way, &waiting).answer
        });
        ratios[0].push(not_recorded / hand);
        ratios[1].push(recorded / hand);
    }
    let ratios = ratios.map(median);
    let (plain, full) = (each(not_recorded), each(recorded));
    println!("| {name} | {plain:.2} µs | {full:.2} µs | {:.3} | {:.3} |", ratios[0], ratios[1]);
    plain <= NOT_RECORDED && ratios.iter().all(|ratio| *ratio <= RATIO)
}

fn rows() -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("| source | CPU, not recorded | CPU, recorded | ratio, not recorded | ratio, recorded |");
    println!("|---|---:|---:|---:|---:|");
    let met = [
        row(
            &runtime,
            "SQS",
            |count, waits| event::<sqs::SqsEvent>(&json!({ "Records": records(of_sqs, count, waits) })),
            async |event| {
                by_hand(event.records, |record| record.message_id, |record| Ok(serde_json::from_str(&record.body)?)).await
            },
            sqs::batch(async |message: sqs::Message<Order>| work(message.body).await).concurrency(CONCURRENCY),
        ),
        row(
            &runtime,
            "Kinesis, by key",
            |count, waits| event::<kinesis::KinesisEvent>(&json!({ "Records": records(of_kinesis, count, waits) })),
            async |event| by_hand(event.records, |record| record.sequence_number, |record| from_base64(&record.data)).await,
            kinesis::batch(async |record: kinesis::Record<Order>| work(record.data).await)
                .ordered_by_key()
                .concurrency(CONCURRENCY),
        ),
        row(
            &runtime,
            "DynamoDB, by key",
            |count, waits| event::<dynamodb::DynamoDbEvent>(&json!({ "Records": records(of_dynamodb, count, waits) })),
            async |event| {
                let read = |record: &dynamodb::DynamoDbRecord| Ok(record.new_image.as_ref().ok_or("no image")?.decode()?);
                by_hand(event.records, |record| record.sequence_number, read).await
            },
            dynamodb::batch(async |change: dynamodb::Change<Order>| work(change.new_image.ok_or("no image")?).await)
                .ordered_by_key()
                .concurrency(CONCURRENCY),
        ),
        row(
            &runtime,
            "Kafka, by key",
            |count, waits| {
                let records = json!({ "orders-0": records(of_kafka, count, waits) });
                event::<kafka::KafkaEvent>(&json!({ "eventSource": "aws:kafka", "bootstrapServers": "b", "records": records }))
            },
            async |event| {
                let read = |record: &kafka::KafkaRecord| from_base64(record.value.as_deref().unwrap_or_default());
                by_hand(event.records, |record| record.offset.unwrap_or_default().to_string(), read).await
            },
            kafka::batch(async |record: kafka::Record<Order>| work(record.value).await).ordered_by_key().concurrency(CONCURRENCY),
        ),
    ];
    println!("goals: {NOT_RECORDED} µs not recorded, {RATIO}");
    met.iter().all(|met| *met)
}

/// The library reads the daemon's address from the environment once, so it runs in a child process. This process is the daemon.
fn main() -> ExitCode {
    if std::env::var_os("AWS_XRAY_DAEMON_ADDRESS").is_some() {
        return if rows() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
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
