//! The life of a Rust function on AWS Lambda, in one call.
//!
//! ```text
//!  INIT phase            INVOKE                                                       SHUTDOWN
//!  ──────────            ──────────────────────────────────────────────────────       ────────
//!  1 init                2 deadline        3 trace                 4 after response
//!  set-ups timed,        token cancelled   one tree of X-Ray       background work,
//!  traced, bounded,      before the kill,  subsegments per         flush, all after
//!  reported              typed answer      invocation              the caller has its answer
//! ```
//!
//! - [`Lifecycle`] is the call in `main`; [`Invocation`] is what a handler sees of it.
//! - Stages: [`init`], [`deadline`], [`trace`], [`after_response`]; they run in three layers: [`service`].
//! - Hops in: [`sqs`] for messages from a queue, [`sns`] and [`event_bridge`] for what comes without one.
//! - Hops out: `aws_sdk` for the clients of the AWS SDK, which it also configures and connects, [`http_client`] for any other.
//! - `metrics` (feature `metrics-emf`) is what CloudWatch measures: the library's own metrics, and yours.
//! - [`xray`] is the wire: header, documents, daemon; `xray_api` sends to X-Ray's API where there is no daemon.
//! - [`settings`] is what environment variables can set, in one table; [`Builder`] sets the same in code, and hooks, exporters, redaction.
//!
//! # Every outcome
//!
#![doc = include_str!("../docs/outcomes.md")]

pub mod after_response;
#[cfg(feature = "aws-sdk")]
pub mod aws_sdk;
mod budget;
mod builder;
mod causes;
mod clock;
mod context;
mod cut;
pub mod deadline;
mod decode;
mod directives;
#[cfg(feature = "metrics-emf")]
mod emf;
mod environment;
pub mod event_bridge;
mod export;
mod frozen;
pub mod handler;
mod hop;
pub mod http_client;
mod ids;
pub mod init;
mod invocation;
mod lenient;
mod lifecycle;
pub mod logs;
#[cfg(feature = "metrics-emf")]
pub mod metrics;
#[cfg(not(feature = "metrics-emf"))]
mod metrics;
mod notice;
mod panics;
pub mod runtime;
mod runtime_api;
pub mod service;
pub mod settings;
pub mod shutdown;
pub mod sns;
#[cfg(feature = "sqs")]
pub mod sqs;
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
pub use settings::{Export, TraceParent, Unfinished};
pub use shutdown::ServeError;
pub use trace::{Flush, Trigger};

pub use lambda_runtime::{Error, LambdaEvent, service_fn};

// The crates whose types are in signatures here, in the version that fits.
#[cfg(feature = "aws-sdk")]
pub use aws_config;
#[cfg(feature = "xray-api")]
pub use aws_sdk_xray;
#[cfg(feature = "axum")]
pub use axum;
pub use http;
#[cfg(feature = "http")]
pub use lambda_http;
pub use lambda_runtime;
pub use opentelemetry;
pub use opentelemetry_sdk;
pub use tokio_util::sync::CancellationToken;
pub use tower;
pub use tracing_subscriber;
