//! Writes documents for debugging.

use std::io::{self, Write};

use super::DAEMON_HEADER;

/// Writes documents to standard output, one per line, for debugging.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutEmitter;

impl StdoutEmitter {
    /// Writes a datagram's document, without the daemon's header.
    ///
    /// # Errors
    /// The error of standard output. Nothing is retried.
    pub fn send(self, datagram: &[u8]) -> io::Result<()> {
        let document = datagram.strip_prefix(DAEMON_HEADER).unwrap_or(datagram);
        let mut out = io::stdout().lock();
        out.write_all(document)?;
        out.write_all(b"\n")
    }
}
