//! The function under test: it makes as many spans as the event asks for.

use crate::support::function_main;
use aws_sdk_xray::{
    Client,
    config::{BehaviorVersion, Config, Credentials, Region, retry::RetryConfig},
};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, Report, service_fn, xray::Redaction, xray_api::XRayApi};
use serde_json::{Value, json};
use std::{env, process::ExitCode};
use tokio::runtime::Builder;

pub(crate) fn main() -> ExitCode {
    function_main(Builder::new_current_thread(), run())
}

async fn run() -> Result<(), Error> {
    let life = match env::var("XRAY_ENDPOINT") {
        Err(_) => Lifecycle::from_env(),
        Ok(endpoint) => {
            let api = XRayApi::new(client(endpoint));
            let counted = api.clone();
            Lifecycle::builder()
                .xray_api(api)
                .annotations(["size"])
                .redact(|key, _| if key == "secret" { Redaction::Replace("(redacted)".into()) } else { Redaction::Keep })
                .after_response(move |_: Report| {
                    println!("counted: {:?}", counted.counts());
                    async {}
                })
                .build()
        }
    };
    life.run(service_fn(async |event: LambdaEvent<Value>| {
        for number in 0..event.payload["spans"].as_u64().unwrap_or(0) {
            step(number);
        }
        Ok::<_, Error>(json!("done"))
    }))
    .await
}

#[tracing::instrument(name = "step", fields(size = "L", color = "red", secret = "marked"))]
fn step(number: u64) {}

fn client(endpoint: String) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https());
    let credentials = Credentials::new("id", "secret", None, None, "test");
    let with = env::var_os("NO_CREDENTIALS").is_none();
    Client::from_conf(if with { config.credentials_provider(credentials) } else { config }.build())
}
