//! The function under test, with the client and the runtime that its variables name.

use crate::support::named;
use lambda_lifecycle::{Error, Export, Flush, LambdaEvent, Lifecycle, service_fn};
use opentelemetry_aws::detector::LambdaResourceDetector;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::resource::ResourceDetector as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{future::pending, process::ExitCode, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Client {
    /// reqwest's blocking one, which `opentelemetry-otlp` takes by default.
    Default,
    /// reqwest's asynchronous one.
    Reqwest,
    Hyper,
    Grpc,
}

/// When the exporter is called. `FLUSH` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Policy {
    #[default]
    EveryInvocation,
    EveryHour,
    OnShutdown,
}

impl Policy {
    fn flush(self) -> Flush {
        match self {
            Self::EveryInvocation => Flush::EveryInvocation,
            Self::EveryHour => Flush::Every(Duration::from_secs(3_600)),
            Self::OnShutdown => Flush::OnShutdown,
        }
    }
}

/// The work that an event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Work,
    Fail,
    /// Waits until the deadline.
    Hang,
    /// Work after the response, too.
    Later,
}

pub(crate) fn main(client: Client) -> ExitCode {
    let mut builder = match std::env::var("FLAVOR").as_deref() {
        Ok("multi_thread") => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    match builder.worker_threads(2).enable_all().build().expect("a runtime").block_on(run(client)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn exporter(client: Client) -> Result<SpanExporter, Error> {
    Ok(match client {
        Client::Default => SpanExporter::builder().with_http().build()?,
        Client::Reqwest => SpanExporter::builder().with_http().with_http_client(reqwest::Client::new()).build()?,
        Client::Hyper => {
            let hyper = HyperClient::with_default_connector(Duration::from_secs(10), None);
            SpanExporter::builder().with_http().with_http_client(hyper).build()?
        }
        Client::Grpc => {
            let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT")?;
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?
        }
    })
}

async fn run(client: Client) -> Result<(), Error> {
    for (key, value) in LambdaResourceDetector.detect().iter() {
        println!("{}", json!({ "detected": key.as_str(), "value": value.to_string() }));
    }
    let builder = Lifecycle::builder();
    // The default client blocks.
    let here = std::env::var("HERE").is_ok();
    let builder = if here { builder.async_exporter(exporter(client)?) } else { builder.exporter(exporter(client)?) };
    let life = builder
        .export(Export::None)
        .flush(named::<Policy>("FLUSH").unwrap_or_default().flush())
        .resource_attribute("service.namespace", "shop")
        .resource_attribute("team", "in code")
        .build();
    life.run_concurrent(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let ask = Ask::deserialize(&event.payload)?;
    work().await;
    match ask {
        Ask::Work => {}
        Ask::Fail => return Err("no stock".into()),
        Ask::Hang => pending().await,
        Ask::Later => lambda_lifecycle::Invocation::current().after_response(later()),
    }
    Ok(json!(1))
}

#[tracing::instrument]
async fn work() {}

#[tracing::instrument]
async fn later() {}
