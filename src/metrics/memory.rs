//! The most memory that the process has used so far.

use crate::{
    Environment,
    notice::{self, Data, Warning},
};
use std::{fs::File, io::Read as _, sync::Once};

/// The part of the function's memory from which a warning is logged.
const NEAR: f64 = 0.9;

/// The largest resident memory of this process in megabytes; `None` if the system does not report it. Logs once that it is near
/// the function's limit.
pub(super) fn used() -> Option<f64> {
    // One read gets the whole text, without an allocation.
    let mut status = [0; 4096];
    let read = File::open("/proc/self/status").and_then(|mut file| file.read(&mut status)).ok()?;
    let used = high_water_mark(&status[..read])?;
    let size = f64::from(Environment::current().memory_size);
    // Outside of Lambda it is 0.
    if size > 0.0 && used >= size * NEAR {
        static LOGGED: Once = Once::new();
        LOGGED.call_once(|| {
            let (used, size) = (format!("{used} MB"), format!("less than {size} MB"));
            let data = Data { value: Some(&used), expected: Some(&size), ..Data::name("AWS_LAMBDA_FUNCTION_MEMORY_SIZE") };
            notice::log(Warning::MemoryNearLimit, data);
        });
    }
    Some(used)
}

/// `VmHWM`, in megabytes with one digit after the point.
fn high_water_mark(status: &[u8]) -> Option<f64> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"VmHWM:"))?;
    let kilobytes: f64 = std::str::from_utf8(line).ok()?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((kilobytes / 1024.0 * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read() {
        let status = b"Name:\tbootstrap\nVmPeak:\t   99999 kB\nVmHWM:\t   31900 kB\nVmRSS:\t   20000 kB\n";
        assert_eq!(high_water_mark(status), Some(31.2));
        for status in ["", "VmHWM:", "VmHWM:\t12", "VmHWM:\t x kB"] {
            assert_eq!(high_water_mark(status.as_bytes()), None, "{status:?}");
        }
    }
}
