#![doc = include_str!("../../docs/trace.md")]

mod blocked;
mod delivery;
mod exporters;
mod filter;
mod foreign_parent;
mod init_spans;
mod layer;
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
pub(crate) use init_spans::adopt_init;
pub(crate) use layer::{SpanRegistry, layer, layer_is_taken, span_registry};
pub(crate) use recorder::Recorder;
#[cfg(feature = "xray-api")]
pub(crate) use recorder::is_within_lambda;
pub(crate) use scope::{Scope, is_recorded, outgoing_header};
pub(crate) use span::{begin, finish};
pub(crate) use tracer::{Span, exception};
pub use trigger::Trigger;
