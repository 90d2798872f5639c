//! Ids of requests, traces and segments.

use std::time::{SystemTime, UNIX_EPOCH};

/// A `Root` of a trace header.
pub(crate) fn new_root() -> String {
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("1-{:08x}-{:024x}", epoch as u32, fastrand::u128(..) >> 32)
}

/// Sixteen hexadecimal digits.
pub(crate) fn new_segment_id() -> String {
    format!("{:016x}", fastrand::u64(1..))
}

/// A random UUID (version 4), which is what Lambda's request ids are.
pub(crate) fn new_request_id() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_random_uuids_of_version_4() {
        let id = new_request_id();
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(&id[14..15], "4");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        assert_ne!(id, new_request_id());
    }
}
