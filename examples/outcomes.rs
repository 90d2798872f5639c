//! A function that ends as its event says, so that `deploy/verify` can compare what the caller, the log and X-Ray show with what must be there.
//!
//! `{"act": "respond"}` and its siblings are in [`Act`]. `OUTCOMES_MODE` selects another function: `stream`, `hooks`,
//! `init_fails` or `init_hangs`. The variable `PLANTED_FAULT` makes one act wrong, to show that the comparison notices it.

use bytes::Bytes;
use futures_util::stream;
use lambda_lifecycle::{
    Builder, Error, Invocation, LambdaEvent, Lifecycle, Report, deadline::fallback, lambda_runtime::StreamResponse, service_fn,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::{
    env, fs,
    future::{Future, pending},
    net::UdpSocket,
    pin::Pin,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

/// How long the work after a response takes.
const WORK: Duration = Duration::from_millis(300);
/// Beyond the largest response that Lambda accepts.
const TOO_LARGE: usize = 6 * 1024 * 1024 + 200;

/// Invocations of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);
/// Whether the hook after the next response panics.
static HOOK_PANICS: AtomicBool = AtomicBool::new(false);

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Act {
    /// Responds with the number of the invocation in its process.
    Respond,
    /// Returns an error.
    Fail,
    Panic,
    /// Panics before the handler's future exists.
    PanicInConstructor,
    PanicInDeserialize,
    PanicInSerialize,
    FailInSerialize,
    /// Responds with more than Lambda accepts.
    TooLarge,
    /// Waits for longer than the deadline.
    Wait,
    /// Blocks its thread until Lambda ends the process.
    Block,
    /// Responds when its token is canceled.
    CleanUp,
    /// Ends the process.
    Abort,
    /// Gets SIGKILL, as from the platform.
    Kill,
    /// Gets SIGTERM while it is busy.
    Terminate,
    /// Uses more memory than the function has.
    UseMemory,
    /// Responds, and works after that.
    AfterResponse,
    /// The same; the log says when the work was done.
    Billed,
    /// Responds, and never finishes the work after that.
    HangAfterResponse,
    PanicInHook,
    /// Creates 1,000 spans.
    ManySpans,
    /// Creates spans below each other.
    NestedSpans,
    /// Responds with what the function knows of its environment.
    Describe,
}

struct Event {
    act: Act,
}

/// By hand, so that it can panic.
impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            act: Act,
        }
        let act = match Fields::deserialize(deserializer) {
            Ok(Fields { act }) => act,
            Err(_) if is_planted("undecodable") => Act::Respond,
            Err(error) => return Err(error),
        };
        assert!(act != Act::PanicInDeserialize || is_planted("panic-in-deserialize"), "panicked as asked");
        Ok(Self { act })
    }
}

enum Response {
    Value(Value),
    Panics,
    Fails,
}

impl Serialize for Response {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Panics => panic!("panicked as asked"),
            Self::Fails => Err(serde::ser::Error::custom("failed as asked")),
        }
    }
}

#[tokio::main(flavor = "local")]
async fn main() -> Result<(), Error> {
    let mode = env::var("OUTCOMES_MODE").unwrap_or_default();
    let builder = Lifecycle::builder().on_shutdown(async || println!("the hook at SIGTERM ran"));
    let life = if mode == "hooks" { with_hooks(builder) } else { builder }.build();
    if !is_planted("init-spans") || mode.starts_with("init") {
        life.init("outcomes", initialize(&mode)).await?;
    }
    if mode == "stream" {
        return life.run(service_fn(respond_in_parts)).await;
    }
    if is_planted("deadline") {
        return life.run(fallback(service_fn(end), |_| Response::Value(json!("a response at the deadline")))).await;
    }
    life.run_concurrent(service_fn(end)).await
}

