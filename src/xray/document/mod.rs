//! Finished spans as X-Ray segment documents.

use std::{borrow::Cow, fmt};

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::SpanData;

use super::redaction::{Redaction, Redactor};

mod attributes;
mod blocks;
mod cause;
mod details;
mod json;
mod letters;
mod name;
mod render;
mod stack;
mod writer;

pub(super) use json::as_text;
pub(crate) use json::non_finite;
pub use writer::DocumentWriter;

/// The most bytes of a document: X-Ray accepts 64 KB, and the daemon's header line needs some of them.
pub const MAX_DOCUMENT: usize = 64_000;

/// Shared by all documents of a process.
#[derive(Clone, Default)]
pub struct DocumentOptions {
    annotations: Vec<Cow<'static, str>>,
    redactor: Option<Redactor>,
    log_groups: Vec<Box<str>>,
    sdk: Option<(Box<str>, Box<str>)>,
}

impl DocumentOptions {
    /// No annotations chosen, nothing redacted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Attribute keys that become annotations, which X-Ray indexes for search. Two other kinds of keys always become annotations:
    /// those in a span's own attribute `aws.xray.annotations`, and those with the prefix `annotation.`, which is removed.
    pub fn annotations<K: Into<Cow<'static, str>>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        for key in keys {
            let key = key.into();
            if let Err(at) = self.annotations.binary_search(&key) {
                self.annotations.insert(at, key);
            }
        }
        self
    }

    /// Sees every value that would be sent with its key, before anything is cut or written: attributes of spans, events and
    /// links, and exceptions (`exception.type`, `exception.message`, `exception.stacktrace`). The span's name has the key
    /// `span.name`, its status `status.description`, and its events' names `event.name`. Numbers and booleans are shown as text,
    /// arrays element by element: an array with a changed element becomes an array of texts. May be called more than once for a
    /// value.
    pub fn redact(mut self, redactor: impl Fn(&str, &str) -> Redaction + Send + Sync + 'static) -> Self {
        self.redactor = Some(Redactor::new(redactor));
        self
    }

    /// The CloudWatch log groups of this function, which the invocation's document names so that the console finds the logs.
    pub fn log_groups<G: Into<Box<str>>>(mut self, groups: impl IntoIterator<Item = G>) -> Self {
        self.log_groups.extend(groups.into_iter().map(Into::into));
        self
    }

    /// Name and version of the library, for `aws.xray` in the invocation's document.
    pub fn sdk(mut self, name: impl Into<Box<str>>, version: impl Into<Box<str>>) -> Self {
        self.sdk = Some((name.into(), version.into()));
        self
    }
}

impl fmt::Debug for DocumentOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DocumentOptions")
            .field("annotations", &self.annotations)
            .field("redactor", &self.redactor.is_some())
            .field("log_groups", &self.log_groups)
            .field("sdk", &self.sdk)
            .finish()
    }
}

/// The position of one document in its trace, and its data beyond the span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    trace_id: TraceId,
    parent_id: SpanId,
    segment: bool,
    in_progress: bool,
    main: bool,
    left_out: u32,
}

impl Frame {
    /// The span's own trace and parent. A span without a parent becomes a segment, because X-Ray rejects subsegments without a
    /// parent.
    pub fn of(span: &SpanData) -> Self {
        Self::under(span.span_context.trace_id(), span.parent_span_id)
    }

    /// A subsegment under `parent`. In Lambda, the invocation's span has the Parent of the header.
    pub fn under(trace_id: TraceId, parent_id: SpanId) -> Self {
        let segment = parent_id == SpanId::INVALID;
        Self { trace_id, parent_id, segment, in_progress: false, main: false, left_out: 0 }
    }

    /// A segment, which is a separate node in the map. Inside Lambda, use it only for work that does not belong to the function's
    /// segment.
    pub fn segment(mut self) -> Self {
        self.segment = true;
        self
    }

    /// The span is not over. X-Ray replaces the document when the finished one with the same id arrives.
    pub fn in_progress(mut self) -> Self {
        self.in_progress = true;
        self
    }

    /// The document of an invocation, which names the log groups and the library.
    pub fn invocation(mut self) -> Self {
        self.main = true;
        self
    }

    /// The number of the trace's spans that were not sent. It is written to the metadata as `lambda_lifecycle.spans_left_out`.
    pub fn left_out(mut self, spans: u32) -> Self {
        self.left_out = spans;
        self
    }

    #[cfg(feature = "otlp-udp")]
    pub(crate) fn spans_left_out(&self) -> u32 {
        self.left_out
    }

    pub(super) fn is_segment(&self) -> bool {
        self.segment
    }

    /// The trace the document belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The parent segment or subsegment; invalid if there is none.
    pub fn parent_id(&self) -> SpanId {
        self.parent_id
    }
}

/// The changes that made a span fit the format. A span is never dropped for an invalid field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Names and keys with characters that X-Ray rejects, and ids that were zero.
    pub sanitized: u32,
    /// Strings and stacks that were too long.
    pub cut: u32,
    /// Ends before the start, which were replaced by the start.
    pub clamped: u32,
    /// Attributes that should be annotations but are metadata: more than 50, arrays, or a second key of the same spelling.
    pub moved: u32,
    /// Links, events and exceptions beyond a document's limits. Their number is in the metadata.
    pub left_out: u32,
    /// Values that the redactor replaced or removed.
    pub redacted: u32,
    /// Documents that were larger than [`MAX_DOCUMENT`] and lost a part, which the metadata names as
    /// `lambda_lifecycle.truncated`.
    pub truncated: u32,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.sanitized += other.sanitized;
        self.cut += other.cut;
        self.clamped += other.clamped;
        self.moved += other.moved;
        self.left_out += other.left_out;
        self.redacted += other.redacted;
        self.truncated += other.truncated;
    }
}

/// X-Ray's three flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// The callee failed: HTTP 5xx, or an error without a known cause.
    pub fault: bool,
    /// The caller made an error: HTTP 4xx.
    pub error: bool,
    /// Too many requests; always with `error`.
    pub throttle: bool,
}

impl Flags {
    /// True if any flag is set.
    pub fn any(self) -> bool {
        self.fault || self.error || self.throttle
    }
}

/// The result of [`DocumentWriter::write`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Document {
    /// Length in bytes, at most [`MAX_DOCUMENT`].
    pub len: usize,
    /// The flags of the document.
    pub flags: Flags,
    /// The changes that were necessary.
    pub report: Report,
}
