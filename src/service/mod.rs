//! The three `tower` layers.
//!
//! ```text
//!  GET /next ─► A runtime    headers, raw body, the moment after the response was posted
//!                 ▼
//!               lambda_runtime: POST response or error
//!                 ▼
//!               B handler    the typed event, the response, the error, the panic
//!                 ▼
//!               C http       method, route, status (HTTP only)
//!                 ▼
//!               the user's handler or router
//! ```
//!
//! [`Lifecycle`](crate::Lifecycle) stacks them. To use your own `lambda_runtime::Runtime`, stack them yourself: each layer
//! carries its configuration.
//!
//! ```no_run
//! use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn};
//! use lambda_runtime::{Runtime, tower::Layer};
//! use serde_json::Value;
//! use std::time::Duration;
//!
//! # async fn main_() -> Result<(), Error> {
//! let life = Lifecycle::builder().grace(Duration::from_millis(200)).build();
//! let handler = service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(event.payload));
//! Runtime::new(life.handler_layer().layer(handler)).layer(life.runtime_layer()).run().await
//! # }
//! ```
//!
//! A `tower` layer that you add with [`Lifecycle::layer`](crate::Lifecycle::layer) is outside of all three, around the whole
//! invocation:
//!
//! ```no_run
//! use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn};
//! use lambda_runtime::{LambdaInvocation, tower::util::MapRequestLayer};
//! use serde_json::Value;
//!
//! # async fn main_() -> Result<(), Error> {
//! let life = Lifecycle::from_env().layer(MapRequestLayer::new(|event: LambdaInvocation| {
//!     tracing::info!(bytes = event.body.len(), "an event arrived");
//!     event
//! }));
//! life.run_concurrent(service_fn(async |event: LambdaEvent<Value>| Ok::<_, Error>(event.payload))).await
//! # }
//! ```
//!
//! Each layer also works alone:
//!
//! | layer, used alone | works | does not |
//! |---|---|---|
//! | [`RuntimeLayer`] | [`Invocation::current`](crate::Invocation::current), the trace, work after the response, hooks | the outcome is not recorded, and no invocation is a fault because of it; no response at the deadline |
//! | [`HandlerLayer`] | `Invocation::current`, the token, [`within`](crate::Invocation::within), the fallback, typed errors, ids in the log | nothing is traced; work after the response starts when the handler has ended |
//! | `HttpLayer` (feature `http`) | the invocation in the request's extensions, the token, 504 at the deadline | as `HandlerLayer` |

#[cfg(feature = "http")]
mod adapter;
mod alone;
mod begin;
#[cfg(feature = "axum")]
mod extract;
mod handler;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod http_stream;
#[cfg(feature = "http")]
mod path;
mod payload;
#[cfg(feature = "axum")]
mod route;
mod runtime;
mod stream;
#[cfg(test)]
mod tests;

#[cfg(feature = "http")]
pub use adapter::HttpAdapter;
pub use handler::{HandlerFuture, HandlerLayer, HandlerService};
#[cfg(feature = "http")]
pub use http::{HttpFuture, HttpLayer, HttpService};
#[cfg(feature = "http")]
pub use http_stream::{HttpStreamAdapter, HttpStreamFuture, ResponseStream};
pub use payload::Payload;
#[cfg(feature = "axum")]
pub(crate) use route::with_route;
#[cfg(feature = "axum")]
pub use route::{RouteLayer, RouteService};
pub use runtime::{RuntimeFuture, RuntimeLayer, RuntimeService};
pub use stream::TrackedStream;
