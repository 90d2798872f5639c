//! Chooses the documents of a trace that are sent if not all fit.

use std::{
    collections::{BinaryHeap, HashMap},
    ops::Range,
    time::Duration,
};

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::SpanData;

use super::{DAEMON_HEADER, Document, DocumentWriter, Flags, Frame, Report};

/// The bytes that X-Ray accepts for one trace.
pub const MAX_TRACE: usize = 500_000;

const REMEMBERED: usize = 64;
/// A larger buffer is freed after a big invocation.
const KEPT: usize = 256 * 1024;

/// The used part of each trace's limit. A trace can occur again: in retries, and in messages that belong to their producer's
/// trace.
#[derive(Clone, Debug)]
pub struct Budget {
    per_trace: usize,
    /// The most recent traces, oldest first.
    used: Vec<(TraceId, usize)>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(MAX_TRACE)
    }
}

impl Budget {
    /// A limit in bytes for each trace.
    pub fn new(per_trace: usize) -> Self {
        Self { per_trace, used: Vec::new() }
    }

    /// The remaining bytes of a trace.
    pub fn remaining(&self, trace: TraceId) -> usize {
        let used = self.used.iter().find(|(id, _)| *id == trace).map_or(0, |(_, used)| *used);
        self.per_trace.saturating_sub(used)
    }

    /// Counts bytes of a trace as used. The last 64 traces are remembered.
    pub fn spend(&mut self, trace: TraceId, bytes: usize) {
        let before = match self.used.iter().position(|(id, _)| *id == trace) {
            Some(at) => self.used.remove(at).1,
            None => 0,
        };
        if self.used.len() == REMEMBERED {
            self.used.remove(0);
        }
        self.used.push((trace, before.saturating_add(bytes)));
    }
}

const FAULT: u64 = 1 << 63;
const ANY: u64 = 1 << 62;

/// Faults first, then errors, then the slowest spans.
fn rank(flags: Flags, lasted: Duration) -> u64 {
    let lasted = u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX).min(ANY - 1);
    !((u64::from(flags.fault) * FAULT) | (u64::from(flags.any()) * ANY) | lasted)
}

/// With a heap, because each type that `slice::sort_unstable` sorts adds 9 KB to the program.
pub(super) fn sorted(pairs: Vec<(u64, usize)>) -> Vec<(u64, usize)> {
    BinaryHeap::from(pairs).into_sorted_vec()
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) range: Range<usize>,
    /// The bytes of the fields `trace_id`, `parent_id` and `type`, which a nested document does not have. Empty for a segment.
    pub(super) parent_fields: Range<usize>,
    pub(super) trace: TraceId,
    pub(super) id: SpanId,
    pub(super) parent: SpanId,
    /// The lowest rank is sent first.
    rank: u64,
    pub(super) kept: bool,
}

impl Entry {
    fn len(&self) -> usize {
        self.document().len()
    }

    /// A fault, an error or a throttle.
    pub(super) fn is_flagged(&self) -> bool {
        !self.rank & (FAULT | ANY) != 0
    }

    /// Its duration, in nanoseconds.
    pub(super) fn lasted(&self) -> u64 {
        !self.rank & (ANY - 1)
    }

    /// Without the daemon's header.
    pub(super) fn document(&self) -> Range<usize> {
        self.range.start + DAEMON_HEADER.len()..self.range.end
    }
}

/// The bytes that the documents of one trace need, and the bytes that are left.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    wanted: usize,
    left: usize,
}

impl Room {
    fn is_too_small(&self) -> bool {
        self.wanted > self.left
    }
}

