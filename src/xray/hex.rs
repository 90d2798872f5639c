//! Hexadecimal digits without Rust's formatting code, because each document contains several ids.

use opentelemetry::trace::{SpanId, TraceId};

const DIGITS: [u8; 512] = digits();

const fn digits() -> [u8; 512] {
    let alphabet = b"0123456789abcdef";
    let mut table = [0; 512];
    let mut byte = 0;
    while byte < 256 {
        table[2 * byte] = alphabet[byte >> 4];
        table[2 * byte + 1] = alphabet[byte & 15];
        byte += 1;
    }
    table
}

/// The digits of a span id, lower case.
pub(super) fn span_id(id: SpanId) -> [u8; 16] {
    let mut out = [0; 16];
    for (pair, byte) in out.chunks_exact_mut(2).zip(id.to_bytes()) {
        let at = 2 * usize::from(byte);
        pair.copy_from_slice(&DIGITS[at..at + 2]);
    }
    out
}

/// The 32 digits of a trace id in W3C's format, lower case.
pub(super) fn trace_id(id: TraceId) -> [u8; 32] {
    let mut out = [0; 32];
    for (pair, byte) in out.chunks_exact_mut(2).zip(id.to_bytes()) {
        let at = 2 * usize::from(byte);
        pair.copy_from_slice(&DIGITS[at..at + 2]);
    }
    out
}

/// A trace id in X-Ray's format: `1-<8 digits>-<24 digits>`.
pub(super) fn xray_trace_id(id: TraceId) -> [u8; 35] {
    let digits = trace_id(id);
    let mut out = *b"1-00000000-000000000000000000000000";
    out[2..10].copy_from_slice(&digits[..8]);
    out[11..].copy_from_slice(&digits[8..]);
    out
}

/// Reads exactly `digits.len()` hexadecimal digits of either case.
pub(super) fn parse(digits: &[u8]) -> Option<u128> {
    if digits.is_empty() || digits.len() > 32 {
        return None;
    }
    let mut value = 0;
    for word in digits.chunks(16) {
        let (mut part, mut all) = (0_u64, 0);
        for digit in word {
            let nibble = VALUES[usize::from(*digit)];
            all |= nibble;
            part = part << 4 | u64::from(nibble & 15);
        }
        if all == NONE {
            return None;
        }
        value = value << (4 * word.len()) | u128::from(part);
    }
    Some(value)
}

/// All bits, for bytes that are not digits. No digit has the high ones.
const NONE: u8 = u8::MAX;

const VALUES: [u8; 256] = {
    let mut table = [NONE; 256];
    let mut value = 0;
    while value < 16 {
        let digit = b"0123456789abcdef"[value as usize];
        table[digit as usize] = value;
        table[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    table
};

/// The digits as text; they are ASCII by construction.
pub(super) fn text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}
