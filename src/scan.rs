//! Keys and values of JSON text, found without decoding it.
//!
//! A value is skipped by its quotes and brackets and is not checked. For text that is not JSON the result is arbitrary, but it
//! never panics.

use memchr::memchr_iter;

/// The members of an object: each key as it is written, and the text from its value on. Empty if the text is not an object.
pub(crate) fn members(text: &[u8]) -> Members<'_> {
    Members(Parts::new(text, b'{'))
}

/// The elements of an array, each as the text from it on. Empty if the text is not an array.
pub(crate) fn elements(text: &[u8]) -> Elements<'_> {
    Elements(Parts::new(text, b'['))
}

/// The text between the quotes, if the text begins with a string.
pub(crate) fn string(text: &[u8]) -> Option<&[u8]> {
    let inside = text.strip_prefix(b"\"")?;
    Some(&inside[..end_of_string(inside)])
}

pub(crate) struct Members<'event>(Parts<'event>);

impl<'event> Iterator for Members<'event> {
    type Item = (&'event [u8], &'event [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let member = self.0.next()?;
        let key = string(member)?;
        let value = member.get(key.len() + 2..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        self.0.last = value;
        Some((key, value))
    }
}

pub(crate) struct Elements<'event>(Parts<'event>);

impl<'event> Iterator for Elements<'event> {
    type Item = &'event [u8];

    fn next(&mut self) -> Option<&'event [u8]> {
        let element = self.0.next()?;
        self.0.last = element;
        Some(element)
    }
}

/// The parts between the brackets, separated by commas.
struct Parts<'event> {
    /// The start of the last value. It is skipped only when the next one is needed, so a reader that has found its key does not
    /// pay for it.
    last: &'event [u8],
    begun: bool,
}

impl<'event> Parts<'event> {
    fn new(text: &'event [u8], bracket: u8) -> Self {
        Self { last: text.strip_prefix(&[bracket]).unwrap_or_default(), begun: false }
    }

    fn next(&mut self) -> Option<&'event [u8]> {
        let part = if std::mem::replace(&mut self.begun, true) {
            skip(self.last).trim_ascii_start().strip_prefix(b",")?
        } else {
            self.last
        };
        let part = part.trim_ascii_start();
        (!matches!(part.first(), None | Some(b']' | b'}'))).then_some(part)
    }
}

/// The text after its first value.
fn skip(text: &[u8]) -> &[u8] {
    match text.first() {
        Some(b'"') => behind_string(&text[1..]),
        Some(b'{') => behind_brackets(text, b'{', b'}'),
        Some(b'[') => behind_brackets(text, b'[', b']'),
        _ => {
            let end = text.iter().position(|byte| matches!(byte, b',' | b']' | b'}'));
            &text[end.unwrap_or(text.len())..]
        }
    }
}

/// Counts the brackets of one kind outside of strings. In valid JSON, those of the other kind are balanced between them.
fn behind_brackets(text: &[u8], open: u8, close: u8) -> &[u8] {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte == b'"' {
            at += end_of_string(&text[at..]) + 1;
        } else if byte == open {
            depth += 1;
        } else if byte == close {
            depth -= 1;
            if depth == 0 {
                return &text[at..];
            }
        }
    }
    &[]
}

fn behind_string(inside: &[u8]) -> &[u8] {
    inside.get(end_of_string(inside) + 1..).unwrap_or_default()
}

/// The position of the quote that ends a string: the first one after an even number of backslashes.
fn end_of_string(inside: &[u8]) -> usize {
    let is_escaped = |quote: usize| inside[..quote].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    memchr_iter(b'"', inside).find(|quote| !is_escaped(*quote)).unwrap_or(inside.len())
}
