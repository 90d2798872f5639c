//! Defects of whole traces, beyond those of one document.

use super::{document::Document, rejected::Rejected, rules::MAX_TRACE_BYTES, trace::Trace};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Something wrong with the traces of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A datagram or document broke a rule.
    #[error("rejected: {}", .reasons.join("; "))]
    Rejected {
        /// The rules, each with its place.
        reasons: Vec<String>,
    },
    /// A parent that no document of the trace is.
    #[error("{name} ({id}) in {trace_id} hangs on {parent_id}, which is not in the trace")]
    Orphan {
        /// The trace.
        trace_id: String,
        /// The document's id.
        id: String,
        /// The document's name.
        name: String,
        /// The parent that is missing.
        parent_id: String,
    },
    /// Two documents of a trace have one id and differ; an in-progress document and its finished one are no such pair.
    #[error("{trace_id} has two different documents with the id {id}: {} and {}", .names[0], .names[1])]
    Duplicate {
        /// The trace.
        trace_id: String,
        /// The id they share.
        id: String,
        /// Their names.
        names: [String; 2],
    },
    /// More bytes than X-Ray takes for one trace.
    #[error("{trace_id} has {bytes} bytes of documents (at most {MAX_TRACE_BYTES})")]
    TraceTooLarge {
        /// The trace.
        trace_id: String,
        /// Bytes of its documents.
        bytes: usize,
    },
    /// An in-progress document without the finished one: its process was killed, or a datagram was lost.
    #[error("{name} ({id}) in {trace_id} never ended")]
    Unfinished {
        /// The trace.
        trace_id: String,
        /// The document's id.
        id: String,
        /// The document's name.
        name: String,
    },
}

/// Whether a problem is a defect or merely worth knowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// A defect of the sender of the documents.
    Error,
    /// May be right: a killed process leaves an unfinished document.
    Info,
}

impl Problem {
    /// Whether it is a defect.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Unfinished { .. } => Severity::Info,
            _ => Severity::Error,
        }
    }
}

pub(super) fn check(traces: &[Trace], history: &[Arc<Document>], rejected: &[Rejected]) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        rejected.iter().map(|rejected| Problem::Rejected { reasons: rejected.reasons.clone() }).collect();
    let mut unfinished = Vec::new();
    for trace in traces {
        let ids: HashSet<&str> = trace.documents.iter().map(|document| document.id.as_str()).collect();
        for document in &trace.documents {
            let (trace_id, id, name) = (trace.id.clone(), document.id.clone(), document.name.clone());
            if document.in_progress {
                unfinished.push(Problem::Unfinished { trace_id: trace_id.clone(), id: id.clone(), name: name.clone() });
            }
            if let Some(parent_id) = document.parent_id.clone().filter(|parent| !ids.contains(parent.as_str())) {
                problems.push(Problem::Orphan { trace_id, id, name, parent_id });
            }
        }
        // In-progress documents are replaced, so they do not count twice.
        let bytes = trace.documents.iter().map(|document| document.size).sum();
        if bytes > MAX_TRACE_BYTES {
            problems.push(Problem::TraceTooLarge { trace_id: trace.id.clone(), bytes });
        }
    }
    problems.extend(duplicates(history));
    problems.extend(unfinished);
    problems
}

fn duplicates(history: &[Arc<Document>]) -> Vec<Problem> {
    let mut seen: HashMap<(&str, &str, bool), &Document> = HashMap::new();
    let mut problems = Vec::new();
    for document in history {
        let key = (document.trace_id.as_str(), document.id.as_str(), document.in_progress);
        match seen.get(&key) {
            Some(first) if first.raw != document.raw => problems.push(Problem::Duplicate {
                trace_id: document.trace_id.clone(),
                id: document.id.clone(),
                names: [first.name.clone(), document.name.clone()],
            }),
            Some(_) => {}
            None => {
                seen.insert(key, document);
            }
        }
    }
    problems
}
