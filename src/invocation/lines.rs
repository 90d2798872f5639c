//! Lines below the log's levels, which an invocation keeps until it fails.

use super::{Invocation, log::write_lines};
use crate::notice::{self, Data, Warning};

/// So often lines are written that were kept while others were written: a handler that never stops logging must not keep the watchdog.
const ROUNDS: u32 = 8;

impl Invocation {
    /// True where lines below the log's level are kept until the invocation fails.
    pub(crate) fn keeps_lines(&self) -> bool {
        self.0.shared.settings.keeps_lines()
    }

    pub(crate) fn has_released_lines(&self) -> bool {
        self.0.log.is_released()
    }

    /// Keeps a whole line. False where it is to be written at once.
    pub(crate) fn keep_line(&self, line: &[u8]) -> bool {
        self.0.log.keep(line, self.0.shared.settings.log_buffer_bytes)
    }

    /// The invocation fails: writes the lines that it has kept, in their order, and those that are being kept meanwhile.
    ///
    /// No lock is held while they are written, because the holder of standard output may log too.
    pub(crate) fn release_lines(&self) {
        if !self.keeps_lines() || self.is_detached() {
            return;
        }
        for round in 0..=ROUNDS {
            let (mut lines, dropped) = self.0.log.release(round == ROUNDS);
            if dropped > 0 {
                let data = Data { invocation: Some(self.request_id()), dropped: Some(dropped), ..Data::default() };
                notice::log(Warning::LogLinesDropped, data);
            }
            if lines.is_empty() {
                return;
            }
            write_lines(lines.make_contiguous());
        }
    }
}
