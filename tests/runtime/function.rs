//! The functions under test.

use crate::support::function_main;
use bytes::Bytes;
use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, Report, service_fn, xray::Redaction};
use lambda_runtime::{BoxFuture, FunctionResponse, MetadataPrelude, SnapStartResource, StreamResponse};
use serde_json::{Value, json};
use std::{pin::Pin, process::ExitCode, sync::Arc};
use tokio::runtime::Builder;

pub(crate) fn main(probe: &str) -> ExitCode {
    let concurrent = std::env::var_os("AWS_LAMBDA_MAX_CONCURRENCY").is_some();
    let builder = if concurrent { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    function_main(builder, run(probe))
}

async fn run(probe: &str) -> Result<(), Error> {
    let mut life = Lifecycle::builder().after_response(async |report: Report| {
        let (id, outcome) = (report.invocation.request_id(), report.outcome.map_or("none", |outcome| outcome.as_str()));
        println!("{}", json!({ "ended": id, "as": outcome }));
    });
    if probe == "shutdown" {
        life = life.on_shutdown(async || println!("shut down"));
    }
    if probe == "no-variable" {
        life = life.trace_variable(false);
    }
    if probe == "redacting" {
        life = life.redact(
            |_, value| if value.contains("no stock") { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep },
        );
    }
    let mut life = life.build();
    for name in ["foundation", "house"] {
        if let Ok(does) = std::env::var("SNAPSTART") {
            life = life.register_snapstart_resource(Arc::new(Resource { name, does }));
        }
    }
    if probe == "init-fails" {
        life.init("database", async { Err::<(), _>("no database") }).await?;
    }
    life.run_concurrent(service_fn(handler)).await
}

/// Says when its hooks run, and does what its variable says: `house after_restore fails`.
struct Resource {
    name: &'static str,
    does: String,
}

impl Resource {
    async fn run(&self, hook: &'static str) -> Result<(), Error> {
        println!("{}", json!({ "hook": format!("{} {hook}", self.name) }));
        match self.does.strip_prefix(self.name).and_then(|does| does.trim().strip_prefix(hook)).map(str::trim) {
            Some("fails") => Err("no new connection".into()),
            Some("panics") => panic!("fuse was lit"),
            _ => Ok(()),
        }
    }
}

impl SnapStartResource for Resource {
    fn before_snapshot(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.run("before_snapshot"))
    }

    fn after_restore(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.run("after_restore"))
    }
}

type Chunks = Pin<Box<dyn futures_core::Stream<Item = Result<Bytes, Error>> + Send>>;

async fn handler(event: LambdaEvent<Value>) -> Result<FunctionResponse<Value, Chunks>, Error> {
    let does = event.payload["do"].as_str().unwrap_or_default().to_owned();
    match does.as_str() {
        "fail" => Err("no stock".into()),
        "panic" => panic!("fuse was lit"),
        "raw" => {
            let invocation = Invocation::current();
            let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let raw = json!({ "client": text(invocation.client_context()), "identity": text(invocation.cognito_identity()) });
            Ok(FunctionResponse::BufferedResponse(raw))
        }
        "variable" => Ok(FunctionResponse::BufferedResponse(json!(std::env::var("_X_AMZN_TRACE_ID").ok()))),
        "context" => Ok(FunctionResponse::BufferedResponse(serde_json::to_value(&event.context)?)),
        "stream" | "stream and fail" => {
            let stream = futures_util::stream::unfold(0, move |chunk| {
                let fails = does.ends_with("fail");
                async move {
                    match chunk {
                        0..3 => Some((Ok(Bytes::from(format!("chunk {chunk};"))), chunk + 1)),
                        3 if fails => Some((Err("pipe burst".into()), 4)),
                        _ => None,
                    }
                }
            });
            let metadata_prelude = MetadataPrelude::default();
            Ok(FunctionResponse::StreamingResponse(StreamResponse { metadata_prelude, stream: Box::pin(stream) }))
        }
        _ => Ok(FunctionResponse::BufferedResponse(event.payload)),
    }
}
