//! The calls of an invocation that send messages, and how many of them carry a sampled trace.

/// The calls so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sends {
    /// Those with a sampled trace, and those beyond the limit.
    all: usize,
    /// Those beyond the limit, since they were last reported.
    beyond: u32,
}

impl Sends {
    /// Counts a call in a sampled trace. False if the invocation has made `most` such calls before. A `retry` counts with the first attempt.
    pub(crate) fn admit(&mut self, most: usize, retry: bool) -> bool {
        if retry {
            return self.all <= most;
        }
        self.all = self.all.saturating_add(1);
        let admitted = self.all <= most;
        if !admitted {
            self.beyond = self.beyond.saturating_add(1);
        }
        admitted
    }

    /// The calls beyond the limit since the last report.
    pub(crate) fn take_beyond(&mut self) -> Option<i64> {
        Some(std::mem::take(&mut self.beyond)).filter(|beyond| *beyond > 0).map(i64::from)
    }
}
