//! X-Ray on one machine: the daemon that functions send their documents or OTLP to, the traces it received, and the API.
//!
//! Every document is judged by AWS's published schema of segment documents and by the rules of the Developer Guide page
//! "X-Ray segment documents" that the schema does not have. A document that breaks a rule is kept as [`Rejected`], with the reasons.

mod api;
mod check;
mod daemon;
mod document;
mod drops;
mod forward;
mod graph;
mod json;
mod otlp;
mod outage;
mod rejected;
mod rules;
mod schema;
mod store;
mod tally;
mod trace;

pub use api::Api;
pub use check::{Problem, Severity};
pub use daemon::{Daemon, DaemonBuilder};
pub use document::{Cause, Document, Exception, Frame, Http, Kind, Link, Source};
pub use forward::{ForwardError, Forwarder};
pub use otlp::{OtlpEvent, OtlpSpan};
pub(crate) use outage::{DaemonState, DaemonSwitch, Outage};
pub use rejected::Rejected;
pub use rules::{
    LINKS_PER_DOCUMENT, MAX_ANNOTATIONS, MAX_DATAGRAM_BYTES, MAX_DOCUMENT_BYTES, MAX_NAME_CHARS, MAX_STRING_CHARS,
    MAX_TRACE_BYTES, SHED_ABOVE_BYTES,
};
pub(crate) use schema::compile as compile_schema;
pub use store::{NotSeen, TraceStore};
pub use trace::Trace;
