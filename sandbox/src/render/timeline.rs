//! A timeline, one event a line.

use super::{
    WIDTH,
    paint::{self, Color, Ink},
};
use std::time::SystemTime;

/// The longest source that has a separate column.
const SOURCE_COLUMNS: usize = 18;

/// Renders rows of time, source and text in the order of time, with colors as [`Color::auto`] finds them.
pub fn timeline<S: AsRef<str>, T: AsRef<str>>(rows: &[(SystemTime, S, T)]) -> String {
    timeline_in(rows, Color::auto())
}

/// Renders rows of time, source and text: the time since the first row, the time since the row before, who, what.
pub fn timeline_in<S: AsRef<str>, T: AsRef<str>>(rows: &[(SystemTime, S, T)], color: Color) -> String {
    let mut rows: Vec<_> = rows.iter().map(|(at, source, text)| (*at, source.as_ref(), text.as_ref())).collect();
    rows.sort_by_key(|(at, ..)| *at);
    let Some(&(first, ..)) = rows.first() else {
        return String::new();
    };
    let columns = rows.iter().map(|(_, source, _)| paint::width(source)).max().unwrap_or(0).min(SOURCE_COLUMNS);
    let mut sources: Vec<&str> = Vec::new();
    let mut out = String::new();
    let mut before = first;
    for (at, source, text) in rows {
        let since = |earlier| paint::milliseconds(at.duration_since(earlier).unwrap_or_default().as_secs_f64());
        let gap = format!("+{}", since(before));
        let shown = paint::cut(source, columns);
        let padding = " ".repeat(columns - paint::width(&shown));
        let begin = format!("{:>10}  {gap:>11}  ", since(first));
        let text = paint::cut(text, WIDTH.saturating_sub(paint::width(&begin) + columns + 2));
        let position = sources.iter().position(|known| *known == source).unwrap_or_else(|| {
            sources.push(source);
            sources.len() - 1
        });
        out += &color.paint(Ink::Dim, &begin);
        out += &color.paint(ink_of(position), &shown);
        out.extend([padding.as_str(), "  ", &text, "\n"]);
        before = at;
    }
    out
}

/// Sources differ by color, in the order in which they first appear.
fn ink_of(position: usize) -> Ink {
    const INKS: [Ink; 5] = [Ink::Cyan, Ink::Green, Ink::Yellow, Ink::Magenta, Ink::Blue];
    INKS[position % INKS.len()]
}
