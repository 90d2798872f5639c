//! Spans as OTLP in datagrams to the X-Ray daemon, as AWS's own OpenTelemetry distributions send them. AWS does not document the format:
//!
//! ```text
//! {"format":"json","version":1}
//! T1S<base64 of an ExportTraceServiceRequest>       T1U where the trace is not sampled
//! ```

mod cut;

use super::{prepared::prepare, wanted::is_sampled};
use crate::{
    notice::{self, Data, Warning},
    xray::{DAEMON_HEADER, Frame},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use opentelemetry::{KeyValue, trace::SpanContext};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{InstrumentationScope as ProtoScope, KeyValue as ProtoAttribute},
    resource::v1::Resource as ProtoResource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use opentelemetry_sdk::{Resource, trace::SpanData};
use prost::Message as _;
use std::sync::{Arc, Once};

const SAMPLED: &[u8] = b"T1S";
const UNSAMPLED: &[u8] = b"T1U";

/// As many spans go into a datagram as leave it this long: a block of 16 KB at the receiver, together with what the kernel adds.
const USUAL: usize = 16_000;

/// The longest datagram, which holds one span, below the 64 KB that the daemon takes.
const MOST: usize = 64_000;

/// The most bytes of a resource, which every datagram repeats. A longer one is cut.
const RESOURCE: usize = 8_000;

/// At most what a field of a message has beside its content: a key of one byte, and a length below 2 MB.
const AROUND: usize = 4;

/// Bytes of a message that a datagram of this length holds.
const fn room(datagram: usize) -> usize {
    (datagram - DAEMON_HEADER.len() - SAMPLED.len()) / 4 * 3
}

/// Whose spans they are, as every datagram says.
pub(super) fn resource_of(resource: &Resource) -> Arc<ProtoResource> {
    let attributes = resource.iter().map(|(key, value)| attribute(KeyValue::new(key.clone(), value.clone())));
    let mut resource = ProtoResource { attributes: attributes.collect(), ..ProtoResource::default() };
    let excess = resource.encoded_len().saturating_sub(RESOURCE);
    resource.dropped_attributes_count = cut::largest(&mut resource.attributes, &mut { excess }, 0);
    if excess > 0 {
        log_once();
    }
    Arc::new(resource)
}

fn attribute(attribute: KeyValue) -> ProtoAttribute {
    ProtoAttribute { key: attribute.key.to_string(), value: Some(attribute.value.into()), ..ProtoAttribute::default() }
}

fn log_once() {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| notice::log(Warning::SpanTooLong, Data::default()));
}

/// Spans on their way into datagrams.
#[derive(Debug)]
pub(super) struct OtlpBatch {
    sampled: Packet,
    unsampled: Packet,
    datagrams: Vec<Vec<u8>>,
    /// Spans that no datagram can hold.
    left_out: u32,
}

impl OtlpBatch {
    pub(super) fn new(resource: &Arc<ProtoResource>) -> Self {
        let packet = |prefix| Packet { prefix, resource: Arc::clone(resource), scopes: Vec::new(), bytes: 0 };
        Self { sampled: packet(SAMPLED), unsampled: packet(UNSAMPLED), datagrams: Vec::new(), left_out: 0 }
    }

    /// Adds a span at the position of its frame. A span that is too long loses its longest parts, and affects no other.
    pub(super) fn push(&mut self, span: &SpanData, frame: &Frame) {
        let sampled = is_sampled(span);
        let mut span = span.clone();
        prepare(&mut span);
        let context = &span.span_context;
        let flags = context.trace_flags().with_sampled(sampled);
        span.span_context = SpanContext::new(frame.trace_id(), context.span_id(), flags, false, context.trace_state().clone());
        span.parent_span_id = frame.parent_id();
        if frame.spans_left_out() > 0 {
            span.attributes.push(KeyValue::new("lambda_lifecycle.spans_left_out", i64::from(frame.spans_left_out())));
        }
        let scope = span.instrumentation_scope.clone();
        let schema_url = scope.schema_url().unwrap_or_default().to_owned();
        let scope = ProtoScope::from((&scope, None));
        let packet = if sampled { &mut self.sampled } else { &mut self.unsampled };
        if !packet.push(Span::from(span), scope, schema_url, &mut self.datagrams) {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// The datagrams of all spans that were added.
    pub(super) fn datagrams(&mut self) -> impl Iterator<Item = &[u8]> {
        self.sampled.close(&mut self.datagrams);
        self.unsampled.close(&mut self.datagrams);
        self.datagrams.iter().map(Vec::as_slice)
    }

    /// Their bytes, about.
    pub(super) fn bytes(&self) -> usize {
        let waiting = self.sampled.bytes + self.unsampled.bytes;
        self.datagrams.iter().map(Vec::len).sum::<usize>() + waiting / 3 * 4
    }

    pub(super) fn left_out(&self) -> u32 {
        self.left_out
    }

    pub(super) fn clear(&mut self) {
        self.datagrams.clear();
        self.left_out = 0;
    }
}

/// The spans of the next datagram.
#[derive(Debug)]
struct Packet {
    prefix: &'static [u8],
    resource: Arc<ProtoResource>,
    scopes: Vec<ScopeSpans>,
    /// Of the message with these spans, at most.
    bytes: usize,
}

impl Packet {
    /// False where the span is longer than a datagram whatever is taken from it.
    fn push(&mut self, mut span: Span, scope: ProtoScope, schema_url: String, datagrams: &mut Vec<Vec<u8>>) -> bool {
        let empty = self.resource.encoded_len() + 3 * AROUND;
        let around = scope.encoded_len() + schema_url.len() + 4 * AROUND;
        match cut::fit(&mut span, room(MOST).saturating_sub(empty + around)) {
            cut::Fit::Whole => {}
            cut::Fit::Cut => log_once(),
            cut::Fit::TooLong => {
                log_once();
                return false;
            }
        }
        let bytes = span.encoded_len() + AROUND;
        let known = |scopes: &[ScopeSpans]| {
            scopes.iter().position(|known| known.scope.as_ref() == Some(&scope) && known.schema_url == schema_url)
        };
        let with_scope = if known(&self.scopes).is_some() { 0 } else { around };
        if self.bytes + bytes + with_scope > room(USUAL) {
            self.close(datagrams);
        }
        if self.scopes.is_empty() {
            self.bytes = empty;
        }
        self.bytes += bytes;
        match known(&self.scopes) {
            Some(at) => self.scopes[at].spans.push(span),
            None => {
                self.bytes += around;
                self.scopes.push(ScopeSpans { scope: Some(scope), spans: vec![span], schema_url });
            }
        }
        true
    }

    /// Makes a datagram of the spans, if there are any.
    fn close(&mut self, datagrams: &mut Vec<Vec<u8>>) {
        if self.scopes.is_empty() {
            return;
        }
        let resource = Some(ProtoResource::clone(&self.resource));
        let spans = ResourceSpans { resource, scope_spans: std::mem::take(&mut self.scopes), schema_url: String::new() };
        let message = ExportTraceServiceRequest { resource_spans: vec![spans] }.encode_to_vec();
        let mut text = Vec::from(DAEMON_HEADER);
        text.extend_from_slice(self.prefix);
        let start = text.len();
        text.resize(start + message.len().div_ceil(3) * 4, 0);
        let written = STANDARD.encode_slice(&message, &mut text[start..]).unwrap_or_default();
        text.truncate(start + written);
        datagrams.push(text);
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests;
