//! The names of the headers, which are those of message attributes too.

use crate::notice::{self, Data, Warning};
use std::sync::Once;

pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
pub(crate) const BAGGAGE: &str = "baggage";
/// The header and the message attribute in which the correlation id is sent on.
pub(crate) const X_CORRELATION_ID: &str = "x-correlation-id";

/// Logs once for each header that a caller's value was beyond its limit.
pub(super) fn log_cut(name: &'static str, once: &Once) {
    once.call_once(|| notice::log(Warning::TraceContextCut, Data::name(name)));
}
