#![doc = include_str!("../links.md")]
#![doc = include_str!("../../docs/trace.md")]

mod adopt;
mod blocked;
mod client;
mod delivery;
mod errors;
mod filter;
mod init_spans;
mod layer;
mod remote;
mod replay;
mod scope;
mod span;
mod tracer;
mod trigger;

pub use crate::export::Flush;
pub(crate) use adopt::adopt_init;
pub(crate) use blocked::{report_blocked, report_shutdown};
pub(crate) use client::ClientSpan;
pub(crate) use delivery::{deliver, export, flush, resolve, sending_of};
pub(crate) use errors::record as record_error;
pub(crate) use filter::{Recording, RecordingFilter};
pub(crate) use init_spans::discard_init;
pub(crate) use layer::{SpanRegistry, layer, layer_is_taken, span_registry, unrecorded};
pub(crate) use remote::remote;
pub(crate) use scope::{Scope, is_recorded, outgoing_fields, outgoing_header};
pub(crate) use span::{begin, finish};
pub use tracer::{Span, SpanTracer, TracerProvider};
pub(crate) use tracer::{TRACER, exception, install_global};
pub use trigger::Trigger;
