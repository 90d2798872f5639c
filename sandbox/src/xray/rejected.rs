//! Documents that break a rule.

use super::document::Source;
use bytes::Bytes;
use std::fmt;

/// A datagram or document that broke a rule.
#[derive(Clone)]
pub struct Rejected {
    /// The datagram or document, as it came.
    pub bytes: Bytes,
    /// The rules it broke, each with its place in the document.
    pub reasons: Vec<String>,
    /// Who sent it.
    pub source: Source,
}

impl fmt::Debug for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.bytes[..self.bytes.len().min(300)];
        f.debug_struct("Rejected")
            .field("reasons", &self.reasons)
            .field("source", &self.source)
            .field("bytes", &self.bytes.len())
            .field("begin", &String::from_utf8_lossy(shown))
            .finish()
    }
}
