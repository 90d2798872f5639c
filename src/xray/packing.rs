//! Nests documents in each other, so that fewer datagrams are sent.

use opentelemetry::trace::SpanId;

use super::budget::{Batch, Entry, sorted};

/// The largest document that contains others. Together with the kernel's overhead, it fits into a block of 16 KB at the receiver.
/// On a link with the usual MTU of 1,500, this is eleven fragments, and the last one is nearly full.
const MOST: usize = 16_000;

/// The daemon queues 400 datagrams for X-Ray's API, and drops the oldest when more arrive than it can forward. A batch with fewer
/// than half of them does not overrun it, unless other senders do.
const QUEUE: usize = 200;

/// The deepest nesting. X-Ray documents no limit, but JSON parsers have one.
const DEPTH: u8 = 16;

/// The documents of a batch as a forest.
struct Forest {
    nodes: Vec<Node>,
}

struct Node {
    parent: Option<usize>,
    /// The number of children whose own children are not all nested yet.
    pending: usize,
    has_children: bool,
    first: Option<usize>,
    last: Option<usize>,
    next: Option<usize>,
    /// Of the document with all that is nested in it.
    bytes: usize,
    /// The bytes of a document that it has only where it is sent alone.
    alone: usize,
    depth: u8,
    within: bool,
}

impl Batch {
    /// The data for the daemon, one item for each datagram, like [`datagrams`](Self::datagrams), but with subsegments inside of
    /// their parent's document as long as that stays small. X-Ray builds the same trace from both. A datagram costs more than its
    /// bytes, here and in the receiver's buffer.
    ///
    /// The invocation's own document comes first. With more than 200 documents it comes last, after faults and their ancestors,
    /// because the daemon drops the oldest documents when its queue is full.
    pub fn packed(&mut self) -> impl Iterator<Item = &[u8]> {
        self.pack();
        self.packed.iter().map(|range| &self.buffer[range.clone()])
    }

    fn pack(&mut self) {
        self.packed.clear();
        if let [entry] = &self.entries[..] {
            self.packed.extend(Some(entry.range.clone()).filter(|_| entry.kept));
            return;
        }
        let forest = Forest::of(&self.entries);
        for at in 0..self.entries.len() {
            let (entry, node) = (&self.entries[at], &forest.nodes[at]);
            if !entry.kept || node.within {
                continue;
            }
            let mut range = entry.range.clone();
            if node.first.is_some() {
                let start = self.buffer.len();
                self.buffer.reserve(node.bytes);
                let opening = range.end - 1;
                self.buffer.extend_from_within(range.start..opening);
                self.write_children(&forest, node);
                range = start..self.buffer.len();
            }
            self.packed.push(range);
        }
        // The invocation's own document was written last, because it contains the number of missing ones. It is sent first,
        // because it has the most information and the process may be killed at any time.
        if self.packed.len() <= QUEUE {
            if !self.packed.is_empty() {
                self.packed.rotate_right(1);
            }
            return;
        }
        // The daemon may drop the oldest of so many documents. So the shortest spans are sent first, then faults with their
        // ancestors, then the invocation's own document.
        let important = forest.important(&self.entries);
        let sent = (0..self.entries.len()).filter(|at| self.entries[*at].kept && !forest.nodes[*at].within);
        let own = self.packed.len() - 1;
        let weight = |(position, at): (usize, usize)| match position {
            position if position == own => u64::MAX,
            _ => u64::from(important[at]) << 63 | self.entries[at].lasted(),
        };
        let by_weight = sorted(sent.enumerate().map(|one| (weight(one), one.0)).collect());
        self.packed = by_weight.into_iter().map(|(_, position)| self.packed[position].clone()).collect();
    }

