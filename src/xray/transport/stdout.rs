//! Documents for human eyes.

use std::io::{self, Write};

use super::DAEMON_HEADER;

/// Writes documents one a line to standard output, for debugging.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdoutEmitter;

impl StdoutEmitter {
    /// Writes what a datagram carries, without the daemon's header.
    ///
    /// # Errors
    /// Whatever standard output says; nothing is retried.
    pub fn send(self, datagram: &[u8]) -> io::Result<()> {
        let document = datagram.strip_prefix(DAEMON_HEADER).unwrap_or(datagram);
        let mut out = io::stdout().lock();
        out.write_all(document)?;
        out.write_all(b"\n")
    }
}
