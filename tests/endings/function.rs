//! The functions under test, each as a user would write it.

use axum::{Router, routing::get};
use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, service_fn};
use lambda_runtime::StreamResponse;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::{
    future::pending,
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

pub(crate) fn main(probe: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run(probe)) {
        Ok(()) => ExitCode::SUCCESS,
        // What `fn main() -> Result<(), Error>` does.
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run(probe: &str) -> Result<(), Error> {
    let life = Lifecycle::from_env();
    match probe {
        "value" => life.run(service_fn(value)).await,
        "constructor" => life.run(service_fn(constructor)).await,
        "deserialize" => life.run(service_fn(async |_: LambdaEvent<BadDeserialize>| Ok::<_, Error>(1))).await,
        "serialize" => life.run(service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(BadSerialize(event.payload)))).await,
        "stream" => life.run(service_fn(stream)).await,
        "http" => life.serve(Router::new().route("/slow/{kind}", get(slow)).route("/orders/{id}", get(async || "order"))).await,
        "init-fails" => life.init("database", async { Err::<(), _>("connection refused") }).await.map_err(Into::into),
        "init-panics" => life.init("database", async { panic_now::<Result<(), Error>>() }).await.map_err(Into::into),
        "init-hangs" => {
            let cache = life.init("cache", async { Ok::<_, Error>(()) });
            let database = life.init("database", pending::<Result<(), Error>>());
            tokio::try_join!(cache, database)?;
            Ok(())
        }
        "init-works" => {
            static PLACE: lambda_lifecycle::InitCell<String> = lambda_lifecycle::InitCell::new();
            life.init_cell("place", &PLACE, async { Ok::<_, Error>("here".to_owned()) }).await?;
            life.run(service_fn(async |_: LambdaEvent<Value>| Ok::<_, Error>(PLACE.get().cloned()))).await
        }
        other => Err(format!("no probe is named {other}").into()),
    }
}

fn panic_now<T>() -> T {
    panic!("fuse was lit")
}

/// Ends as the event asks it to.
async fn value(event: LambdaEvent<Value>) -> Result<Value, Error> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let invocation = Invocation::current();
    if let Some(note) = event.payload["after"].as_str() {
        let note = note.to_owned();
        invocation.after_response(async move { tracing::info!(note, "after the response") });
    }
    let answer = || json!({ "calls": calls, "header": invocation.trace_header().map(|header| header.to_string()) });
    match event.payload["do"].as_str() {
        Some("fail") => return Err("no stock".into()),
        Some("panic") => panic_now(),
        Some("log") => {
            let secret = event.payload["secret"].as_str().unwrap_or_default().to_owned();
            tracing::info!(secret, "a line of the user's");
            work(&secret).await;
        }
        Some("big") => return Ok(json!("x".repeat(6 * 1024 * 1024 + 200))),
        Some("hang") => pending::<()>().await,
        Some("stop") => {
            invocation.cancellation_token().cancelled().await;
            return Ok(json!({ "stopped": true, "remaining_ms": u64::try_from(invocation.remaining().as_millis())? }));
        }
        Some("within") => {
            let bounded = invocation.within(pending::<()>()).await;
            return Ok(json!({ "within": bounded.expect_err("nothing ends").to_string() }));
        }
        Some("sleep") => tokio::time::sleep(Duration::from_millis(20)).await,
        Some("late work") => invocation.after_response(pending()),
        Some("bad work") => invocation.after_response(async { panic_now() }),
        _ => {}
    }
    Ok(answer())
}

#[tracing::instrument(skip_all)]
async fn work(_: &str) {
    tracing::debug!("at work");
}

#[allow(clippy::needless_pass_by_value, clippy::manual_async_fn, reason = "the panic is in the making of the future")]
fn constructor(event: LambdaEvent<Value>) -> impl Future<Output = Result<Value, Error>> {
    if event.payload["do"] == "panic" {
        panic_now::<()>();
    }
    async { Ok(json!(1)) }
}

struct BadDeserialize;

impl<'de> Deserialize<'de> for BadDeserialize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if Value::deserialize(deserializer)?["do"] == "panic" {
            panic_now::<()>();
        }
        Ok(Self)
    }
}

struct BadSerialize(Value);

impl Serialize for BadSerialize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0["do"].as_str() {
            Some("panic") => panic_now(),
            Some("fail") => Err(serde::ser::Error::custom("not today")),
            _ => serializer.serialize_u8(1),
        }
    }
}

type Chunks = std::pin::Pin<Box<dyn futures_core::Stream<Item = Result<bytes::Bytes, Error>> + Send>>;

async fn stream(event: LambdaEvent<Value>) -> Result<StreamResponse<Chunks>, Error> {
    let ending = event.payload["do"].as_str().unwrap_or_default().to_owned();
    let stream = futures_util::stream::unfold(0, move |chunk| {
        let ending = ending.clone();
        async move {
            match (chunk, ending.as_str()) {
                (0..3, _) => Some((Ok(bytes::Bytes::from(format!("chunk {chunk};"))), chunk + 1)),
                (_, "panic") => panic_now(),
                (3, "fail") => Some((Err("pipe burst".into()), 4)),
                (_, "hang") => pending().await,
                _ => None,
            }
        }
    });
    Ok(StreamResponse { metadata_prelude: lambda_runtime::MetadataPrelude::default(), stream: Box::pin(stream) })
}

async fn slow(axum::extract::Path(kind): axum::extract::Path<String>) -> String {
    if kind == "hang" {
        pending::<()>().await;
    }
    kind
}
