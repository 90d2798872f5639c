//! The functions under test, each as a user would write it.

use crate::support::function_main;
use aws_config::SdkConfig;
use aws_sdk_polly::{
    presigning::PresigningConfig,
    types::{OutputFormat, VoiceId},
};
use aws_sdk_sqs::{
    Client,
    config::{ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef},
    error::BoxError,
};
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use http_body_util::Empty;
use hyper_util::{client::legacy, rt::TokioExecutor};
use lambda_lifecycle::{
    Error, LambdaEvent, Lifecycle,
    aws_sdk::{self, ConnectOnly, HttpsClient, Roots, TraceInterceptor},
    http_client, service_fn,
};
use lambda_runtime::{Runtime, tower::Layer as _};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    process::ExitCode,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::runtime::Builder;

const QUEUE: &str = "https://localhost/123456789012/orders";

/// The functions. `PROBE` names the one that a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Probe {
    /// Returns the configuration of its clients.
    Configuration,
    /// Returns why a bundle that its code has is refused.
    Bundle,
    /// Calls a URL without the SDK.
    Http,
    /// Opens a connection in the Init phase, and sends a message for each event.
    Connects,
    /// The same, with a call of the service.
    ConnectsWithCall,
    /// The same, and drops connections on thaw.
    DropsOnThaw,
    /// The same, with the loop of `lambda_runtime`.
    ConnectsUnderLambdaRuntime,
    /// Opens no connection in the Init phase.
    NoConnection,
    /// Opens three connections in the Init phase, and sends nothing.
    SlowConnections,
    /// Presigns a URL, and then sends a message.
    Presigns,
}

pub(crate) fn main(probe: Probe) -> ExitCode {
    function_main(Builder::new_multi_thread(), run(probe))
}

async fn run(probe: Probe) -> Result<(), Error> {
    match probe {
        Probe::Configuration => {
            let life = Lifecycle::from_env();
            let config = aws_sdk::config().await;
            life.run(service_fn(async |_: LambdaEvent<Value>| describe(&config).await)).await
        }
        Probe::Bundle => {
            let refused = HttpsClient::with_roots(Roots::Pem(b"no certificate".to_vec()));
            let refused = refused.expect_err("it is not a bundle").to_string();
            Lifecycle::from_env().run(service_fn(async |_: LambdaEvent<Value>| Ok::<_, Error>(&refused))).await
        }
        Probe::Http => over_plain_http().await,
        Probe::DropsOnThaw => {
            let https = HttpsClient::from_env();
            let thawed = https.clone();
            let life = Lifecycle::builder().on_thaw(Duration::ZERO, move |_| thawed.drop_connections()).build();
            serve(life, &https.loader().load().await, probe).await
        }
        Probe::Presigns => {
            let life = Lifecycle::from_env();
            let config = aws_sdk::config().await;
            let traced = aws_sdk_polly::config::Builder::from(&config).interceptor(TraceInterceptor::new()).build();
            let (speech, queue) = (aws_sdk_polly::Client::from_conf(traced), Client::new(&config));
            life.run(service_fn(async |_: LambdaEvent<Value>| {
                let hour = PresigningConfig::expires_in(Duration::from_secs(3_600))?;
                let (format, voice) = (OutputFormat::Mp3, VoiceId::Joanna);
                let presigned =
                    speech.synthesize_speech().text("tea").output_format(format).voice_id(voice).presigned(hour).await?;
                let headers: Vec<_> = presigned.headers().map(|(name, _)| name.to_owned()).collect();
                queue.send_message().queue_url(QUEUE).message_body("{}").send().await?;
                Ok::<_, Error>(json!({ "uri": presigned.uri(), "headers": headers }))
            }))
            .await
        }
        Probe::SlowConnections => {
            let life = Lifecycle::from_env();
            let config = aws_sdk::config().await;
            let client = Client::new(&config);
            // As much as the first one has: none may take it all.
            for _ in 0..3 {
                life.init("queue", aws_sdk::connect(first_call(&client))).await?;
            }
            life.run(service_fn(async |_: LambdaEvent<Value>| Ok::<_, Error>("served"))).await
        }
        Probe::Connects | Probe::ConnectsWithCall | Probe::ConnectsUnderLambdaRuntime | Probe::NoConnection => {
            serve(Lifecycle::from_env(), &aws_sdk::config().await, probe).await
        }
    }
}

