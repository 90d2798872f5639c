//! Limits the rate of datagrams.

use std::time::{Duration, Instant};

/// A rate that the receiver's buffer can take. Datagrams beyond the buffer are lost without an error at the sender.
///
/// Linux charges more than a datagram's bytes against the receiver's buffer, by default 212,992 bytes: the block of memory it
/// comes in, a power of two, and another 256 bytes. On Lambda the daemon is not on the loopback interface but at a link-local
/// address. There a datagram may come in fragments, each with a block ([`Pace::charge`]). `transport::link` measures what the
/// buffer holds:
///
/// | bytes | loopback | MTU 9,001 | MTU 1,500 |
/// |---|---|---|---|
/// | 640 | 166 | 166 | 166 |
/// | 1,472 | 92 | 92 | 92 |
/// | 7,500 | 25 | 25 | 17 |
/// | 16,000 | 12 | 12 | 8 |
/// | 64,000 | 3 | 1 | 2 |
///
/// The buffer holds three quarters of that while it is being read. All rates here are in these bytes, and each datagram counts
/// with the worst of the three links. The default never fills more than three quarters of the buffer, even if its reader pauses
/// for 5 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Bytes of the receiver's buffer that may be filled at once after a pause. A larger datagram is sent alone. Most invocations
    /// need no more and never wait. Default: 95,000, which is 74 documents of a common size in separate datagrams.
    pub(super) burst: u32,
    /// Bytes of the receiver's buffer per millisecond after that. Default: 12,800, which is 10 such documents.
    pub(super) per_millisecond: u32,
}

impl Pace {
    /// The bytes that a datagram of this size takes of the receiver's buffer, at most.
    pub(super) fn charge(bytes: usize) -> u32 {
        /// The overhead before and after the bytes in their block.
        const AROUND: usize = 384;
        const LEAST: usize = 1_024;
        const OWN: usize = 256;
        let block = |bytes: usize| bytes.saturating_add(AROUND).checked_next_power_of_two().unwrap_or(usize::MAX).max(LEAST);
        let whole = block(bytes).saturating_add(OWN);
        // A datagram of one or two packets of 9,001 bytes takes as much as one without fragments.
        let ethernet = if fragments(bytes, 1_500) > 1 { fragments(bytes, 1_500) * (block(1_500) + OWN) } else { 0 };
        let jumbo = if fragments(bytes, 9_001) > 2 { fragments(bytes, 9_001) * 17_750 } else { 0 };
        u32::try_from(whole.max(ethernet).max(jumbo)).unwrap_or(u32::MAX)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { burst: 95_000, per_millisecond: 12_800 }
    }
}

/// The number of packets into which a link with this MTU splits a datagram.
fn fragments(bytes: usize, mtu: usize) -> usize {
    const UDP_HEADER: usize = 8;
    const IP_HEADER: usize = 20;
    // A fragment starts at a multiple of eight.
    bytes.saturating_add(UDP_HEADER).div_ceil((mtu - IP_HEADER) & !7)
}

/// A token bucket for the receiver's buffer. It does not wait itself, but returns the time to wait.
#[derive(Clone, Debug)]
pub(super) struct Pacer {
    pace: Pace,
    /// In millionths of a byte, so that the share of a nanosecond is a whole number.
    room: u64,
    at: Instant,
}

const SCALE: u64 = 1_000_000;

impl Pacer {
    /// A full bucket.
    pub(super) fn new(pace: Pace, now: Instant) -> Self {
        Self { pace, room: most(pace), at: now }
    }

    /// Takes the room for one datagram, or returns the time until there is enough.
    pub(super) fn admit(&mut self, now: Instant, bytes: usize) -> Result<(), Duration> {
        // The rate per millisecond in millionths is the same number per nanosecond.
        let rate = u64::from(self.pace.per_millisecond.max(1));
        let passed = u64::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.room = self.room.saturating_add(passed.saturating_mul(rate)).min(most(self.pace));
        self.at = self.at.max(now);
        let charge = (u64::from(Pace::charge(bytes)) * SCALE).min(most(self.pace));
        match self.room.checked_sub(charge) {
            Some(room) => {
                self.room = room;
                Ok(())
            }
            None => Err(Duration::from_nanos((charge - self.room).div_ceil(rate))),
        }
    }
}

fn most(pace: Pace) -> u64 {
    u64::from(pace.burst.max(1)) * SCALE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_milliseconds_of_sending_stay_below_the_buffer() {
        // The content of three quarters of a default buffer; see the numbers at `Pace`.
        for (size, most) in [(600, 124), (5_600, 18), (16_000, 9)] {
            let mut now = Instant::now();
            let mut pacer = Pacer::new(Pace::default(), now);
            let mut admitted = Vec::new();
            while admitted.len() < 2_000 {
                match pacer.admit(now, size) {
                    Ok(()) => admitted.push(now),
                    // The resolution of the executor's timers.
                    Err(wait) => now += wait.max(Duration::from_millis(1)),
                }
            }
            for (at, first) in admitted.iter().enumerate() {
                let window = admitted[at..].iter().take_while(|time| **time - *first < Duration::from_millis(5)).count();
                assert!(window <= most, "{window} documents of {size} bytes in 5 ms");
            }
        }
    }

    #[test]
    fn the_pacer_says_how_long_and_lets_a_giant_pass_alone() {
        let start = Instant::now();
        let pace = Pace { burst: 2 * Pace::charge(100), per_millisecond: Pace::charge(100) };
        let mut pacer = Pacer::new(pace, start);
        assert_eq!(pacer.admit(start, 100), Ok(()));
        assert_eq!(pacer.admit(start, 1), Ok(()), "the size of the smallest block");
        assert_eq!(pacer.admit(start, 100), Err(Duration::from_millis(1)));
        let later = start + Duration::from_secs(3_600);
        assert_eq!(pacer.admit(later, 1_000_000), Ok(()), "more than the burst, but alone");
        assert_eq!(pacer.admit(later, 100), Err(Duration::from_millis(1)));
        assert_eq!(pacer.admit(start, 100), Err(Duration::from_millis(1)), "a clock that steps back refills nothing");
        assert_eq!(pacer.admit(later + Duration::from_millis(1), 100), Ok(()));
    }
}
