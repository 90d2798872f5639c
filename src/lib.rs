//! Initializers, deadlines, X-Ray traces and work after the response for Rust functions on AWS Lambda.
//!
//! ```no_run
//! use lambda_lifecycle::{Error, Invocation, LambdaEvent, Lifecycle, service_fn};
//!
//! #[tokio::main(flavor = "local")]
//! async fn main() -> Result<(), Error> {
//!     let life = Lifecycle::from_env();
//!     let greeting = life.init("greeting", load()).await?;
//!     life.run(service_fn(async |name: LambdaEvent<String>| {
//!         Invocation::current().after_response(async { tracing::info!("the caller has its response") });
//!         Ok::<_, Error>(format!("{greeting}, {}", name.payload))
//!     }))
//!     .await
//! }
//!
//! async fn load() -> Result<String, Error> {
//!     Ok("Hello".to_owned())
//! }
//! ```
//!
//! | stage | what it does |
//! |---|---|
//! | [`init`] | runs initializers in the Init phase: timed, traced, with a budget |
//! | [`deadline`] | cancels a token and sends a typed response before Lambda kills the process |
//! | [`trace`] | sends one tree of X-Ray subsegments for each invocation |
//! | [`after_response`] | runs background work and hooks before the next event |
//! | [`shutdown`] | runs hooks and a last flush on SIGTERM |
//!
//! - [`Lifecycle`] is the call in `main`. [`Builder`] and [`settings`] are its options, in code and as environment variables.
//! - [`Invocation`] is the invocation as a handler sees it.
//! - [`sqs`], `kinesis`, `dynamodb`, `kafka`, [`sns`] and [`event_bridge`] are event sources with typed handlers; [`batch`] is the engine
//!   of those with batches.
//! - `aws_sdk` configures, connects and traces clients of the AWS SDK, and [`http_client`] any other client.
//! - [`propagation`] describes the trace contexts that are read from callers and sent with calls.
//! - [`service`] has the `tower` layers, to use one of them alone.
//! - [`xray`] is X-Ray's format: header, documents, daemon. `xray_api` sends to X-Ray's API.
//! - `metrics` records metrics for CloudWatch: the library's and your own.
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqs` (default) | [`sqs`]: typed messages and partial batch responses |
//! | `kinesis` | `kinesis`: typed records of Kinesis streams, in order |
//! | `dynamodb` | `dynamodb`: typed changes of DynamoDB tables, in order |
//! | `kafka` | `kafka`: typed records of Kafka topics, in order |
//! | `http` | `Lifecycle::serve` for any `Service` of `http::Request` |
//! | `axum` | `http`, and [`Invocation`] as an argument of axum handlers |
//! | `aws-sdk` | `aws_sdk`: configuration, connections and spans for clients of the AWS SDK |
//! | `testing` | `testing`: an invocation for unit tests |
//! | `xray-api` | `xray_api`: sends spans to X-Ray's API, for environments without a daemon |
//! | `otlp-udp` | `Export::OtlpUdp`: sends spans as OTLP to the daemon's port, for Transaction Search |
//! | `metrics-emf` | `metrics`: metrics in CloudWatch's embedded metric format |
//! | `metrics` | `metrics-emf`, and `metrics::Recorder` for the macros of the `metrics` crate |
//! | `log` | records of the `log` crate in the log |
//!
#![doc = include_str!("../docs/outcomes.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod after_response;
#[cfg(feature = "aws-sdk")]
pub mod aws_sdk;
#[cfg(feature = "_batch")]
pub mod batch;
mod budget;
mod builder;
mod causes;
mod clock;
mod context;
mod cut;
pub mod deadline;
mod decode;
mod directives;
mod durable;
#[cfg(feature = "dynamodb")]
pub mod dynamodb;
#[cfg(feature = "metrics-emf")]
mod emf;
mod environment;
pub mod event_bridge;
mod export;
mod frozen;
pub mod handler;
mod headers;
mod hop;
pub mod http_client;
mod ids;
pub mod init;
mod invocation;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kinesis")]
pub mod kinesis;
mod lenient;
mod lifecycle;
pub mod logs;
#[cfg(feature = "metrics-emf")]
pub mod metrics;
#[cfg(not(feature = "metrics-emf"))]
mod metrics;
mod notice;
mod panics;
pub mod propagation;
pub mod runtime;
mod runtime_api;
mod scan;
pub mod service;
pub mod settings;
pub mod shutdown;
pub mod sns;
#[cfg(feature = "sqs")]
pub mod sqs;
#[cfg(any(feature = "kinesis", feature = "dynamodb"))]
mod stream;
mod subscriber;
#[cfg(feature = "testing")]
pub mod testing;
mod thread_end;
pub mod trace;
mod urls;
pub mod xray;
#[cfg(feature = "xray-api")]
pub mod xray_api;

pub use builder::Builder;
pub use environment::{Environment, EnvironmentError, InitializationType};
pub use init::InitError;
pub use invocation::{AnnotationValue, DeadlineExceeded, Invocation, Outcome, Report};
#[cfg(feature = "http")]
pub use lifecycle::{HttpLifecycleService, HttpStreamLifecycleService};
pub use lifecycle::{Lifecycle, LifecycleService};
pub use propagation::{CorrelationId, Propagator};
pub use settings::{Export, TraceParent, Unfinished};
pub use shutdown::ServeError;
pub use trace::{Flush, Trigger};

pub use lambda_runtime::{Error, LambdaEvent, service_fn};

// The crates whose types occur in public signatures, in the matching version.
#[cfg(feature = "aws-sdk")]
pub use aws_config;
#[cfg(feature = "xray-api")]
pub use aws_sdk_xray;
#[cfg(feature = "axum")]
pub use axum;
pub use http;
#[cfg(feature = "http")]
pub use http_body;
#[cfg(feature = "http")]
pub use lambda_http;
pub use lambda_runtime;
pub use opentelemetry;
pub use opentelemetry_sdk;
pub use tokio_util::sync::CancellationToken;
pub use tower;
pub use tracing_subscriber;

/// Compiles the code of the pages.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/http-function.md")]
#[doc = include_str!("../docs/queue-worker.md")]
#[doc = include_str!("../docs/kinesis-worker.md")]
#[doc = include_str!("../docs/dynamodb-worker.md")]
#[doc = include_str!("../docs/kafka-worker.md")]
#[doc = include_str!("../docs/concurrency.md")]
#[doc = include_str!("../docs/cost.md")]
#[doc = include_str!("../docs/coming-from/go.md")]
#[doc = include_str!("../docs/coming-from/lambda-otel-lite.md")]
#[doc = include_str!("../docs/coming-from/lambda_http.md")]
#[doc = include_str!("../docs/coming-from/lambda_runtime.md")]
#[doc = include_str!("../docs/coming-from/middy.md")]
#[doc = include_str!("../docs/coming-from/powertools.md")]
#[doc = include_str!("../docs/coming-from/xray-sdks.md")]
struct Pages;
