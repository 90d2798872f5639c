//! What X-Ray costs: a span's translation, beside `opentelemetry-aws`'s of the same span; the header; a datagram.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench xray`. Each translation ends with the document's bytes in a reused buffer.

use std::{
    backtrace::Backtrace,
    hint::black_box,
    net::UdpSocket,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use lambda_lifecycle::xray::{Batch, Budget, DocumentOptions, DocumentWriter, Frame, TraceHeader, UdpEmitter};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_aws::xray_exporter::SegmentTranslator;
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanEvents, SpanLinks},
};

/// Set in the processes that measure their first span.
const FIRST: &str = "FIRST";

fn span(kind: SpanKind, name: &'static str, attributes: Vec<KeyValue>) -> SpanData {
    let now = SystemTime::now();
    // The other translator looks at the time in the trace id.
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let trace = TraceId::from(u128::from(seconds) << 96 | 0x1234_5678_9abc_def0);
    SpanData {
        span_context: SpanContext::new(trace, SpanId::from(0x5399_5c3f_42cd_8ad8), TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: SpanId::from(0xdefd_fd99_12dc_5a56),
        parent_span_is_remote: false,
        span_kind: kind,
        name: name.into(),
        start_time: now,
        end_time: now + Duration::from_millis(12),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

fn spans() -> Vec<(&'static str, SpanData)> {
    let code = |more: Vec<KeyValue>| {
        let mut attributes = vec![KeyValue::new("code.file.path", "src/orders.rs"), KeyValue::new("code.line.number", 42)];
        attributes.extend(more);
        attributes
    };
    let two = span(SpanKind::Internal, "price", code(vec![]));
    let eight = span(
        SpanKind::Internal,
        "place order",
        code(vec![
            KeyValue::new("order.id", "059f36b4-87a3-44ab-83d2-661975830a7d"),
            KeyValue::new("order.total", 129.95),
            KeyValue::new("order.items", 7),
            KeyValue::new("customer.returning", true),
            KeyValue::new("thread.name", "tokio-runtime-worker"),
            KeyValue::new("busy_ns", 1_234_567),
        ]),
    );
    let sdk = span(
        SpanKind::Client,
        "SQS.SendMessage",
        vec![
            KeyValue::new("rpc.system", "aws-api"),
            KeyValue::new("rpc.service", "SQS"),
            KeyValue::new("rpc.method", "SendMessage"),
            KeyValue::new("aws.region", "eu-west-1"),
            KeyValue::new("aws.request_id", "059f36b4-87a3-44ab-83d2-661975830a7d"),
            KeyValue::new("aws.queue_url", "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"),
            KeyValue::new("http.response.status_code", 200),
            KeyValue::new("messaging.system", "aws_sqs"),
        ],
    );
    let mut failed = two.clone();
    failed.status = Status::error("no such order");
    failed.events.events = vec![Event::new(
        "exception",
        SystemTime::now(),
        vec![
            KeyValue::new("exception.type", "orders::PlaceError"),
            KeyValue::new("exception.message", "no such order"),
            KeyValue::new("exception.stacktrace", deep(40)),
        ],
        0,
    )];
    vec![("2 attributes", two), ("8 attributes", eight), ("sdk call", sdk), ("40 frames", failed)]
}

fn deep(frames: usize) -> String {
    let real = Backtrace::force_capture().to_string();
    let frame = |at: usize| format!("{at:4}: orders::place::step_{at}\n             at ./src/orders/place.rs:{at}:17\n");
    let made: String = (0..frames).map(frame).collect();
    if real.lines().filter(|line| line.contains(": ")).count() >= frames { real } else { made }
}

fn translation(criterion: &mut Criterion) {
    for (name, span) in spans() {
        let mut group = criterion.benchmark_group(format!("translation/{name}"));
        group.throughput(Throughput::Elements(1));
        let mut buffer = Vec::with_capacity(65_536);
        let mut writer = DocumentWriter::new(DocumentOptions::new().annotations(["order.id"]));
        let frame = Frame::of(&span);
        group.bench_function("ours", |bencher| {
            bencher.iter(|| {
                buffer.clear();
                writer.write(black_box(&span), &frame, &mut buffer)
            });
        });
        let mut theirs = SegmentTranslator::new().metadata_all_attrs().with_indexed_attr("order.id".to_owned());
        // It reads Rust's backtraces only when this attribute names the language.
        theirs.set_resource(&Resource::builder_empty().with_attribute(KeyValue::new("telemetry.sdk.language", "rust")).build());
        let batch = [span];
        let documents = theirs.translate_spans(&batch);
        assert_eq!(documents.len(), 1, "the other one has a document too");
        buffer.clear();
        writer.write(&batch[0], &frame, &mut buffer);
        println!("{name}: {} bytes here, {} there", buffer.len(), documents[0].to_bytes().len());
        group.bench_function("opentelemetry-aws", |bencher| {
            bencher.iter(|| {
                buffer.clear();
                for document in theirs.translate_spans(black_box(&batch)) {
                    document.to_writer(&mut buffer);
                }
                buffer.len()
            });
        });
    }
}

fn header(criterion: &mut Criterion) {
    let text = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1|68fd508a:5";
    criterion.bench_function("header/parse", |bencher| {
        bencher.iter(|| TraceHeader::parse(black_box(text)));
    });
    let header = TraceHeader::parse(text);
    criterion.bench_function("header/write", |bencher| {
        bencher.iter(|| black_box(&header).to_string());
    });
}

fn invocation(criterion: &mut Criterion) {
    let span = spans().swap_remove(1).1;
    let (mut writer, mut batch) = (DocumentWriter::default(), Batch::new());
    let frame = Frame::of(&span);
    criterion.bench_function("invocation of ten spans", |bencher| {
        bencher.iter(|| {
            batch.clear();
            for _ in 0..9 {
                batch.push(&mut writer, black_box(&span), &frame);
            }
            batch.finish(&mut writer, &span, frame.clone(), &mut Budget::default())
        });
    });
}

/// The first span of a process pays what is set up lazily, and code that was never run. It happens once, so a process is started for
/// each measurement. A writer made anew pays neither a second time.
fn first_of_process() {
    let batch = [spans().swap_remove(1).1];
    let write = || {
        let start = Instant::now();
        DocumentWriter::default().write(&batch[0], &Frame::of(&batch[0]), &mut Vec::new());
        start.elapsed()
    };
    let (ours, again) = (write(), write());
    let start = Instant::now();
    let documents = SegmentTranslator::new().translate_spans(&batch).len();
    let theirs = start.elapsed();
    assert_eq!(documents, 1, "the other one has a document too");
    println!("first {} {} {}", ours.as_nanos(), again.as_nanos(), theirs.as_nanos());
}

fn first(_: &mut Criterion) {
    const PROCESSES: usize = 31;
    let measure = || {
        let output = Command::new(std::env::current_exe().ok()?).env(FIRST, "1").output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let numbers = said.lines().find_map(|line| line.strip_prefix("first "))?.split(' ').map(str::parse::<u64>);
        <[u64; 3]>::try_from(numbers.collect::<Result<Vec<_>, _>>().ok()?).ok()
    };
    let all: Vec<[u64; 3]> = (0..PROCESSES).filter_map(|_| measure()).collect();
    assert_eq!(all.len(), PROCESSES, "every process measured");
    let [ours, again, theirs] = [0, 1, 2].map(|which| {
        let mut one: Vec<u64> = all.iter().map(|numbers| numbers[which]).collect();
        one.sort_unstable();
        one[PROCESSES / 2]
    });
    let met = if ours <= 20_000 { "met" } else { "MISSED" };
    println!("first span of a process, median of {PROCESSES}: {ours} ns here (goal 20,000 ns: {met}), {theirs} ns there");
    println!("the same again with a new writer: {again} ns here; the rest was code that had never run");
}

fn sending(criterion: &mut Criterion) {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let address = receiver.local_addr().expect("it is bound");
    let bare = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    bare.connect(address).expect("it is bound");
    let mut emitter = UdpEmitter::connect(address).expect("a socket");
    let document = vec![b'x'; 600];
    // Read between measurements, so that each datagram finds room.
    let drain = || {
        receiver.set_nonblocking(true).expect("a socket");
        let mut buffer = [0; 1_024];
        while receiver.recv(&mut buffer).is_ok() {}
    };
    let mut group = criterion.benchmark_group("send 600 bytes");
    group.bench_function("bare", |bencher| {
        bencher.iter_batched(drain, |()| bare.send(black_box(&document)), BatchSize::PerIteration);
    });
    group.bench_function("emitter", |bencher| {
        bencher.iter_batched(drain, |()| emitter.send(black_box(&document)), BatchSize::PerIteration);
    });
}

criterion_group!(benches, first, translation, header, invocation, sending);

fn main() {
    if std::env::var_os(FIRST).is_some() {
        return first_of_process();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