    /// Copies the children's documents without the fields that a nested document does not have. They are already written: whether
    /// a child is nested depends on its parent's size, which is known later. Recurses at most [`DEPTH`] levels.
    fn write_children(&mut self, forest: &Forest, node: &Node) {
        let mut next = node.first;
        let mut before: &[u8] = b",\"subsegments\":[";
        while let Some(at) = next {
            self.buffer.extend_from_slice(before);
            before = b",";
            let (document, parent_fields) = (self.entries[at].document(), self.entries[at].parent_fields.clone());
            self.buffer.extend_from_within(document.start..parent_fields.start);
            self.buffer.extend_from_within(parent_fields.end..document.end - 1);
            self.write_children(forest, &forest.nodes[at]);
            next = forest.nodes[at].next;
        }
        self.buffer.extend_from_slice(if node.first.is_some() { b"]}" } else { b"}" });
    }
}

impl Forest {
    fn of(entries: &[Entry]) -> Self {
        /// Up to here a look at all is quicker than a sorted list.
        const FEW: usize = 32;
        let number = |id: SpanId| u64::from_be_bytes(id.to_bytes());
        let ids = entries.iter().enumerate().filter(|(_, entry)| entry.kept).map(|(at, entry)| (number(entry.id), at));
        let by_id = if entries.len() > FEW { sorted(ids.collect()) } else { Vec::new() };
        let parent = |entry: &Entry| {
            if !entry.kept || entry.parent_fields.is_empty() {
                return None;
            }
            let found = if entries.len() > FEW {
                by_id[by_id.binary_search_by_key(&number(entry.parent), |(id, _)| *id).ok()?].1
            } else {
                // Most stand below the invocation's own, which is the last.
                entries.iter().rposition(|other| other.kept && other.id == entry.parent)?
            };
            Some(found).filter(|parent| entries[*parent].trace == entry.trace)
        };
        let node = |entry: &Entry| Node {
            parent: parent(entry),
            pending: 0,
            has_children: false,
            first: None,
            last: None,
            next: None,
            bytes: entry.range.len(),
            alone: entry.range.len() - entry.document().len() + entry.parent_fields.len(),
            depth: 0,
            within: false,
        };
        let mut forest = Self { nodes: entries.iter().map(node).collect() };
        for at in 0..entries.len() {
            if let Some(parent) = forest.nodes[at].parent {
                forest.nodes[parent].pending += 1;
                forest.nodes[parent].has_children = true;
            }
        }
        // Every document comes after its children. A document in a cycle is never reached, and is sent alone.
        for at in 0..entries.len() {
            let mut ready = Some(at).filter(|at| !forest.nodes[*at].has_children);
            while let Some(at) = ready {
                ready = forest.nest(at);
            }
        }
        forest
    }

    /// Marked spans and their ancestors.
    fn important(&self, entries: &[Entry]) -> Vec<bool> {
        let mut important = vec![false; entries.len()];
        for at in (0..entries.len()).filter(|at| entries[*at].kept && entries[*at].is_flagged()) {
            let mut next = Some(at);
            while let Some(at) = next.filter(|at| !important[*at]) {
                important[at] = true;
                next = self.nodes[at].parent;
            }
        }
        important
    }

    /// Nests a document in its parent's if there is room. Returns the parent if this was its last pending child.
    fn nest(&mut self, at: usize) -> Option<usize> {
        /// Around all nested documents, and between them.
        const AROUND: usize = b",\"subsegments\":[]".len();
        const BETWEEN: usize = b",".len();
        let (nested, depth) = (self.nodes[at].bytes - self.nodes[at].alone, self.nodes[at].depth);
        let parent = self.nodes[at].parent?;
        let above = &mut self.nodes[parent];
        let bytes = nested + if above.first.is_some() { BETWEEN } else { AROUND };
        above.pending = above.pending.checked_sub(1)?;
        let ready = (above.pending == 0).then_some(parent);
        if above.bytes + bytes > MOST || depth >= DEPTH {
            return ready;
        }
        above.bytes += bytes;
        above.depth = above.depth.max(depth + 1);
        let before = above.last.replace(at);
        match before {
            Some(before) => self.nodes[before].next = Some(at),
            None => self.nodes[parent].first = Some(at),
        }
        self.nodes[at].within = true;
        ready
    }
}
