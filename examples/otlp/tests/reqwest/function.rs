//! The functions under test, as `docs/http-clients.md` writes them.

use http::{Request, Response};
use lambda_lifecycle::{
    Error, LambdaEvent, Lifecycle,
    http_client::{self, TraceLayer},
    service_fn,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::process::ExitCode;
use tokio::runtime::Builder;
use tower::{Layer, Service, ServiceExt};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Probe {
    /// Opens a connection in the Init phase, and asks for a price for each event.
    Connects,
    /// Opens none.
    NoConnection,
}

pub(crate) fn main(probe: Probe) -> ExitCode {
    let runtime = match std::env::var("FLAVOR").as_deref() {
        Ok("multi_thread") => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    crate::support::function_main(runtime, run(probe))
}

async fn run(probe: Probe) -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let url = std::env::var("PRICES")?;
    let prices = traced(reqwest::Client::new());
    let connected = match probe {
        Probe::Connects => Some(life.init("prices", http_client::connect(prices.clone(), &url)).await?),
        Probe::NoConnection => None,
    };
    life.run(service_fn(async |_: LambdaEvent<Value>| {
        let request = Request::get(&url).body(reqwest::Body::default());
        let response = match request {
            Ok(request) => prices.clone().oneshot(request).await.ok(),
            Err(_) => None,
        };
        let status = response.map(|response| response.status().as_u16());
        Ok::<_, Error>(json!({ "connected": connected, "status": status }))
    }))
    .await
}

fn traced(
    client: reqwest::Client,
) -> impl Service<Request<reqwest::Body>, Response = Response<reqwest::Body>, Error = reqwest::Error> + Clone {
    TraceLayer::new().layer(tower::service_fn(move |request: Request<reqwest::Body>| {
        let client = client.clone();
        async move { client.execute(request.try_into()?).await.map(Response::from) }
    }))
}
