//! Ids of spans and traces.

use opentelemetry::{TraceId, trace::SpanId};
use opentelemetry_sdk::trace::IdGenerator;
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::Read,
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// An increment that visits every number, from `SplitMix64`.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Creates ids from one atomic counter and a mixing function. An id takes two additions and three multiplications, and no lock.
///
/// Ids never repeat in a process. Two environments restored from one snapshot start with the same state, so the generator can be
/// [reseeded](Self::reseed), unlike the SDK's own.
#[derive(Debug)]
pub(crate) struct Ids {
    state: AtomicU64,
}

impl Ids {
    pub(crate) fn new() -> Self {
        // A new hasher's keys come from the system's randomness, without opening a file.
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u32(std::process::id());
        hasher.write_u128(now().as_nanos());
        Self { state: AtomicU64::new(hasher.finish()) }
    }

    /// Restarts from the system's randomness, after a restore.
    pub(crate) fn reseed(&self) {
        let mut seed = [0; 8];
        let random = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
        let seed = random.map_or_else(|_| now().as_nanos() as u64, |()| u64::from_ne_bytes(seed));
        self.state.store(seed, Ordering::Relaxed);
    }

    fn next(&self) -> u64 {
        let mut mixed = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn next_span_id(&self) -> SpanId {
        // Zero is not a valid id. It occurs once in 2^64.
        SpanId::from(self.next().max(1))
    }

    /// X-Ray's format: the seconds since the epoch, followed by 96 random bits.
    fn next_trace_id(&self) -> TraceId {
        let seconds = u128::from(now().as_secs() as u32);
        let random = (u128::from(self.next()) << 32) | u128::from(self.next() as u32);
        TraceId::from((seconds << 96) | random)
    }
}

fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The one generator of the process.
fn ids() -> &'static Ids {
    static IDS: std::sync::OnceLock<Ids> = std::sync::OnceLock::new();
    IDS.get_or_init(Ids::new)
}

/// For the first invocation of a restored environment, before it creates any id.
pub(crate) fn reseed() {
    ids().reseed();
}

/// [`ids`], in the form that the SDK needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProcessIds;

impl IdGenerator for ProcessIds {
    fn new_trace_id(&self) -> TraceId {
        ids().next_trace_id()
    }

    fn new_span_id(&self) -> SpanId {
        ids().next_span_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_do_not_repeat_across_threads() {
        let ids = Ids::new();
        let all: HashSet<SpanId> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| (0..10_000).map(|_| ids.next_span_id()).collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
        });
        assert_eq!(all.len(), 40_000);
        assert!(!all.contains(&SpanId::INVALID));
    }

    #[test]
    fn two_restores_of_one_snapshot_go_different_ways() {
        let (one, two) = (Ids { state: AtomicU64::new(7) }, Ids { state: AtomicU64::new(7) });
        assert_eq!(one.next_span_id(), two.next_span_id());
        one.reseed();
        two.reseed();
        assert_ne!(one.next_span_id(), two.next_span_id());
    }

    #[test]
    fn a_trace_id_begins_with_the_time() {
        let before = now().as_secs();
        let seconds = u128::from_be_bytes(Ids::new().next_trace_id().to_bytes()) >> 96;
        assert!((u128::from(before)..=u128::from(before) + 1).contains(&seconds));
    }
}
