//! The three places to stand: a `tower` layer each.
//!
//! ```text
//!  GET /next ─► A runtime    headers, raw body, the moment after the response was posted
//!                 ▼
//!               lambda_runtime: POST response or error
//!                 ▼
//!               B handler    the typed event, the answer, the error, the panic
//!                 ▼
//!               C http       method, route, status (HTTP only)
//!                 ▼
//!               the user's handler or router
//! ```
//!
//! [`Lifecycle`](crate::Lifecycle) stacks them. With a `lambda_runtime::Runtime` of your own, stack them yourself:
//!
//! ```no_run
//! use lambda_lifecycle::service::{HandlerLayer, RuntimeLayer};
//! use lambda_runtime::{Error, LambdaEvent, Runtime, service_fn, tower::Layer};
//! use serde_json::Value;
//!
//! # async fn main_() -> Result<(), Error> {
//! let handler = service_fn(|event: LambdaEvent<Value>| async move { Ok::<_, Error>(event.payload) });
//! Runtime::new(HandlerLayer::new().layer(handler)).layer(RuntimeLayer::new()).run().await
//! # }
//! ```

mod begin;
#[cfg(feature = "axum")]
mod extract;
mod handler;
#[cfg(feature = "http")]
mod http;
mod payload;
#[cfg(feature = "axum")]
mod route;
mod runtime;
mod stream;
#[cfg(test)]
mod tests;

pub use handler::{HandlerFuture, HandlerLayer, HandlerService};
#[cfg(feature = "http")]
pub use http::{HttpFuture, HttpLayer, HttpService};
pub use payload::Payload;
#[cfg(feature = "axum")]
pub(crate) use route::with_route;
pub use runtime::{RuntimeFuture, RuntimeLayer, RuntimeService};
pub use stream::TrackedStream;
