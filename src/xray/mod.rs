//! X-Ray's formats: the tracing header, spans as segment documents, and their transport to the daemon.
//!
//! Each part can be used alone. [`TraceHeader`] and its [`Propagator`] carry the trace. [`DocumentWriter`] turns a finished span
//! of the OpenTelemetry SDK into a document. [`Batch`] and [`Budget`] keep a trace within X-Ray's limits. [`UdpEmitter`] sends at
//! a rate that the daemon's buffer can take.
//!
//! ```
//! use lambda_lifecycle::xray::{Sampled, TraceHeader};
//!
//! let header = TraceHeader::parse("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1");
//! assert_eq!(header.sampled(), Sampled::Yes);
//! assert_eq!(header.to_traceparent().as_deref(), Some("00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"));
//! ```

mod budget;
mod document;
mod header;
mod hex;
mod packing;
mod propagator;
mod redaction;
pub(crate) mod traceparent;
mod transport;

pub use self::{
    budget::{Batch, Budget, MAX_TRACE},
    document::{Document, DocumentOptions, DocumentWriter, Flags, Frame, MAX_DOCUMENT, Report},
    header::{Sampled, TRACE_HEADER, TraceHeader, format_trace_id},
    propagator::Propagator,
    redaction::Redaction,
    transport::{
        AddressError, DAEMON_ADDRESS_VARIABLE, DAEMON_HEADER, DaemonAddress, Sent, StdoutEmitter, UdpEmitter, UdpError, UdpLoss,
        UdpStats,
    },
};
pub(crate) use document::non_finite;
pub(crate) use propagator::Decided;
pub(crate) use redaction::Redactor;
