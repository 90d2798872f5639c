//! How fast datagrams may leave.

use std::time::{Duration, Instant};

/// A rate below what the receiver's buffer takes. A burst that overruns it is lost without an error at the sender.
///
/// Linux accounts more than a datagram's bytes against the receiver's buffer, by default 212,992 bytes: it holds 277 datagrams of
/// 600 bytes, 25 of 5.6 KB, 4 of 48 KB, and when half drained only three quarters of that. So both number and bytes count. The
/// default was measured on loopback with such a buffer: 900 documents of 550 bytes (500 KB, the most of a trace) all arrived in
/// 88 ms, 10,000 in 1 s, also when the receiver read nothing for 10 ms after every hundredth; with pauses of 15 ms 683 of 900
/// arrived. At twice this pace pauses of 10 ms left 560; at 100 a millisecond after a burst of 128, 684 arrived without any pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Datagrams that may leave at once after a rest. Most invocations need no more and never wait.
    pub burst: u32,
    /// Bytes that may leave at once after a rest; a larger datagram leaves alone.
    pub burst_bytes: u32,
    /// Datagrams a millisecond from then on.
    pub per_millisecond: u32,
    /// Bytes a millisecond from then on.
    pub bytes_per_millisecond: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self { burst: 64, burst_bytes: 49_152, per_millisecond: 10, bytes_per_millisecond: 8_192 }
    }
}

/// A token bucket over datagrams and bytes. It does no waiting: it says how long to wait.
#[derive(Clone, Debug)]
pub struct Pacer {
    pace: Pace,
    /// In millionths of a datagram and of a byte, so that a nanosecond's share is a whole number.
    datagrams: u64,
    bytes: u64,
    at: Instant,
}

const SCALE: u64 = 1_000_000;

impl Pacer {
    /// A full bucket.
    pub fn new(pace: Pace, now: Instant) -> Self {
        let mut pacer = Self { pace, datagrams: 0, bytes: 0, at: now };
        (pacer.datagrams, pacer.bytes) = pacer.most();
        pacer
    }

    /// Takes the room for one datagram, or says how long there will be none.
    pub fn admit(&mut self, now: Instant, bytes: usize) -> Result<(), Duration> {
        self.refill(now);
        let (_, most) = self.most();
        let bytes = (bytes as u64 * SCALE).min(most);
        let wait = |missing: u64, rate: u32| Duration::from_nanos(missing.div_ceil(u64::from(rate.max(1))));
        let missing = wait(SCALE.saturating_sub(self.datagrams), self.pace.per_millisecond)
            .max(wait(bytes.saturating_sub(self.bytes), self.pace.bytes_per_millisecond));
        if missing > Duration::ZERO {
            return Err(missing);
        }
        self.datagrams -= SCALE;
        self.bytes -= bytes;
        Ok(())
    }

    fn most(&self) -> (u64, u64) {
        (u64::from(self.pace.burst.max(1)) * SCALE, u64::from(self.pace.burst_bytes.max(1)) * SCALE)
    }

    fn refill(&mut self, now: Instant) {
        let (datagrams, bytes) = self.most();
        // A rate per millisecond in millionths is the same number per nanosecond.
        let passed = u64::try_from(now.saturating_duration_since(self.at).as_nanos()).unwrap_or(u64::MAX);
        let add = |have: u64, rate: u32, most: u64| have.saturating_add(passed.saturating_mul(u64::from(rate))).min(most);
        self.datagrams = add(self.datagrams, self.pace.per_millisecond, datagrams);
        self.bytes = add(self.bytes, self.pace.bytes_per_millisecond, bytes);
        self.at = self.at.max(now);
    }
}
