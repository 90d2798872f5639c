//! The pages in `docs/` whose code needs `opentelemetry-otlp` or reqwest, so that it is compiled.
#![cfg(doctest)]

#[doc = include_str!("../../../docs/otlp-collector.md")]
pub struct Collector;

#[doc = include_str!("../../../docs/otlp-vendor.md")]
pub struct Vendor;

#[doc = include_str!("../../../docs/two-backends.md")]
pub struct TwoBackends;

#[doc = include_str!("../../../docs/http-clients.md")]
pub struct HttpClients;
