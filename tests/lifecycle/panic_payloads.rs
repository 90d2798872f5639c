//! Panics whose payload panics when it is dropped, in every call of user code.

use crate::{
    behavior::{Do, Probe},
    kind::LATER,
    support::{Stage, Tested, ensure, function_error, test, value, within},
};
use lambda_lifecycle::{
    Error, Flush, Invocation, LambdaEvent, Lifecycle, service_fn,
    sqs::{self, Message},
    xray::Redaction,
};
use lambda_lifecycle_sandbox::function::{Exit, TraceMode};
use lambda_runtime::StreamResponse;
use libtest_mimic::Trial;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::{future::pending, panic::panic_any, time::Duration};

pub(crate) fn tests() -> Vec<Trial> {
    let name = |what: &str| format!("a payload that panics when dropped: {what}");
    let handler = |what: &str, place: Place| test(name(what), move || fails(place));
    let survived = |what: &str, place: Place| test(name(what), move || answers(place));
    vec![
        handler("the handler", Place::Handler),
        handler("the drop of the handler", Place::DropOfHandler),
        handler("decoding", Place::Decoding),
        handler("encoding", Place::Encoding),
        survived("work after the response", Place::Work),
        survived("the drop of work after the response", Place::DropOfWork),
        survived("a span's value that is redacted", Place::RedactedValue),
        handler("a stream", Place::Stream),
        handler("the drop of a stream", Place::DropOfStream),
        test("a payload that panics when dropped: hooks and an exporter", hooks),
        test("a payload that panics when dropped: a message of a batch", batch),
        test("a payload that panics when dropped: an initializer", || init(Probe::PanicPayloadInit)),
        test("a payload that panics when dropped: a blocking initializer", || init(Probe::PanicPayloadInitBlocking)),
        test("a payload that panics when dropped: an initializer whose error cannot be displayed", || {
            init(Probe::PanicPayloadInitError)
        }),
    ]
}

/// The place of the panic, which the event selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    #[default]
    Nowhere,
    Handler,
    DropOfHandler,
    Decoding,
    Encoding,
    Work,
    DropOfWork,
    /// In `on_unfinished`: the work does not end.
    UnfinishedWork,
    RedactedValue,
    Stream,
    DropOfStream,
}

impl Place {
    fn of(event: &Value) -> Self {
        event.get("place").map_or(Self::Nowhere, |place| Self::deserialize(place).expect("a place"))
    }
}

async fn fails(place: Place) -> Tested {
    let probe =
        if matches!(place, Place::Stream | Place::DropOfStream) { Probe::PanicPayloadStream } else { Probe::PanicPayload };
    let stage = Stage::new(probe, TraceMode::Active).await?;
    let answer = stage.invoke(json!({ "place": place })).await?;
    let (error_type, _) = function_error(&answer)?;
    ensure(error_type == "Lifecycle.Panic", error_type)?;
    stage.lives().await
}

async fn answers(place: Place) -> Tested {
    let stage = Stage::new(Probe::PanicPayload, TraceMode::Active).await?;
    // Work that never ends is cut off at its deadline.
    let answer = stage.invoke_within(LATER, json!({ "place": place })).await?;
    ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
    stage.settle().await?;
    stage.lives().await
}

async fn hooks() -> Tested {
    let stage = Stage::new(Probe::PanicPayloadHooks, TraceMode::Active).await?;
    for _ in 0..2 {
        let answer = stage.invoke(json!({ "place": Place::UnfinishedWork })).await?;
        ensure(answer.result.is_ok(), format!("{:?}", answer.result))?;
        stage.settle().await?;
    }
    stage.lives().await?;
    stage.settle().await?;
    let ended = within("the shutdown", stage.function.shutdown()).await?.ended;
    ensure(ended.len() == 1 && ended[0].exit == Exit::Code(0), format!("{ended:?}"))?;
    ensure(stage.logged("the last hook").len() == 1, "a hook did not run")
}

async fn batch() -> Tested {
    let stage = Stage::new(Probe::PanicPayloadBatch, TraceMode::Active).await?;
    let record = |id: &str, body: Do| json!({ "messageId": id, "body": body.to_string(), "eventSource": "aws:sqs" });
    let answer = stage.invoke(json!({ "Records": [record("bad", Do::Panic), record("good", Do::Nothing)] })).await?;
    let answer = value(&answer)?;
    ensure(answer["batchItemFailures"] == json!([{ "itemIdentifier": "bad" }]), answer.to_string())?;
    ensure(stage.processes() == 1, "the process did not live")
}

async fn init(probe: Probe) -> Tested {
    let stage = Stage::new(probe, TraceMode::Active).await?;
    let answer = stage.invoke(json!({})).await?;
    ensure(answer.result.is_err(), format!("{:?}", answer.result))?;
    let posted = stage.function.timeline().into_iter().find_map(|event| match event.kind {
        lambda_lifecycle_sandbox::function::EventKind::InitError { error_type, .. } => Some(error_type),
        _ => None,
    });
    ensure(posted.as_deref() == Some("Lifecycle.InitPanic"), format!("{posted:?} was posted"))
}