/// The documents of one invocation in one buffer, each after the daemon's header, so that a datagram is one slice.
///
/// Spans are added as they finish. [`finish`](Self::finish) chooses those that fit into the budget and writes the invocation's
/// own document last, because it contains the number of spans that were left out.
///
/// ```
/// use lambda_lifecycle::xray::{Batch, Budget, DocumentWriter, Frame};
/// # use opentelemetry::{InstrumentationScope, trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState}};
/// # use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
/// # let span = |id: u64, parent: u64| SpanData {
/// #     span_context: SpanContext::new(TraceId::from(1), SpanId::from(id), TraceFlags::SAMPLED, false, TraceState::NONE),
/// #     parent_span_id: SpanId::from(parent), parent_span_is_remote: false, span_kind: SpanKind::Internal, name: "price".into(),
/// #     start_time: std::time::UNIX_EPOCH, end_time: std::time::UNIX_EPOCH, attributes: vec![], dropped_attributes_count: 0,
/// #     events: SpanEvents::default(), links: SpanLinks::default(), status: Status::Unset,
/// #     instrumentation_scope: InstrumentationScope::default(),
/// # };
/// # let (invocation, child) = (span(2, 1), span(3, 2));
/// let (mut writer, mut budget, mut batch) = (DocumentWriter::default(), Budget::default(), Batch::new());
/// batch.push(&mut writer, &child, &Frame::of(&child));
/// let left_out = batch.finish(&mut writer, &invocation, Frame::of(&invocation).invocation(), &mut budget);
/// assert_eq!((left_out, batch.datagrams().count()), (0, 2));
/// ```
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) buffer: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    pub(super) packed: Vec<Range<usize>>,
    report: Report,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes the document of a finished span.
    pub fn push(&mut self, writer: &mut DocumentWriter, span: &SpanData, frame: &Frame) -> Document {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(DAEMON_HEADER);
        let document = writer.write(span, frame, &mut self.buffer);
        self.report += document.report;
        let parent_fields = if frame.is_segment() { 0..0 } else { writer.parent_fields() };
        let lasted = span.end_time.duration_since(span.start_time).unwrap_or_default();
        self.entries.push(Entry {
            range: start..self.buffer.len(),
            parent_fields,
            trace: frame.trace_id(),
            id: span.span_context.span_id(),
            parent: frame.parent_id(),
            rank: rank(document.flags, lasted),
            kept: true,
        });
        document
    }

    /// Chooses the documents that fit into the budget: faults first, then errors, then slow spans, always with their ancestors.
    /// Returns the number of documents that are left out. `reserve` bytes of `reserved_for` stay free.
    pub fn select(&mut self, budget: &mut Budget, reserved_for: TraceId, reserve: usize) -> u32 {
        if self.fits_as_one_trace(budget, reserved_for, reserve) {
            return 0;
        }
        let mut rooms: HashMap<TraceId, Room> = HashMap::new();
        for entry in &self.entries {
            rooms.entry(entry.trace).or_default().wanted += entry.len();
        }
        for (trace, room) in &mut rooms {
            let reserve = if *trace == reserved_for { reserve } else { 0 };
            room.left = budget.remaining(*trace).saturating_sub(reserve);
        }
        if rooms.values().any(Room::is_too_small) {
            self.choose(&mut rooms);
        }
        for (trace, room) in rooms {
            budget.spend(trace, room.wanted);
        }
        self.entries.iter().map(|entry| u32::from(!entry.kept)).sum()
    }

    /// The usual case: everything fits, and belongs to one trace.
    fn fits_as_one_trace(&self, budget: &mut Budget, reserved_for: TraceId, reserve: usize) -> bool {
        let Some(trace) = self.entries.first().map(|entry| entry.trace) else { return true };
        if self.entries.iter().any(|entry| entry.trace != trace) {
            return false;
        }
        let wanted = self.entries.iter().map(Entry::len).sum::<usize>();
        let reserve = if trace == reserved_for { reserve } else { 0 };
        let fits = wanted <= budget.remaining(trace).saturating_sub(reserve);
        if fits {
            budget.spend(trace, wanted);
        }
        fits
    }

    /// If a trace has too little room, keeps the documents that fit. Its wanted bytes are then those of the kept ones.
    fn choose(&mut self, rooms: &mut HashMap<TraceId, Room>) {
        let by_id: HashMap<(TraceId, SpanId), usize> =
            self.entries.iter().enumerate().map(|(at, entry)| ((entry.trace, entry.id), at)).collect();
        let parents: Vec<Option<usize>> =
            self.entries.iter().map(|entry| by_id.get(&(entry.trace, entry.parent)).copied()).collect();
        let mut order = Vec::with_capacity(self.entries.len());
        for (at, entry) in self.entries.iter_mut().enumerate() {
            if rooms.get(&entry.trace).is_some_and(Room::is_too_small) {
                entry.kept = false;
                order.push((entry.rank, at));
            }
        }
        for room in rooms.values_mut().filter(|room| room.is_too_small()) {
            room.wanted = 0;
        }
        // A document that did not fit once never will, because the room shrinks by at least as much as its missing ancestors.
        let mut refused = vec![false; self.entries.len()];
        let mut chain = Vec::new();
        for (_, at) in sorted(order) {
            chain.clear();
            let Some(room) = rooms.get_mut(&self.entries[at].trace) else { continue };
            let (mut cost, mut next, mut fits) = (0, Some(at), true);
            while let Some(at) = next.filter(|at| !self.entries[*at].kept) {
                cost += self.entries[at].len();
                chain.push(at);
                // The cost of a cycle of parents only grows, so it ends here too.
                if cost > room.left || refused[at] {
                    fits = false;
                    break;
                }
                next = parents[at];
            }
            if fits {
                room.left -= cost;
                room.wanted += cost;
                for at in &chain {
                    self.entries[*at].kept = true;
                }
            } else {
                refused[at] = true;
            }
        }
    }

    /// Selects within the budget and writes the invocation's document, which is always sent and contains the number of missing
    /// documents.
    pub fn finish(&mut self, writer: &mut DocumentWriter, span: &SpanData, frame: Frame, budget: &mut Budget) -> u32 {
        // Room for the count and the metadata around it.
        const COUNT: usize = 80;
        let own = self.entries.len();
        let start = self.buffer.len();
        let report = self.report;
        let document = self.push(writer, span, &frame);
        let Some(entry) = self.entries.pop() else { return 0 };
        let left_out = self.select(budget, frame.trace_id(), document.len + COUNT);
        if left_out > 0 {
            self.buffer.truncate(start);
            self.report = report;
            self.push(writer, span, &frame.left_out(left_out));
        } else {
            self.entries.push(entry);
        }
        budget.spend(self.entries[own].trace, self.entries[own].len());
        left_out
    }

    /// The data for the daemon, one item for each datagram.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().filter(|entry| entry.kept).map(|entry| &self.buffer[entry.range.clone()])
    }

    /// The documents without the daemon's header, for the API.
    pub fn documents(&self) -> impl Iterator<Item = &[u8]> {
        self.datagrams().map(|datagram| &datagram[DAEMON_HEADER.len()..])
    }

    /// The changes to all documents so far.
    pub fn report(&self) -> Report {
        self.report
    }

    /// The number of documents that were added.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nothing was added.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of the documents that are kept.
    pub fn bytes(&self) -> usize {
        self.entries.iter().filter(|entry| entry.kept).map(Entry::len).sum()
    }

    /// The bytes of memory that are reserved for documents.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Empties the batch. The memory is kept for the next invocation, except that of a big one.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.entries.clear();
        self.packed.clear();
        self.buffer.shrink_to(KEPT);
        self.entries.shrink_to(KEPT / 256);
        self.packed.shrink_to(KEPT / 256);
        self.report = Report::default();
    }
}
