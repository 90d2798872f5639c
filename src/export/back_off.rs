//! Decides when an exporter that failed is called again.

use crate::clock::Moment;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// The pause after failures, doubled by each. Most exporters retry for a second if an endpoint refuses connections, and without a
/// pause every invocation would take that time.
#[derive(Debug, Default)]
pub(super) struct BackOff(Option<(Moment, Duration)>);

impl BackOff {
    pub(super) fn is_over(&self) -> bool {
        self.0.is_none_or(|(failed, pause)| failed.elapsed() >= pause)
    }

    /// Records the result of a call.
    pub(super) fn note(&mut self, worked: bool) {
        let next = self.0.map_or(FIRST, |(_, pause)| (pause * 2).min(LONGEST));
        self.0 = (!worked).then(|| (Moment::now(), next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_to_a_minute_and_ends_with_the_first_success() {
        let mut back_off = BackOff::default();
        assert!(back_off.is_over());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            back_off.note(false);
            assert!(!back_off.is_over());
            pauses.extend(back_off.0.map(|(_, pause)| pause.as_secs()));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        back_off.0 = Some((Moment::ago(Duration::ZERO, LONGEST), LONGEST));
        assert!(back_off.is_over(), "it was frozen meanwhile");
        back_off.note(true);
        assert!(back_off.0.is_none());
    }
}