async fn first_call(client: &Client) -> Result<aws_sdk_sqs::operation::send_message::SendMessageOutput, SendError> {
    client.send_message().queue_url(QUEUE).message_body("{}").customize().interceptor(ConnectOnly).send().await
}

type SendError = aws_sdk_sqs::error::SdkError<aws_sdk_sqs::operation::send_message::SendMessageError>;

/// Opens a connection as `probe` says, and sends a message for each event. Responds with what became of it.
async fn serve(life: Lifecycle, config: &SdkConfig, probe: Probe) -> Result<(), Error> {
    let calls = Calls::default();
    let client = Client::from_conf(aws_sdk_sqs::config::Builder::from(config).interceptor(calls.clone()).build());
    let connected = match probe {
        Probe::NoConnection => None,
        Probe::ConnectsWithCall => Some(life.init("queue", aws_sdk::connect(client.list_queues().send())).await?),
        _ => Some(life.init("queue", aws_sdk::connect(first_call(&client))).await?),
    };
    let handler = service_fn(async |_: LambdaEvent<Value>| {
        let before = calls.attempts();
        let sent = client.send_message().queue_url(QUEUE).message_body("{}").send().await;
        let error = sent.err().map(|error| format!("{error:?}"));
        Ok::<_, Error>(json!({
            "connected": connected,
            "sent": error.is_none(),
            "attempts": calls.attempts() - before,
            "error": error,
        }))
    });
    if probe != Probe::ConnectsUnderLambdaRuntime {
        return life.run(handler).await;
    }
    let runtime = Runtime::new(life.handler_layer().layer(handler)).layer(life.runtime_layer());
    life.snapstart_resources().into_iter().fold(runtime, Runtime::register_snapstart_resource).run().await
}

/// Counts the attempts of all calls.
#[derive(Clone, Debug, Default)]
struct Calls(Arc<AtomicU64>);

impl Calls {
    fn attempts(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[dyn_dispatch_hint]
impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "attempts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The settings that clients would use, and the endpoint of a client of SQS.
async fn describe(config: &SdkConfig) -> Result<Value, Error> {
    use aws_sdk_sqs::config::ProvideCredentials;
    let credentials = match config.credentials_provider() {
        Some(provider) => match provider.provide_credentials().await {
            Ok(credentials) => json!({
                "key": credentials.access_key_id(),
                "secret": credentials.secret_access_key(),
                "token": credentials.session_token(),
            }),
            Err(error) => json!({ "error": error.to_string() }),
        },
        None => Value::Null,
    };
    let reached = Reached::default();
    let client = Client::new(config);
    let refused = client.list_queues().customize().interceptor(reached.clone()).send().await;
    Ok(json!({
        "region": config.region().map(ToString::to_string),
        "credentials": credentials,
        "endpoint": reached.0.get(),
        "refused": refused.err().map(|error| format!("{error:?}")),
        "attempts": config.retry_config().map(aws_config::retry::RetryConfig::max_attempts),
        "retry mode": config.retry_config().map(|retry| format!("{:?}", retry.mode())),
        "connect timeout": config.timeout_config().and_then(aws_config::timeout::TimeoutConfig::connect_timeout).map(|time| time.as_millis()),
    }))
}

/// Keeps the endpoint of a call, and ends the call before it is sent.
#[derive(Clone, Debug, Default)]
struct Reached(Arc<OnceLock<String>>);

#[dyn_dispatch_hint]
impl Intercept for Reached {
    fn name(&self) -> &'static str {
        "endpoint"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.get_or_init(|| context.request().uri().to_owned());
        Err("the endpoint is all that is asked for".into())
    }
}

async fn over_plain_http() -> Result<(), Error> {
    let life = Lifecycle::from_env();
    let url = std::env::var("URL")?;
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Empty<bytes::Bytes>>();
    let connected = life.init("prices", http_client::connect(&client, &url)).await?;
    let refused = life.init("nowhere", http_client::connect(&client, "not a URL")).await?;
    let uri: http::Uri = url.parse()?;
    life.run(service_fn(async |_: LambdaEvent<Value>| {
        let response = client.get(uri.clone()).await?;
        Ok::<_, Error>(json!({ "connected": connected, "refused": refused, "status": response.status().as_u16() }))
    }))
    .await
}
