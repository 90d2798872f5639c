//! Numbers and lines of the tables.

use crate::statistics::quantile;
use std::fmt::Write as _;

pub fn head(text: &mut String, titles: &[&str]) {
    let _ = writeln!(text, "| {} |\n|---{}|", titles.join(" | "), "|---:".repeat(titles.len() - 1));
}

pub fn line(text: &mut String, name: &str, cells: &[String]) {
    let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
}

/// Nanoseconds as microseconds: the median, with the 10th and the 90th percentile.
pub fn spread(samples: &[f64]) -> String {
    format!("{} ({} to {})", middle(samples), microseconds(samples, 0.1), microseconds(samples, 0.9))
}

pub fn middle(samples: &[f64]) -> String {
    microseconds(samples, 0.5)
}

fn microseconds(samples: &[f64], rank: f64) -> String {
    grouped((quantile(samples, rank) / 1e3).round() as u64)
}

pub fn kilobytes(bytes: f64) -> String {
    grouped((bytes / 1024.0).round() as u64)
}

pub fn ratio(value: Option<f64>, base: Option<f64>) -> String {
    match (value, base) {
        (Some(value), Some(base)) if base > 0.0 => format!("{:.3}", value / base),
        _ => "not counted".to_owned(),
    }
}

/// With a comma between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
