//! One attempt at one document.

use std::borrow::Cow;

use opentelemetry::{
    Array, KeyValue, Value,
    trace::{SpanId, SpanKind, Status},
};
use opentelemetry_sdk::trace::SpanData;

use super::{
    DocumentOptions, Frame, MAX_DOCUMENT, Report,
    attributes::{Mappings, Slot},
    json,
};

/// The parts that are removed. Each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Full,
    ShortValues,
    NoMetadata,
    NoStacks,
    NoAnnotations,
    NoLinks,
    Bare,
}

impl Level {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Full => Self::ShortValues,
            Self::ShortValues => Self::NoMetadata,
            Self::NoMetadata => Self::NoStacks,
            Self::NoStacks => Self::NoAnnotations,
            Self::NoAnnotations => Self::NoLinks,
            Self::NoLinks | Self::Bare => Self::Bare,
        }
    }
}

/// An id for a part of a span's document. It is unique, and the same part gets the same id in every attempt.
pub(super) fn derived_id(span: SpanId, part: u64) -> SpanId {
    let seed = u64::from_be_bytes(span.to_bytes()).wrapping_add((part + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    SpanId::from((mixed ^ mixed >> 31).max(1))
}

/// For conventions whose attributes mean the other side, which differs between a server and a client.
pub(super) fn is_server(span: &SpanData) -> bool {
    matches!(span.span_kind, SpanKind::Server | SpanKind::Consumer)
}

/// An object under construction, which is removed if it stays empty.
pub(super) struct Open {
    before: usize,
    body: usize,
}

pub(super) struct Render<'a> {
    pub(super) span: &'a SpanData,
    pub(super) frame: &'a Frame,
    /// The fields that say where the document stands.
    pub(super) place: &'a [u8],
    pub(super) options: &'a DocumentOptions,
    pub(super) mappings: &'a mut Mappings,
    pub(super) level: Level,
    pub(super) report: Report,
    pub(super) out: &'a mut Vec<u8>,
    /// The status has a text that no exception has.
    pub(super) undescribed_status: bool,
    end: usize,
}

impl Open {
    pub(super) fn start(&self) -> usize {
        self.before
    }
}

impl<'a> Render<'a> {
    pub(super) fn new(
        span: &'a SpanData,
        frame: &'a Frame,
        place: &'a [u8],
        options: &'a DocumentOptions,
        mappings: &'a mut Mappings,
        level: Level,
        out: &'a mut Vec<u8>,
    ) -> Self {
        let end = out.len() + MAX_DOCUMENT;
        Self { span, frame, place, options, mappings, level, report: Report::default(), out, undescribed_status: false, end }
    }

    pub(super) fn status_error(&self) -> bool {
        matches!(self.span.status, Status::Error { .. })
    }

    /// True if this attempt is too large already, so the rest need not be written.
    pub(super) fn is_over(&self) -> bool {
        self.out.len() > self.end
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&'a KeyValue> {
        self.mappings.get(&self.span.attributes, slot)
    }

    /// The value of a slot, unless it is empty.
    #[inline(never)]
    pub(super) fn text(&mut self, slot: Slot) -> Option<Cow<'a, str>> {
        let attribute = self.get(slot)?;
        let text = match &attribute.value {
            Value::String(text) => Cow::Borrowed(text.as_str()),
            other => Cow::Owned(json::as_text(other)),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    /// The general limit of strings: 250 characters.
    pub(super) fn string_limit(&self) -> usize {
        if self.level == Level::Bare { 100 } else { 250 }
    }

    /// Writes a string of the general length; true if it was cut.
    #[inline(never)]
    pub(super) fn string(&mut self, text: &str) -> bool {
        let cut = json::cut_string(self.out, text, self.string_limit());
        self.report.cut += u32::from(cut);
        cut
    }

    /// Writes a slot as a string field. If it is cut, the full value goes into the metadata, if there is room.
    #[inline(never)]
    pub(super) fn text_field(&mut self, key: &'static str, slot: Slot) -> bool {
        let Some(text) = self.text(slot) else { return false };
        json::key(self.out, key);
        if !self.string(&text) {
            self.mappings.mark_used(slot);
        }
        true
    }

    /// Writes a slot as a non-negative integer, even if its value is text.
    #[inline(never)]
    pub(super) fn number_field(&mut self, key: &'static str, slot: Slot) {
        if let Some(KeyValue { value: Value::I64(number @ 0..), .. }) = self.get(slot) {
            json::key(self.out, key);
            json::integer(self.out, *number);
            self.mappings.mark_used(slot);
        } else if let Some(number) = self.text(slot).and_then(|text| text.trim().parse::<u64>().ok()) {
            json::key(self.out, key);
            json::unsigned(self.out, number);
            self.mappings.mark_used(slot);
        }
    }

    /// Opens an object whose key is made with `quoted!` and a brace.
    #[inline(never)]
    pub(super) fn open(&mut self, key: &'static str) -> Open {
        let before = self.out.len();
        json::key(self.out, key);
        Open { before, body: self.out.len() }
    }

    /// As [`open`](Self::open), where it is known whether a comma comes before the key.
    pub(super) fn open_as(&mut self, text: &'static str) -> Open {
        let before = self.out.len();
        self.out.extend_from_slice(text.as_bytes());
        Open { before, body: self.out.len() }
    }

    #[inline(never)]
    pub(super) fn close(&mut self, open: &Open) {
        if self.out.len() == open.body {
            self.out.truncate(open.before);
        } else {
            self.out.push(b'}');
        }
    }

    /// Any value.
    #[inline(never)]
    pub(super) fn value(&mut self, value: &Value, limit: usize) {
        match value {
            Value::String(text) => self.report.cut += u32::from(json::cut_string(self.out, text.as_str(), limit)),
            Value::Array(array) => self.array(array, limit),
            scalar => self.scalar(scalar),
        }
    }

    fn scalar(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => json::boolean(self.out, *value),
            Value::I64(value) => json::integer(self.out, *value),
            Value::F64(value) => json::float(self.out, *value),
            other => json::string(self.out, &other.as_str()),
        }
    }

    fn array(&mut self, array: &Array, limit: usize) {
        self.out.push(b'[');
        match array {
            Array::Bool(values) => self.elements(values, limit, |value| Value::Bool(*value)),
            Array::I64(values) => self.elements(values, limit, |value| Value::I64(*value)),
            Array::F64(values) => self.elements(values, limit, |value| Value::F64(*value)),
            Array::String(values) => self.elements(values, limit, |value| Value::String(value.clone())),
            other => self.elements(&[other.to_string()], limit, |value| Value::String(value.clone().into())),
        }
        self.out.push(b']');
    }

    fn elements<T>(&mut self, values: &[T], limit: usize, value: impl Fn(&T) -> Value) {
        let most = if self.level == Level::Full { usize::MAX } else { 20 };
        self.report.cut += u32::from(values.len() > most);
        for element in values.iter().take(most) {
            if self.is_over() {
                return;
            }
            json::comma(self.out);
            self.value(&value(element), limit);
        }
    }
}
