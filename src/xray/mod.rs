//! The wire: X-Ray's header and documents.

mod header;
mod hex;

pub use header::{Sampled, TRACE_HEADER, TraceHeader, format_trace_id};
