//! The functions under test.

use bytes::Bytes;
use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, Report, service_fn};
use lambda_runtime::{FunctionResponse, MetadataPrelude, StreamResponse};
use serde_json::{Value, json};
use std::{pin::Pin, process::ExitCode};

pub(crate) fn main(probe: &str) -> ExitCode {
    let concurrent = std::env::var_os("AWS_LAMBDA_MAX_CONCURRENCY").is_some();
    let mut builder =
        if concurrent { tokio::runtime::Builder::new_multi_thread() } else { tokio::runtime::Builder::new_current_thread() };
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
    match runtime.block_on(run(probe)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run(probe: &str) -> Result<(), Error> {
    let mut life = Lifecycle::builder().after_response(async |report: Report| {
        let (id, outcome) = (report.invocation.request_id(), report.outcome.map_or("none", |outcome| outcome.as_str()));
        println!("{}", json!({ "ended": id, "as": outcome }));
    });
    if probe == "shutdown" {
        life = life.on_shutdown(async || println!("shut down"));
    }
    let life = life.build();
    if probe == "init-fails" {
        life.init("database", async { Err::<(), _>("no database") }).await?;
    }
    life.run_concurrent(service_fn(handler)).await
}

type Chunks = Pin<Box<dyn futures_core::Stream<Item = Result<Bytes, Error>> + Send>>;

async fn handler(event: LambdaEvent<Value>) -> Result<FunctionResponse<Value, Chunks>, Error> {
    let does = event.payload["do"].as_str().unwrap_or_default().to_owned();
    match does.as_str() {
        "fail" => Err("no stock".into()),
        "panic" => panic!("fuse was lit"),
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
