//! Lines that a function's processes write to stdout and stderr, and lines that Lambda adds.

use crate::history::History;
use std::{sync::Arc, time::SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};

pub(crate) const LINES_KEPT: usize = 65_536;

/// CloudWatch's limit for one log event.
const LONGEST_LINE: u64 = 256 * 1024;

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Lambda's own lines: START, END, REPORT, or, with the log format JSON, `platform.start` and `platform.report`.
    Platform,
}

/// One line of a function's log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When the sandbox read or wrote it.
    pub at: SystemTime,
    /// Number of the environment it is of.
    pub environment: u32,
    /// Where it was written to; filter by this to see the function's own lines only.
    pub output: Output,
    /// The line without its end. Bytes that are not UTF-8 are replaced; after 256 KB a new line starts, as in CloudWatch.
    pub text: String,
}

/// Reads lines until the other end is closed.
pub(crate) async fn capture(from: impl AsyncRead + Unpin, output: Output, environment: u32, history: Arc<History<LogLine>>) {
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
        history.write(LogLine { at: SystemTime::now(), environment, output, text });
    }
}
