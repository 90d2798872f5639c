//! X-Ray, exactly: the tracing header, spans as segment documents, and their way to the daemon.
//!
//! The pieces stand alone: [`TraceHeader`] and its [`Propagator`]; [`DocumentWriter`], which turns a finished span of the
//! OpenTelemetry SDK into a document; [`Batch`] and [`Budget`], which keep a trace within what X-Ray takes; and [`UdpEmitter`],
//! which sends at a pace that the daemon's buffer survives.

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
pub(crate) use redaction::Redactor;
