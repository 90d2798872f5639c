//! `--ablate`: what each stage adds to a start. Nothing is timed, so it can run under any load.

use crate::{
    budget::Figure,
    contender::{ABLATION, CONTENDERS, Contender},
    error::Error,
    gate,
    sinks::Sinks,
};
use bench_report::format;
use std::path::Path;

const COLUMNS: [Figure; 5] =
    [Figure::Instructions, Figure::Syscalls, Figure::StrippedKb, Figure::ResidentKb, Figure::AnonymousKb];

/// Prints a table: each program with its figures, and their distance to `bare`.
pub(crate) fn print(benches: &Path) -> Result<(), Error> {
    let sinks = Sinks::start()?;
    let contenders = benches.join("contenders");
    let mut text = String::new();
    let titles: Vec<String> = COLUMNS.iter().map(|figure| format!("{figure}, above `bare`")).collect();
    let mut head = vec!["program"];
    head.extend(titles.iter().map(String::as_str));
    format::head(&mut text, &head);
    let mut base = None;
    let named = |name: &str| CONTENDERS.iter().find(|contender| contender.name == name);
    let rows: Vec<&Contender> =
        named("bare").into_iter().chain(ABLATION).chain(named("ours")).chain(named("ours_local")).collect();
    for contender in &rows {
        let figures = gate::figures(&contenders, contender, false, &sinks)?;
        let base = base.get_or_insert_with(|| figures.clone());
        let cells: Vec<String> = COLUMNS.iter().map(|figure| cell(figures.get(figure), base.get(figure))).collect();
        format::line(&mut text, contender.name, &cells);
    }
    println!("{text}");
    for contender in rows {
        println!("- **{}**: {}", contender.name, contender.what);
    }
    Ok(())
}

fn cell(value: Option<&f64>, base: Option<&f64>) -> String {
    match (value, base) {
        (Some(value), Some(base)) => format!("{}, {:+.0}", format::grouped(*value as u64), value - base),
        _ => "not measured".to_owned(),
    }
}
