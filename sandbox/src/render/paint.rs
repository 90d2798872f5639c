//! Colors and columns.

use std::{ffi::OsStr, io::IsTerminal};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether to print colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// ANSI escapes.
    On,
    /// Plain text.
    Off,
}

impl Color {
    /// On if standard output is a terminal and `NO_COLOR` is unset or empty (<https://no-color.org>).
    pub fn auto() -> Self {
        Self::on(std::io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref())
    }

    fn on(terminal: bool, no_color: Option<&OsStr>) -> Self {
        if terminal && no_color.is_none_or(OsStr::is_empty) { Self::On } else { Self::Off }
    }

    pub(super) fn paint(self, ink: Ink, text: &str) -> String {
        match (self, ink) {
            (Self::Off, _) | (_, Ink::Plain) => text.to_owned(),
            _ if text.is_empty() => String::new(),
            (Self::On, ink) => format!("\x1b[{}m{text}\x1b[0m", ink.code()),
        }
    }
}

/// The color of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Blue,
    Magenta,
    Cyan,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Blue => "34",
            Self::Magenta => "35",
            Self::Cyan => "36",
        }
    }
}

/// Columns that `text` takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// `text` on one line in at most `columns`, its end replaced by `…` where it is longer.
pub(super) fn cut(text: &str, columns: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if width(&line) <= columns {
        return line;
    }
    let mut kept = String::new();
    let mut taken = 0;
    for c in line.chars() {
        taken += c.width().unwrap_or(0);
        if taken + 1 > columns {
            break;
        }
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// Milliseconds with as many digits as matter.
pub(super) fn milliseconds(seconds: f64) -> String {
    let ms = seconds * 1_000.0;
    match ms {
        ..0.005 => "0 ms".into(),
        ..9.995 => format!("{ms:.2} ms"),
        ..99.95 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_need_a_terminal_and_no_no_color() {
        assert_eq!(Color::on(true, None), Color::On);
        assert_eq!(Color::on(true, Some(OsStr::new(""))), Color::On);
        assert_eq!(Color::on(true, Some(OsStr::new("1"))), Color::Off);
        assert_eq!(Color::on(false, None), Color::Off);
    }

    #[test]
    fn text_is_cut_by_columns_and_not_by_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("注文する", 5), "注文…");
        assert_eq!(cut("注文する", 4), "注…");
        assert_eq!(cut("a\nb", 9), "a b");
        assert_eq!(cut("ab", 0), "");
    }

    #[test]
    fn milliseconds_have_the_digits_that_matter() {
        let shown = [0.0, 0.000_02, 0.009_99, 0.0145, 0.142, 12.3456].map(milliseconds);
        assert_eq!(shown, ["0 ms", "0.02 ms", "9.99 ms", "14.5 ms", "142 ms", "12346 ms"]);
    }
}
