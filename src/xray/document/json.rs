//! Writes JSON directly into a byte buffer.
//!
//! Functions that are called from many places are not inlined. Their callers are then a third smaller, and no slower.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::{Array, Value};

/// Writes commas depending on the previous byte: a value never ends with an opening bracket.
pub(super) fn comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{' | b'[')) {
        out.push(b',');
    }
}

/// A constant key, which needs no escaping, as [`key`] writes it, and the bracket that its value starts with.
macro_rules! quoted {
    ($name:literal $($bracket:literal)?) => {
        concat!(",\"", $name, "\":" $(, $bracket)?)
    };
}
pub(super) use quoted;

/// Writes a key made with `quoted!` in one piece, without the comma if it is the first.
#[inline(never)]
pub(super) fn key(out: &mut Vec<u8>, key: &'static str) {
    let first = matches!(out.last(), None | Some(b'{' | b'['));
    out.extend_from_slice(&key.as_bytes()[usize::from(first)..]);
}

/// ASCII that needs no escaping, such as an id.
pub(super) fn plain(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(text);
    out.push(b'"');
}

/// A string, quoted and escaped.
#[inline(never)]
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    if is_clean(bytes) {
        out.extend_from_slice(bytes);
    } else {
        escaped(out, bytes);
    }
    out.push(b'"');
}

/// Writes at most `limit` characters of a string. Returns true if it was cut.
#[inline(never)]
pub(super) fn cut_string(out: &mut Vec<u8>, text: &str, limit: usize) -> bool {
    let kept = cut(text, limit);
    string(out, kept);
    kept.len() < text.len()
}

/// Like [`cut_string`], with a mark if the string was cut.
pub(super) fn cut_marked(out: &mut Vec<u8>, text: &str, limit: usize) -> bool {
    const MARK: &str = "… (cut)";
    // The usual case.
    if cut(text, limit).len() == text.len() {
        string(out, text);
        return false;
    }
    string(out, &format!("{}{MARK}", cut(text, limit - MARK.chars().count())));
    true
}

/// The first `limit` characters.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    match text.char_indices().nth(limit) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

#[cold]
fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut rest = bytes;
    loop {
        let clean = clean_length(rest);
        out.extend_from_slice(&rest[..clean]);
        let Some(byte) = rest.get(clean) else { return };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => {
                let digits = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(digits[usize::from(control >> 4)]);
                out.push(digits[usize::from(control & 15)]);
            }
        }
        rest = &rest[clean + 1..];
    }
}

/// The bytes that JSON must escape.
const DIRTY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};

/// The number of bytes before the first that JSON must escape. It checks eight at a time, because a backtrace has long lines.
fn clean_length(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let clean = 8 * words.iter().take_while(|word| is_word_clean(u64::from_ne_bytes(**word))).count();
    let rest = &bytes[clean..];
    clean + rest.iter().position(|byte| DIRTY[usize::from(*byte)]).unwrap_or(rest.len())
}

/// True if nothing needs escaping, as in most strings. It checks sixteen bytes at a time, of which the last may overlap those before them.
/// Shorter strings are one or two words, because a loop over their bytes would take longer than writing them.
pub(super) fn is_clean(bytes: &[u8]) -> bool {
    const MANY: usize = 16;
    if let Some(last) = bytes.last_chunk::<MANY>() {
        // Without branches, so that the compiler uses vector instructions.
        let dirty = |chunk: &[u8; MANY]| {
            let is_dirty = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
            chunk.iter().fold(0, |dirty, byte| dirty | is_dirty(*byte))
        };
        return bytes.as_chunks::<MANY>().0.iter().all(|chunk| dirty(chunk) == 0) && dirty(last) == 0;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return is_word_clean(u64::from_ne_bytes(*first)) && is_word_clean(u64::from_ne_bytes(*last));
    }
    let word = match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => u64::from(u32::from_ne_bytes(*first)) << 32 | u64::from(u32::from_ne_bytes(*last)),
        _ => match bytes {
            [] => return true,
            // One to three bytes.
            [first, .., last] => u64::from_ne_bytes([*first, bytes[1], *last, b'0', b'0', b'0', b'0', b'0']),
            [only] => u64::from_ne_bytes([*only, b'0', b'0', b'0', b'0', b'0', b'0', b'0']),
        },
    };
    is_word_clean(word)
}

fn is_word_clean(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = zero_byte(word ^ (ONES * u64::from(b'"')));
    let backslash = zero_byte(word ^ (ONES * u64::from(b'\\')));
    (control | quote | backslash) & HIGH == 0
}

/// A whole number.
pub(super) fn integer(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    unsigned(out, value.unsigned_abs());
}

