//! reqwest's client in a function: a connection from the Init phase, and spans of its calls. This binary is both the tests and, where `PROBE` names
//! one, the function.

mod function;
mod prices;
#[path = "../../../../tests/support/mod.rs"]
mod support;

use function::Probe;
use lambda_lifecycle_sandbox::function::TraceMode;
use prices::Prices;
use serde_json::json;
use support::{Stage, Tested, ensure, test};

fn main() -> std::process::ExitCode {
    if let Some(probe) = support::named("PROBE") {
        return function::main(probe);
    }
    let mut tests = Vec::new();
    for flavor in ["current_thread", "multi_thread"] {
        tests.push(test(format!("{flavor}: the first call uses the connection of the Init phase"), move || connects(flavor)));
        tests.push(test(format!("{flavor}: without it the first call opens a connection"), move || without(flavor)));
        tests.push(test(format!("{flavor}: a service that cannot be reached is a warning"), move || unreachable(flavor)));
    }
    tests.push(test("the header of a call names its span", header));
    support::run([tests])
}

async fn stage(probe: Probe, flavor: &'static str, url: String) -> Result<Stage, libtest_mimic::Failed> {
    Stage::with(probe, TraceMode::Active, |function| function.env("FLAVOR", flavor).env("PRICES", url)).await
}

async fn connects(flavor: &'static str) -> Tested {
    let prices = Prices::start().await?;
    let stage = stage(Probe::Connects, flavor, prices.url()).await?;
    stage.function.warm_up().await?;
    ensure(prices.connections() == 1 && prices.methods() == ["HEAD"], format!("Init: {prices:?}"))?;
    let said = support::value(&stage.invoke(json!({})).await?)?;
    ensure(said == json!({ "connected": true, "status": 200 }), said.to_string())?;
    ensure(prices.connections() == 1 && prices.methods() == ["HEAD", "GET"], format!("{prices:?}"))
}

async fn without(flavor: &'static str) -> Tested {
    let prices = Prices::start().await?;
    let stage = stage(Probe::NoConnection, flavor, prices.url()).await?;
    stage.function.warm_up().await?;
    ensure(prices.connections() == 0, format!("Init: {prices:?}"))?;
    stage.invoke(json!({})).await?;
    ensure(prices.connections() == 1 && prices.methods() == ["GET"], format!("{prices:?}"))
}

async fn unreachable(flavor: &'static str) -> Tested {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    for url in [format!("http://{nobody}/"), "no URL".to_owned(), "/a/path/alone".to_owned()] {
        let stage = stage(Probe::Connects, flavor, url.clone()).await?;
        let said = support::value(&stage.invoke(json!({})).await?)?;
        ensure(said == json!({ "connected": false, "status": null }), format!("{url}: {said}"))?;
        ensure(stage.reported_as("code", "connection_not_opened").len() == 1, format!("{url}: {:?}", stage.problems()))?;
    }
    Ok(())
}

async fn header() -> Tested {
    let prices = Prices::start().await?;
    let stage = stage(Probe::Connects, "current_thread", prices.url()).await?;
    let answer = stage.invoke(json!({})).await?;
    stage.document(&answer).await?;
    let call =
        stage.only("the call", |document| document.trace_id == answer.trace_id && document.raw["namespace"] == "remote")?;
    let requests = prices.requests();
    let [(_, None), (_, Some(header))] = requests.as_slice() else { return Err(format!("headers: {requests:?}").into()) };
    ensure(header.contains(&answer.trace_id) && header.contains(&format!("Parent={}", call.id)), format!("{header}: {call:?}"))
}
