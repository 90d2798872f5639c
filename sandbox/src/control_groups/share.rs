//! How much of a core a function of a memory size has.

use std::{fmt, time::Duration};

/// The memory size at which a function has one core. See "Configure Lambda function memory" in AWS' developer guide.
const MB_OF_A_CORE: u64 = 1_769;

/// Lambda's period of the scheduler's bandwidth control.
const PERIOD: Duration = Duration::from_millis(20);

/// The kernel takes no shorter one.
const SHORTEST: Duration = Duration::from_millis(1);

/// The CPU time that all threads of a process together may use in each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuQuota {
    /// How much.
    pub quota: Duration,
    /// In how long: 20 ms.
    pub period: Duration,
}

impl CpuQuota {
    /// That of a function with so much memory: memory / 1,769 of a core.
    pub fn of_memory(mb: u32) -> Self {
        let micros = PERIOD.as_micros() as u64 * u64::from(mb) / MB_OF_A_CORE;
        Self { quota: Duration::from_micros(micros).max(SHORTEST), period: PERIOD }
    }
}

impl fmt::Display for CpuQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ms of {} ms", self.quota.as_secs_f64() * 1e3, self.period.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::CpuQuota;
    use std::time::Duration;

    #[test]
    fn a_quota_is_memory_through_1769_of_each_20_ms() {
        let cases = [(128, 1_447), (512, 5_788), (1_769, 20_000), (3_538, 40_000), (10_240, 115_771)];
        for (mb, micros) in cases {
            let expected = CpuQuota { quota: Duration::from_micros(micros), period: Duration::from_millis(20) };
            assert_eq!(CpuQuota::of_memory(mb), expected, "{mb} MB");
        }
        // No function has such a size, and the kernel would refuse it.
        assert_eq!(CpuQuota::of_memory(1).quota, Duration::from_millis(1));
    }
}