/// Two digits of each number below 100: half as many divisions as digit by digit.
const PAIRS: [[u8; 2]; 100] = {
    let mut table = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        table[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    table
};

/// A whole number without a sign.
#[inline(never)]
pub(super) fn unsigned(out: &mut Vec<u8>, mut value: u64) {
    let mut pairs = [[0; 2]; 10];
    let mut first = pairs.len();
    loop {
        first -= 1;
        pairs[first] = PAIRS[(value % 100) as usize];
        value /= 100;
        if value == 0 {
            break;
        }
    }
    let digits = pairs[first..].as_flattened();
    out.extend_from_slice(&digits[usize::from(digits[0] == b'0')..]);
}

/// A number. JSON cannot express non-finite ones, which become strings.
pub(super) fn float(out: &mut Vec<u8>, value: f64) {
    match non_finite(value) {
        Some(word) => {
            out.push(b'"');
            out.extend_from_slice(word.as_bytes());
            out.push(b'"');
        }
        // Writing to a Vec cannot fail.
        None => drop(serde_json::to_writer(out, &value)),
    }
}

/// Rust's name for a number that JSON cannot express.
pub(crate) fn non_finite(value: f64) -> Option<&'static str> {
    match value {
        f64::INFINITY => Some("inf"),
        f64::NEG_INFINITY => Some("-inf"),
        value => value.is_nan().then_some("NaN"),
    }
}

/// True or false.
pub(super) fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Seconds since the epoch with microseconds, which is X-Ray's resolution. Earlier times become zero.
#[inline(never)]
pub(super) fn time(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (seconds, micros) = (since.as_secs(), since.subsec_micros());
    let fraction = [micros / 10_000, micros / 100 % 100, micros % 100].map(|pair| PAIRS[pair as usize]);
    // From 2001 to 2106. In one piece, as each document has two times.
    if let Ok(seconds @ 1_000_000_000..) = u32::try_from(seconds) {
        let (high, low) = (seconds / 10_000, seconds % 10_000);
        let whole = [high / 10_000, high / 100 % 100, high % 100, low / 100, low % 100].map(|pair| PAIRS[pair as usize]);
        let mut text = [b'.'; 17];
        text[..10].copy_from_slice(whole.as_flattened());
        text[11..].copy_from_slice(fraction.as_flattened());
        return out.extend_from_slice(&text);
    }
    unsigned(out, seconds);
    out.push(b'.');
    out.extend_from_slice(fraction.as_flattened());
}

/// The text form of a [`Value`] other than a string, for the redactor.
pub(in crate::xray) fn as_text(value: &Value) -> String {
    match value {
        Value::Array(Array::String(_)) | Value::String(_) => value.as_str().into_owned(),
        other => {
            let mut out = Vec::new();
            match other {
                Value::Bool(value) => boolean(&mut out, *value),
                Value::I64(value) => integer(&mut out, *value),
                Value::F64(value) => float(&mut out, *value),
                other => out.extend_from_slice(other.as_str().as_bytes()),
            }
            String::from_utf8(out).unwrap_or_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_json_must_escape_is_found_anywhere_in_a_text_of_any_length() {
        for length in 0..40 {
            let clean = vec![b'a'; length];
            assert!(is_clean(&clean), "{length}");
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = clean.clone();
                    bytes[at] = byte;
                    assert_eq!(is_clean(&bytes), !DIRTY[usize::from(byte)], "{byte} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn a_time_has_six_digits_after_its_seconds() {
        for (seconds, micros, expected) in [
            (0, 0, "0.000000"),
            (7, 1, "7.000001"),
            (999_999_999, 999_999, "999999999.999999"),
            (1_000_000_000, 0, "1000000000.000000"),
            (1_478_293_361, 271_060, "1478293361.271060"),
            (4_294_967_295, 123_456, "4294967295.123456"),
            (4_294_967_296, 654_321, "4294967296.654321"),
            (100_000_000_001, 20, "100000000001.000020"),
        ] {
            let mut out = Vec::new();
            // X-Ray's resolution is coarser than the clock's.
            time(&mut out, UNIX_EPOCH + Duration::new(seconds, micros * 1_000 + 999));
            assert_eq!(String::from_utf8(out).as_deref(), Ok(expected));
        }
        let mut out = Vec::new();
        time(&mut out, UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(out, b"0.000000");
    }

    #[test]
    fn an_escape_is_found_at_each_place_of_a_string() {
        for (length, special) in
            (1..50).flat_map(|length| ['"', '\\', '\n', '\u{1f}', ' ', '~', 'é'].map(|special| (length, special)))
        {
            for at in 0..length {
                let text: String = (0..length).map(|index| if index == at { special } else { 'x' }).collect();
                let mut out = Vec::new();
                string(&mut out, &text);
                assert_eq!(serde_json::from_slice::<String>(&out).expect("JSON"), text);
            }
        }
    }
}
