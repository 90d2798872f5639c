#![doc = include_str!("../../docs/trace.md")]

mod blocked;
mod delivery;
mod exporters;
mod filter;
mod foreign_parent;
mod ids;
mod init_spans;
mod recorder;
mod scope;
mod span;
mod spans;
mod tracer;
mod trigger;

pub(crate) use blocked::{report_blocked, report_shutdown};
#[cfg(feature = "xray-api")]
pub(crate) use delivery::document_options;
pub(crate) use delivery::{deliver, resolve};
pub use exporters::Flush;
pub(crate) use exporters::{
    AnyExporter, export, flush_at_shutdown, flushes_at_shutdown, has_exporters, install as install_exporters,
};
pub(crate) use filter::{RecordingFilter, set_recording};
pub(crate) use foreign_parent::foreign_parent;
pub(crate) use ids::{ProcessIds, reseed};
pub(crate) use init_spans::{adopt_init, is_in_init};
#[cfg(feature = "xray-api")]
pub(crate) use recorder::is_within_lambda;
pub(crate) use recorder::{Recorder, SpanRegistry, layer, layer_is_taken, span_registry};
pub(crate) use scope::{Scope, has_context, is_recorded, outgoing_header};
pub(crate) use span::{begin, context_without_span, exception, finish};
pub(crate) use spans::SpanBuffer;
pub(crate) use tracer::Span;
pub use trigger::Trigger;
