//! Writes documents: the first attempt that fits.

use std::ops::Range;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::SpanData;

use super::{
    Document, DocumentOptions, Flags, Frame, MAX_DOCUMENT, Report,
    attributes::{Mappings, Slot},
    json::{self, quoted},
    render::{Level, Render, derived_id, is_server},
};
use crate::xray::hex;

/// Turns finished spans into documents, and writes them directly into a buffer.
///
/// ```
/// use lambda_lifecycle::xray::{DocumentOptions, DocumentWriter, Frame};
/// # use opentelemetry::{InstrumentationScope, trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState}};
/// # use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
/// # let now = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_478_293_361_271);
/// # let span = SpanData {
/// #     span_context: SpanContext::new(TraceId::from(1_u128 << 96), SpanId::from(2), TraceFlags::SAMPLED, false, TraceState::NONE),
/// #     parent_span_id: SpanId::from(3), parent_span_is_remote: false, span_kind: SpanKind::Internal, name: "price".into(),
/// #     start_time: now, end_time: now, attributes: vec![], dropped_attributes_count: 0, events: SpanEvents::default(),
/// #     links: SpanLinks::default(), status: Status::Unset, instrumentation_scope: InstrumentationScope::default(),
/// # };
/// let mut writer = DocumentWriter::new(DocumentOptions::new().annotations(["order.id"]));
/// let mut buffer = Vec::new();
/// let document = writer.write(&span, &Frame::of(&span), &mut buffer);
/// assert_eq!(document.len, buffer.len());
/// assert_eq!(
///     String::from_utf8(buffer).unwrap(),
///     r#"{"name":"price","id":"0000000000000002","trace_id":"1-00000001-000000000000000000000000","#.to_owned()
///         + r#""parent_id":"0000000000000003","type":"subsegment","start_time":1478293361.271000,"end_time":1478293361.271000}"#,
/// );
/// ```
#[derive(Debug, Default)]
pub struct DocumentWriter {
    options: DocumentOptions,
    mappings: Mappings,
    place: Place,
    /// The bytes of the fields `trace_id`, `parent_id` and `type` of the last document.
    parent_fields: Range<usize>,
}

/// Where the last document stands in its trace. The next one often stands beside it, and its fields are the same.
#[derive(Debug, Default)]
struct Place {
    of: Option<(TraceId, SpanId, bool)>,
    /// `trace_id`, `parent_id` and `type`.
    fields: Vec<u8>,
}

impl Place {
    fn set(&mut self, frame: &Frame) {
        let of = Some((frame.trace_id, frame.parent_id, frame.segment));
        if self.of == of {
            return;
        }
        self.of = of;
        let fields = &mut self.fields;
        fields.clear();
        fields.extend_from_slice(b",\"trace_id\":\"");
        fields.extend_from_slice(&hex::xray_trace_id(frame.trace_id));
        if frame.parent_id != SpanId::INVALID {
            fields.extend_from_slice(b"\",\"parent_id\":\"");
            fields.extend_from_slice(&hex::span_id(frame.parent_id));
        }
        fields.extend_from_slice(if frame.segment { b"\"" } else { b"\",\"type\":\"subsegment\"" });
    }
}

impl DocumentWriter {
    /// A writer with its buffers. Keep it for the life of the process.
    pub fn new(options: DocumentOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// The bytes of the fields `trace_id`, `parent_id` and `type` of the last document, in the buffer it was written to.
    pub(in crate::xray) fn parent_fields(&self) -> Range<usize> {
        self.parent_fields.clone()
    }

    /// Appends the document of `span` to `out`. If it would be larger than [`MAX_DOCUMENT`], parts are removed until it fits:
    /// long values, metadata, stacks, annotations, links, in this order.
    pub fn write(&mut self, span: &SpanData, frame: &Frame, out: &mut Vec<u8>) -> Document {
        let Some(redactor) = &self.options.redactor else { return self.write_as_is(span, frame, out) };
        let mut span = span.clone();
        let redacted = redactor.span(&mut span);
        let mut document = self.write_as_is(&span, frame, out);
        document.report.redacted = redacted;
        document
    }

    fn write_as_is(&mut self, span: &SpanData, frame: &Frame, out: &mut Vec<u8>) -> Document {
        // Enough for most documents, so that a new buffer rarely grows.
        out.reserve(1_024);
        let start = out.len();
        self.mappings.sort(&span.attributes, is_server(span));
        self.place.set(frame);
        let mut level = Level::Full;
        loop {
            self.mappings.restart();
            let (flags, mut report, parent_fields) =
                Render::new(span, frame, &self.place.fields, &self.options, &mut self.mappings, level, out).document();
            let len = out.len() - start;
            if len <= MAX_DOCUMENT || level == Level::Bare {
                self.parent_fields = parent_fields;
                report.truncated = u32::from(level > Level::Full);
                return Document { len, flags, report };
            }
            out.truncate(start);
            level = level.next();
        }
    }
}

impl Render<'_> {
    /// Returns the positions of the document's trace and parent too.
    pub(super) fn document(mut self) -> (Flags, Report, Range<usize>) {
        let (span, frame) = (self.span, self.frame);
        self.out.extend_from_slice(b"{\"name\":");
        let origin = self.origin();
        let renamed = self.name(origin);
        let mut id = span.span_context.span_id();
        if id == SpanId::INVALID {
            self.report.sanitized += 1;
            id = derived_id(id, span.name.len() as u64);
        }
        self.out.extend_from_slice(b",\"id\":\"");
        self.out.extend_from_slice(&hex::span_id(id));
        self.out.push(b'"');
        let begins = self.out.len();
        self.out.extend_from_slice(self.place);
        let parent_fields = begins..self.out.len();
        self.out.extend_from_slice(quoted!("start_time").as_bytes());
        json::time(self.out, span.start_time);
        if frame.in_progress {
            self.out.extend_from_slice(b",\"in_progress\":true");
        } else {
            self.out.extend_from_slice(quoted!("end_time").as_bytes());
            if span.end_time < span.start_time {
                self.report.clamped += 1;
            }
            json::time(self.out, span.end_time.max(span.start_time));
        }
        if let Some(namespace) = origin.namespace() {
            json::key(self.out, quoted!("namespace"));
            json::plain(self.out, namespace);
        }
        let flags = self.flags(origin);
        if !self.mappings.are_unmapped() {
            self.text_field(quoted!("user"), Slot::User);
            self.http();
        }
        self.aws(origin);
        if !self.mappings.are_unmapped() {
            self.sql();
        }
        if self.status_error() || !span.events.is_empty() || self.get(Slot::ExceptionMessage).is_some() {
            self.cause();
        }
        if !span.attributes.is_empty() && self.level < Level::NoAnnotations {
            self.annotations();
        }
        if !span.links.is_empty() && self.level < Level::NoLinks {
            self.links();
        }
        self.metadata(renamed);
        self.out.push(b'}');
        (flags, self.report, parent_fields)
    }
}