fn with_hooks(builder: Builder) -> Builder {
    builder.after_response(async |_: Report| assert!(!HOOK_PANICS.load(Ordering::Relaxed), "panicked as asked")).after_response(
        async |_: Report| {
            if HOOK_PANICS.swap(false, Ordering::Relaxed) && !is_planted("panicking-hook") {
                tracing::info!("the next hook ran");
            }
        },
    )
}

/// Whether the fault of this assertion is planted.
fn is_planted(assertion: &str) -> bool {
    env::var("PLANTED_FAULT").is_ok_and(|planted| planted == assertion)
}

async fn initialize(mode: &str) -> Result<(), Error> {
    match mode {
        "init_fails" if !is_planted("init-failure") => Err("failed as asked".into()),
        "init_hangs" if !is_planted("init-over-budget") => pending().await,
        _ => Ok(()),
    }
}

#[allow(clippy::manual_async_fn, clippy::needless_pass_by_value, reason = "one panic is in the making of the future")]
fn end(event: LambdaEvent<Event>) -> impl Future<Output = Result<Response, Error>> + Send {
    let act = event.payload.act;
    assert!(act != Act::PanicInConstructor || is_planted("panic-in-constructor"), "panicked as asked");
    async move { act_as(act).await }
}

async fn act_as(act: Act) -> Result<Response, Error> {
    let invocation = Invocation::current();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
    let ordinary = || Ok(Response::Value(json!({ "number": number })));
    match act {
        Act::Respond => {
            respond();
            if is_planted("billed-without-work") {
                invocation.after_response(async {});
            }
            let is_wrong = ["response", "not-sampled", "pass-through", "managed"].iter().any(|fault| is_planted(fault));
            if is_wrong && number == 1 { Ok(Response::Value(json!({ "number": 0 }))) } else { ordinary() }
        }
        Act::Fail => Err(if is_planted("error") { "something else" } else { "failed as asked" }.into()),
        Act::Panic => panic!("{}", if is_planted("panic") { "something else" } else { "panicked as asked" }),
        Act::PanicInSerialize if !is_planted("panic-in-serialize") => Ok(Response::Panics),
        Act::FailInSerialize if !is_planted("error-in-serialize") => Ok(Response::Fails),
        Act::TooLarge if !is_planted("too-large") => Ok(Response::Value(json!("x".repeat(TOO_LARGE)))),
        Act::Wait => pending().await,
        Act::Block if !is_planted("blocked") => {
            block();
            ordinary()
        }
        Act::CleanUp => {
            invocation.cancellation_token().cancelled().await;
            Ok(Response::Value(json!({ "cleaned_up": !is_planted("cleanup") })))
        }
        Act::Abort => std::process::abort(),
        Act::Kill => signal("KILL").await,
        Act::Terminate if !is_planted("shut-down") => signal("TERM").await,
        Act::UseMemory => use_memory(),
        Act::AfterResponse if is_planted("after-response") => {
            work().await;
            ordinary()
        }
        Act::AfterResponse => {
            invocation.after_response(work());
            ordinary()
        }
        Act::Billed => {
            let logged = async {
                work().await;
                tracing::info!("work is done");
            };
            if is_planted("billed") {
                drop(tokio::spawn(logged))
            } else {
                invocation.after_response(logged)
            }
            ordinary()
        }
        Act::HangAfterResponse => {
            if !is_planted("hung-work") {
                invocation.after_response(pending());
            }
            ordinary()
        }
        Act::PanicInHook => {
            HOOK_PANICS.store(true, Ordering::Relaxed);
            ordinary()
        }
        Act::ManySpans => {
            (0..1_000).for_each(numbered);
            ordinary()
        }
        Act::NestedSpans => {
            outer();
            ordinary()
        }
        Act::Describe => Ok(Response::Value(describe(&invocation))),
        // Acts whose fault is planted.
        _ => ordinary(),
    }
}