/// Panics when it is dropped, with another one as payload.
#[derive(Clone, Debug)]
struct Bomb(u8);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 && !std::thread::panicking() {
            panic_any(Self(self.0 - 1));
        }
    }
}

fn explode<T>() -> T {
    panic_any(Bomb(2))
}

/// Runs the function `probe`, if it is one of these.
pub(crate) async fn run(probe: Probe) -> Option<Result<(), Error>> {
    let redact = |_: &str, value: &str| if value.contains("marked") { explode() } else { Redaction::Keep };
    Some(match probe {
        Probe::PanicPayload => Lifecycle::builder().redact(redact).build().run_concurrent(service_fn(handle)).await,
        Probe::PanicPayloadStream => Lifecycle::from_env().run_concurrent(service_fn(stream)).await,
        Probe::PanicPayloadBatch => {
            let work = async |message: Message<Value>| {
                if Do::asked_by(&message.body) == Do::Panic {
                    explode::<()>();
                }
                Ok::<_, Error>(())
            };
            let batch = sqs::batch(work).on_failure(|_| explode());
            Lifecycle::from_env().run_concurrent(batch).await
        }
        Probe::PanicPayloadHooks => {
            let life = Lifecycle::builder()
                .exporter(Exporter)
                .flush(Flush::EveryInvocation)
                .after_response_budget(Duration::from_millis(1))
                .after_response(|_| explode::<std::future::Ready<()>>())
                .after_response(async |_| explode())
                .on_unfinished(|_, _| explode())
                .on_thaw(Duration::ZERO, |_| explode())
                .on_shutdown(async || println!("the last hook"))
                .on_shutdown(explode::<std::future::Ready<()>>)
                .on_shutdown(async || explode())
                .build();
            life.run_concurrent(service_fn(handle)).await
        }
        Probe::PanicPayloadInit => {
            Lifecycle::from_env().init("it", async { explode::<Result<(), Error>>() }).await.map_err(Into::into)
        }
        Probe::PanicPayloadInitBlocking => {
            Lifecycle::from_env().init_blocking("it", explode::<Result<(), Error>>).await.map_err(Into::into)
        }
        Probe::PanicPayloadInitError => {
            let fail = async { Err::<(), Error>(Box::new(Unspeakable)) };
            Lifecycle::from_env().init("it", fail).await.map_err(Into::into)
        }
        _ => return None,
    })
}

async fn handle(event: LambdaEvent<Event>) -> Result<Answer, Error> {
    let invocation = Invocation::current();
    match event.payload.0 {
        Place::Handler => explode(),
        Place::DropOfHandler => {
            let bomb = Bomb(2);
            tokio::task::yield_now().await;
            drop(bomb);
        }
        Place::Encoding => return Ok(Answer(true)),
        Place::Work => invocation.after_response(async { explode() }),
        Place::DropOfWork => invocation.after_response(async {
            let _bomb = Bomb(2);
            pending().await
        }),
        Place::UnfinishedWork => invocation.after_response(pending()),
        Place::RedactedValue => tracing::info_span!("redacted", value = "marked").in_scope(|| ()),
        _ => {}
    }
    Ok(Answer(false))
}

struct Event(Place);

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let event = Value::deserialize(deserializer)?;
        let place = Place::of(&event);
        if place == Place::Decoding { explode() } else { Ok(Self(place)) }
    }
}

struct Answer(bool);

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 { explode() } else { serializer.serialize_bool(true) }
    }
}

#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        explode()
    }
}

impl std::error::Error for Unspeakable {}

#[derive(Debug)]
struct Exporter;

impl SpanExporter for Exporter {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        explode()
    }
}

/// A body of one chunk.
struct Body {
    chunk: Option<bytes::Bytes>,
    panics: bool,
    _bomb: Option<Bomb>,
}

impl futures_core::Stream for Body {
    type Item = Result<bytes::Bytes, Error>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<bytes::Bytes, Error>>> {
        match self.chunk.take() {
            None if self.panics => explode(),
            chunk => std::task::Poll::Ready(chunk.map(Ok)),
        }
    }
}

async fn stream(event: LambdaEvent<Value>) -> Result<StreamResponse<Body>, Error> {
    let place = Place::of(&event.payload);
    let stream = Body {
        chunk: Some(bytes::Bytes::from_static(b"chunk")),
        panics: place == Place::Stream,
        _bomb: (place == Place::DropOfStream).then(|| Bomb(2)),
    };
    Ok(StreamResponse { metadata_prelude: lambda_runtime::MetadataPrelude::default(), stream })
}
