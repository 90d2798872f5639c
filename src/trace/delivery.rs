//! From finished spans to documents on their way.

use crate::Invocation;
use opentelemetry::Context;

/// Tells X-Ray that an invocation has begun, so that one which is killed is visible.
pub(crate) fn announce(_invocation: &Invocation, _context: &Context) {}

/// Sends what has finished.
pub(crate) async fn deliver(_invocation: &Invocation) {}
