//! The parts of a page that a program writes.

use std::{fs, io, path::Path};

/// Puts `text` between the two marks of a page. `Ok(false)` where the page has no such marks.
pub fn replace(page: &Path, begin: &str, end: &str, text: &str) -> io::Result<bool> {
    let old = fs::read_to_string(page)?;
    let Some((before, rest)) = old.split_once(begin) else { return Ok(false) };
    let Some((_, after)) = rest.split_once(end) else { return Ok(false) };
    fs::write(page, format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim_end()))?;
    Ok(true)
}

/// A row of a table whose first cell is `first`, with this text in place of the old one. `Ok(false)` where the page has no such row.
pub fn replace_row(page: &Path, first: &str, row: &str) -> io::Result<bool> {
    let old = fs::read_to_string(page)?;
    let begin = format!("| {first} |");
    let Some(line) = old.lines().find(|line| line.starts_with(&begin)) else { return Ok(false) };
    fs::write(page, old.replacen(line, row, 1))?;
    Ok(true)
}