#[tracing::instrument]
fn respond() {
    if is_planted("log") {
        println!("{}", json!({ "level": "INFO", "message": "responding" }));
    } else {
        tracing::info!("responding");
    }
    if is_planted("times") {
        let request_id = Invocation::current().request_id().to_owned();
        println!("{}", json!({ "_aws": {}, "requestId": request_id, "HandlerDuration": 1e9 }));
    }
    if is_planted("metrics") {
        let request_id = Invocation::current().request_id().to_owned();
        println!("{}", json!({ "_aws": {}, "requestId": request_id, "outcome": "planted" }));
    }
    if is_planted("not-sampled-silent") {
        send_document();
    }
}

/// Sends a document for the trace of this invocation, although it is not sampled.
fn send_document() {
    let header = Invocation::current().lambda_context().xray_trace_id.clone().unwrap_or_default();
    let root = header.split(';').find_map(|field| field.strip_prefix("Root=")).unwrap_or_default();
    let document = json!({
        "trace_id": root, "id": "00000000000000fa", "name": "planted", "type": "subsegment", "parent_id": "00000000000000fb",
        "start_time": 1.5e9, "end_time": 1.5e9,
    });
    let datagram = format!("{{\"format\":\"json\",\"version\":1}}\n{document}");
    let daemon = env::var("AWS_XRAY_DAEMON_ADDRESS").unwrap_or_default();
    if let Ok(socket) = UdpSocket::bind("0.0.0.0:0") {
        let _ = socket.send_to(datagram.as_bytes(), daemon);
    }
}

#[tracing::instrument]
async fn work() {
    tokio::time::sleep(WORK).await;
}

#[tracing::instrument(name = "blocking call")]
fn block() {
    std::thread::sleep(Duration::from_secs(600));
}

/// Sends a signal to this process.
async fn signal(name: &str) -> Result<Response, Error> {
    Command::new("sh").args(["-c", &format!("kill -{name} $PPID")]).status()?;
    pending().await
}

fn use_memory() -> ! {
    let mut used = Vec::new();
    loop {
        used.push(std::hint::black_box(vec![1_u8; 16 << 20]));
    }
}

#[tracing::instrument(name = "numbered", fields(filler = "some forty characters, as a span often has"))]
fn numbered(number: u32) {}

#[tracing::instrument]
fn outer() {
    #[tracing::instrument]
    fn middle() {
        tracing::info_span!("inner").in_scope(|| ());
    }
    middle();
}

fn describe(invocation: &Invocation) -> Value {
    let interfaces = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let mtus = interfaces.filter_map(|interface| {
        let mtu = fs::read_to_string(interface.path().join("mtu")).ok()?;
        Some((interface.file_name().to_string_lossy().into_owned(), json!(mtu.trim())))
    });
    json!({
        "trace_header": invocation.lambda_context().xray_trace_id,
        "daemon": env::var("AWS_XRAY_DAEMON_ADDRESS").ok(),
        "mtus": mtus.collect::<serde_json::Map<_, _>>(),
    })
}

type Parts = Pin<Box<dyn stream::Stream<Item = Result<Bytes, Error>> + Send>>;

/// Sends two parts, and then breaks off.
async fn respond_in_parts(event: LambdaEvent<Event>) -> Result<StreamResponse<Parts>, Error> {
    let act = event.payload.act;
    let parts = stream::unfold(0, move |number| async move {
        match (number, act) {
            (0 | 1, _) => Some((Ok(Bytes::from(format!("part {number};"))), number + 1)),
            (2, Act::Fail) if !is_planted("stream-error") => Some((Err("failed as asked".into()), 3)),
            (2, Act::Panic) if !is_planted("stream-panic") => panic!("panicked as asked"),
            (2, Act::Wait) if !is_planted("stream-deadline") => pending().await,
            _ => None,
        }
    });
    Ok(StreamResponse { metadata_prelude: lambda_lifecycle::lambda_runtime::MetadataPrelude::default(), stream: Box::pin(parts) })
}
