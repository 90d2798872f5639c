//! Finished spans in the format of their destination.

#[cfg(feature = "otlp-udp")]
use super::otlp::OtlpBatch;
use crate::xray::{Batch, Budget, DocumentOptions, DocumentWriter, Frame, StdoutEmitter};
use opentelemetry::TraceId;
use opentelemetry_sdk::trace::SpanData;

/// Turns spans into documents, or into OTLP.
#[derive(Debug)]
pub(super) struct Encoder {
    writer: DocumentWriter,
    documents: Batch,
    #[cfg(feature = "otlp-udp")]
    otlp: Option<OtlpBatch>,
}

impl Encoder {
    pub(super) fn new(options: DocumentOptions, #[cfg(feature = "otlp-udp")] otlp: Option<OtlpBatch>) -> Self {
        Self {
            writer: DocumentWriter::new(options),
            documents: Batch::new(),
            #[cfg(feature = "otlp-udp")]
            otlp,
        }
    }

    pub(super) fn push(&mut self, span: &SpanData, frame: &Frame) {
        #[cfg(feature = "otlp-udp")]
        if let Some(otlp) = &mut self.otlp {
            return otlp.push(span, frame);
        }
        self.documents.push(&mut self.writer, span, frame);
    }

    /// Adds the invocation's own span, if it is among them, and decides what the trace's budget has room for, which says how many were left out.
    /// OTLP has no budget.
    pub(super) fn finish(&mut self, own: Option<(&SpanData, Frame)>, budget: &mut Budget) -> u32 {
        #[cfg(feature = "otlp-udp")]
        if let Some(otlp) = &mut self.otlp {
            if let Some((span, frame)) = own {
                let left_out = frame.spans_left_out() + otlp.left_out();
                otlp.push(span, &frame.left_out(left_out));
            }
            return otlp.left_out();
        }
        match own {
            Some((span, frame)) => self.documents.finish(&mut self.writer, span, frame, budget),
            None => self.documents.select(budget, TraceId::INVALID, 0),
        }
    }

    /// The data for the daemon, one item for each datagram.
    #[cfg(feature = "otlp-udp")]
    pub(super) fn packed(&mut self) -> impl Iterator<Item = &[u8]> {
        // One of the two is empty.
        self.otlp.iter_mut().flat_map(OtlpBatch::datagrams).chain(self.documents.packed())
    }

    #[cfg(not(feature = "otlp-udp"))]
    pub(super) fn packed(&mut self) -> impl Iterator<Item = &[u8]> {
        self.documents.packed()
    }

    /// The documents that the budget has room for.
    pub(super) fn documents(&self) -> &Batch {
        &self.documents
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        #[cfg(feature = "otlp-udp")]
        if let Some(otlp) = &self.otlp {
            return otlp.bytes();
        }
        self.documents.bytes()
    }

    /// Writes what is sent to standard output.
    pub(super) fn print(&mut self) {
        #[cfg(feature = "otlp-udp")]
        if let Some(otlp) = &mut self.otlp {
            return otlp.datagrams().for_each(|datagram| _ = StdoutEmitter.send(datagram));
        }
        self.documents.datagrams().for_each(|datagram| _ = StdoutEmitter.send(datagram));
    }

    pub(super) fn clear(&mut self) {
        self.documents.clear();
        #[cfg(feature = "otlp-udp")]
        if let Some(otlp) = &mut self.otlp {
            otlp.clear();
        }
    }
}
