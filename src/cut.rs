//! Shortens texts to the lengths that Lambda accepts, and marks them as cut.

use std::fmt::{self, Display, Formatter, Write};

/// The most bytes of an error's message, in the error response, in the log and in the trace.
///
/// Lambda accepts 6 MB and splits log lines of more than 256 KB. This leaves room for the bytes that JSON escaping adds. It is
/// also the length that Step Functions shows of an error (32,768 characters), and an eighth of the length that an asynchronous
/// invocation's destination accepts.
pub(crate) const ERROR_MESSAGE: usize = 32_000;

/// The most bytes of an error's type, which is also sent as a header.
const ERROR_TYPE: usize = 1_000;

/// Cuts an error's message.
pub(crate) fn error_message(text: &mut String) {
    shorten(text, ERROR_MESSAGE);
}

/// Cuts an error's type.
pub(crate) fn error_type(text: &mut String) {
    shorten(text, ERROR_TYPE);
}

/// Leaves `most` bytes of a text, and appends the number of bytes that it had.
pub(crate) fn shorten(text: &mut String, most: usize) {
    let bytes = text.len();
    if bytes > most {
        text.truncate(text.floor_char_boundary(most));
        // Writing into memory cannot fail.
        let _ = mark(text, bytes);
        text.shrink_to_fit();
    }
}

fn mark(out: &mut impl Write, bytes: usize) -> fmt::Result {
    write!(out, "… (cut, {bytes} bytes)")
}

/// Displays at most [`ERROR_MESSAGE`] bytes of an error.
pub(crate) struct Cut<T>(pub(crate) T);

impl<T: Display> Display for Cut<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut bounded = Bounded { out: f, bytes: 0 };
        write!(bounded, "{}", self.0)?;
        let bytes = bounded.bytes;
        if bytes > ERROR_MESSAGE { mark(f, bytes) } else { Ok(()) }
    }
}

struct Bounded<'f, 'o> {
    out: &'f mut Formatter<'o>,
    bytes: usize,
}

impl Write for Bounded<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = ERROR_MESSAGE.saturating_sub(self.bytes);
        self.bytes = self.bytes.saturating_add(text.len());
        self.out.write_str(&text[..text.floor_char_boundary(room)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_fits_stays() {
        let mut text = "x".repeat(ERROR_MESSAGE);
        error_message(&mut text);
        assert_eq!(text, "x".repeat(ERROR_MESSAGE));
        assert_eq!(Cut(&text).to_string(), text);
    }

    #[test]
    fn a_text_that_does_not_is_cut_between_characters_and_says_so() {
        // Each character has three bytes.
        let long = "€".repeat(1_000_000);
        let mut cut = long.clone();
        error_message(&mut cut);
        assert_eq!(cut, format!("{}… (cut, 3000000 bytes)", "€".repeat(ERROR_MESSAGE / 3)));
        assert_eq!(Cut(&long).to_string(), cut);
    }

    #[test]
    fn pieces_are_counted_together() {
        let pieces = Cut(format_args!("{}{}{}", "a".repeat(ERROR_MESSAGE - 1), "b€", "c")).to_string();
        assert_eq!(pieces, format!("{}b… (cut, {} bytes)", "a".repeat(ERROR_MESSAGE - 1), ERROR_MESSAGE + 4));
    }
}
