//! Names and keys in the characters that X-Ray accepts.

use std::borrow::Cow;

use super::{json, letters::LETTERS};

const MAX_NAME: usize = 200;
const MAX_KEY: usize = 500;

/// Writes a document's `name` from parts. Characters outside of the schema's set are left out, at most 200 are written, and an
/// empty name becomes `span`.
pub(super) struct NameWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    left: usize,
    changed: bool,
}

impl<'a> NameWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'"');
        let start = out.len();
        Self { out, start, left: MAX_NAME, changed: false }
    }

    pub(super) fn push(&mut self, text: &str) {
        let bytes = text.as_bytes();
        if bytes.len() <= self.left && bytes.iter().all(|byte| ASCII[usize::from(*byte)]) {
            self.out.extend_from_slice(bytes);
            self.left -= bytes.len();
            return;
        }
        for character in text.chars() {
            if self.left == 0 {
                self.changed = true;
                return;
            }
            // No allowed character needs escaping in JSON.
            if allowed(character) {
                let mut encoded = [0; 4];
                self.out.extend_from_slice(character.encode_utf8(&mut encoded).as_bytes());
                self.left -= 1;
            } else if character.is_whitespace() {
                self.changed = true;
                self.out.push(b' ');
                self.left -= 1;
            } else {
                self.changed = true;
            }
        }
    }

    /// Returns true if the name differs from the parts.
    pub(super) fn finish(mut self) -> bool {
        if self.out[self.start..].iter().all(|byte| *byte == b' ') {
            self.out.truncate(self.start);
            self.out.extend_from_slice(b"span");
            self.changed = true;
        }
        self.out.push(b'"');
        self.changed
    }
}

/// The characters of an annotation's key.
const KEY: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
};

const ASCII: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b" _.:/%&#=+\\-@";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = others[at] != b'\\';
        at += 1;
    }
    table
};

fn allowed(character: char) -> bool {
    let Ok(code) = u16::try_from(u32::from(character)) else { return false };
    if code < 128 {
        return ASCII[usize::from(code)];
    }
    let after = LETTERS.partition_point(|(first, _)| *first <= code);
    after > 0 && code <= LETTERS[after - 1].1
}

/// A key that X-Ray indexes: letters, digits and `_`. Every other character becomes an underscore.
pub(super) fn annotation_key(key: &str) -> Cow<'_, str> {
    if !key.is_empty() && key.len() <= MAX_KEY && key.bytes().all(|byte| KEY[usize::from(byte)]) {
        return Cow::Borrowed(key);
    }
    let clean = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let clean: String = key.chars().take(MAX_KEY).map(clean).collect();
    if clean.is_empty() { Cow::Borrowed("_") } else { Cow::Owned(clean) }
}

/// Writes a metadata key. Keys that begin with `AWS.` are reserved. Returns true if it was changed.
pub(super) fn metadata_key(out: &mut Vec<u8>, key: &str) -> bool {
    if !key.is_empty() && key.len() <= MAX_KEY && !key.starts_with("AWS.") && json::is_clean(key.as_bytes()) {
        out.reserve(key.len() + 4);
        json::comma(out);
        json::plain(out, key.as_bytes());
        out.push(b':');
        return false;
    }
    json::comma(out);
    let kept = json::cut(key, MAX_KEY);
    if kept.is_empty() || kept.starts_with("AWS.") {
        out.extend_from_slice(b"\"_");
        let body = out.len();
        json::string(out, kept);
        out.remove(body);
        out.push(b':');
        return true;
    }
    json::string(out, kept);
    out.push(b':');
    kept.len() < key.len()
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn every_character_of_the_basic_plane_is_judged_as_the_schema_does() {
        let schema = include_str!("../../../tests/vectors/xray-segmentdocument-schema-v1.0.0.json");
        let schema: serde_json::Value = serde_json::from_str(schema).expect("the schema is JSON");
        let pattern = &schema["properties"]["name"];
        let validator = jsonschema::validator_for(pattern).expect("the pattern compiles");
        let wrong = (0..=0xffff_u32)
            .filter_map(char::from_u32)
            .filter(|character| allowed(*character) != validator.is_valid(&serde_json::json!(character.to_string())))
            .count();
        assert_eq!(wrong, 0);
        assert!(!allowed('😀'));
    }
}
