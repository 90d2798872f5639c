//! Exporters, services, events, responses and streams that fail, panic, hang or are not ready.

use super::panic_now;
use crate::{
    behavior::{Do, Exporting},
    support::wait_at,
};
use lambda_lifecycle::{Error, LambdaEvent};
use lambda_runtime::StreamResponse;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use std::{
    future::pending,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Has the behavior that `EXPORTER` selects.
#[derive(Debug)]
pub(super) struct Exporter;

impl SpanExporter for Exporter {
    fn set_resource(&mut self, resource: &opentelemetry_sdk::Resource) {
        let name = resource.get(&opentelemetry::Key::from_static_str("service.name"));
        println!("spans of {}", name.map(|name| name.to_string()).unwrap_or_default());
    }

    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        match Exporting::of_this_process() {
            Exporting::Hangs => pending().await,
            Exporting::Blocks => std::thread::sleep(Duration::from_secs(60)),
            Exporting::Panics => panic_now(),
            Exporting::Fails => return Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure("collector is down".into())),
            Exporting::WaitsAtGate => wait_at(&std::env::var("EXPORTER_GATE").unwrap_or_default()).await,
            Exporting::Lists => {
                println!("{}", json!({ "call": batch.len() }));
                batch.iter().for_each(list);
            }
            Exporting::Works => {}
        }
        println!("exported {}", batch.iter().map(|span| span.name.as_ref()).collect::<Vec<_>>().join(", "));
        Ok(())
    }
}

fn list(span: &SpanData) {
    let context = &span.span_context;
    let attributes: Vec<&str> = span.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    println!(
        "{}",
        json!({ "exported": {
            "name": span.name,
            "trace_id": context.trace_id().to_string(),
            "span_id": context.span_id().to_string(),
            "parent_id": span.parent_span_id.to_string(),
            "scope": span.instrumentation_scope.name(),
            "flags": context.trace_flags().to_u8(),
            "attributes": attributes,
            "events": span.events.iter().map(|event| event.name.as_ref()).collect::<Vec<_>>(),
        } })
    );
}

/// A service that is not ready, as the event before the last asked for.
pub(super) struct Unready;

impl lambda_runtime::Service<LambdaEvent<Value>> for Unready {
    type Response = u32;
    type Error = Error;
    type Future = std::future::Ready<Result<u32, Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Error>> {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        std::task::Poll::Ready(match CALLS.fetch_add(1, Ordering::Relaxed) {
            0 => Err("pool is shut".into()),
            1 => panic_now(),
            _ => Ok(()),
        })
    }

    fn call(&mut self, _: LambdaEvent<Value>) -> Self::Future {
        std::future::ready(Ok(1))
    }
}

#[allow(clippy::needless_pass_by_value, clippy::manual_async_fn, reason = "the panic is in the making of the future")]
pub(super) fn constructor(event: LambdaEvent<Value>) -> impl Future<Output = Result<Value, Error>> {
    if Do::asked_by(&event.payload) == Do::Panic {
        panic_now::<()>();
    }
    async { Ok(json!(1)) }
}

pub(super) struct BadDeserialize;

impl<'de> Deserialize<'de> for BadDeserialize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if Do::asked_by(&Value::deserialize(deserializer)?) == Do::Panic {
            panic_now::<()>();
        }
        Ok(Self)
    }
}

pub(super) struct BadSerialize(pub(super) Value);

impl Serialize for BadSerialize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Do::asked_by(&self.0) {
            Do::Panic => panic_now(),
            Do::Fail => Err(serde::ser::Error::custom("not today")),
            _ => serializer.serialize_u8(1),
        }
    }
}

#[derive(Debug)]
struct BadError;

impl std::fmt::Display for BadError {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic_now()
    }
}

impl std::error::Error for BadError {}

type Chunks = std::pin::Pin<Box<dyn futures_core::Stream<Item = Result<bytes::Bytes, Error>> + Send>>;

pub(super) async fn stream(event: LambdaEvent<Value>) -> Result<StreamResponse<Chunks>, Error> {
    let act = Do::asked_by(&event.payload);
    let stream = futures_util::stream::unfold(0, move |chunk| {
        let act = act.clone();
        async move {
            match (chunk, &act) {
                (0..3, _) => Some((Ok(bytes::Bytes::from(format!("chunk {chunk};"))), chunk + 1)),
                (_, Do::Panic) => panic_now(),
                (_, Do::Endless) => {
                    std::thread::sleep(Duration::from_millis(1));
                    Some((Ok(bytes::Bytes::from_static(b"chunk 0;chunk 1;chunk 2;")), chunk))
                }
                (3, Do::BadError) => Some((Err(Box::new(BadError) as Error), 4)),
                (3, Do::Fail) => Some((Err("pipe burst".into()), 4)),
                (_, Do::Hang) => pending().await,
                _ => None,
            }
        }
    });
    Ok(StreamResponse { metadata_prelude: lambda_runtime::MetadataPrelude::default(), stream: Box::pin(stream) })
}

pub(super) async fn slow(axum::extract::Path(kind): axum::extract::Path<String>) -> String {
    if kind == "hang" {
        pending::<()>().await;
    }
    kind
}
