//! The lines that the documentation shows are lines that functions write.

use crate::{
    function::{Do, Probe},
    support::{Stage, Tested, ensure, test},
};
use lambda_lifecycle_sandbox::function::TraceMode;
use libtest_mimic::Trial;
use serde_json::json;

const PAGE: &str = include_str!("../../docs/logs.md");
const README: &str = include_str!("../../README.md");

pub(crate) fn tests() -> Vec<Trial> {
    let shown = [("JSON", ["placed", "in stock"].as_slice()), ("Text", &["placed"])].map(|(format, messages)| {
        test(format!("the page shows a line as it is written, {format}"), move || shows(Probe::Ours, format, messages, &[PAGE]))
    });
    let own =
        test("the page shows a line of the user's own subscriber", || shows(Probe::Fmt, "JSON", &["placed"], &[PAGE, README]));
    shown.into_iter().chain([own]).collect()
}

/// Prints the lines, for `--nocapture`, and looks for each in the pages.
async fn shows(probe: Probe, format: &'static str, messages: &'static [&'static str], pages: &'static [&'static str]) -> Tested {
    let stage = Stage::with(probe, TraceMode::Active, |function| {
        function.log_format(format).env("LAMBDA_LIFECYCLE_LOG_BUFFER", "debug,lambda_lifecycle=off")
    });
    let stage = stage.await?;
    stage.invoke(json!(Do::Page)).await?;
    stage.settle().await?;
    for message in messages {
        let lines = stage.logged(message);
        let [line] = &lines[..] else { return Err(format!("{message}: {lines:?}").into()) };
        println!("{line}");
        for page in pages {
            let is_shown = page.lines().any(|shown| masked(shown) == masked(line));
            ensure(is_shown, format!("a page does not show {line}"))?;
        }
    }
    Ok(())
}

/// A line without what differs from run to run: ids and times.
fn masked(line: &str) -> String {
    let is_part = |letter: char| matches!(letter, '0'..='9' | 'a'..='f' | '-' | ':' | '.' | 'T' | 'Z');
    let mut masked = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(is_part) {
        let run = &rest[at..];
        let run = &run[..run.find(|letter| !is_part(letter)).unwrap_or(run.len())];
        masked.push_str(&rest[..at]);
        masked.push_str(if run.len() < 12 { run } else { "#" });
        rest = &rest[at + run.len()..];
    }
    masked + rest
}
