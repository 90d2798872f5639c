//! X-Ray: the tracing header, documents, and their way to the daemon.

mod document;
mod header;
mod hex;
mod propagator;

pub use self::{
    document::{Document, DocumentOptions, DocumentWriter, Flags, Frame, MAX_DOCUMENT, Redaction, Report},
    header::{Sampled, TRACE_HEADER, TraceHeader, format_trace_id},
    propagator::Propagator,
};
