//! The two charts beside the tables: `benches/cold_start.svg` and `benches/invocation.svg`, of the contenders that are `charted`.

use crate::{error::Error, measured::Measured};
use bench_report::{
    machine::Machine,
    panel::{Bar, Frame, LONGEST, Panel, Tone, number},
    sheet::{EDGE, HEAD, Sheet, WIDTH},
    statistics::median,
};
use std::{fs, io, path::Path};

/// The names' column.
const NAMES: i32 = 190;
const NAMED: &str = "bare: lambda_runtime alone. ours: this library, all four stages. _json: with a JSON log, else without one. _static: linked statically.";
const SHARED: &str =
    "One machine, and a shared one: compare ratios, not microseconds. Every number, and how to take it: benches/RESULTS.md";

/// One contender's medians, in microseconds.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    ours: bool,
    to_next: f64,
    first_answer: f64,
    /// Divided by bare's; `None` where they were not counted.
    instructions: Option<f64>,
    to_answer: f64,
    to_ready: f64,
}

/// Writes both charts into the folder.
pub(crate) fn write(folder: &Path, all: &[Measured], machine: &Machine, rounds: usize) -> Result<(), Error> {
    let rows = rows(all);
    let caption =
        format!("{}; {}, {} cores, {}; medians of {rounds} rounds.", machine.day(), machine.cpu, machine.cores, machine.kernel);
    fs::write(folder.join("cold_start.svg"), cold_start(&rows, &caption)?)?;
    fs::write(folder.join("invocation.svg"), invocation(&rows, &caption)?)?;
    Ok(())
}

fn rows(all: &[Measured]) -> Vec<Row> {
    let bare = all.first().and_then(|of| of.instructions);
    let row = |of: &Measured| Row {
        name: of.contender.name.to_owned(),
        ours: of.contender.package == "ours",
        to_next: median(&of.samples.to_next) / 1e3,
        first_answer: median(&of.samples.first_answer) / 1e3,
        instructions: of.instructions.zip(bare).map(|(count, bare)| count as f64 / bare as f64),
        to_answer: median(&of.samples.to_answer) / 1e3,
        to_ready: median(&of.samples.to_ready) / 1e3,
    };
    all.iter().filter(|of| of.contender.charted).map(row).collect()
}

fn names(rows: &[Row]) -> Vec<(&str, bool)> {
    rows.iter().map(|row| (row.name.as_str(), row.ours)).collect()
}

fn cold_start(rows: &[Row], caption: &str) -> io::Result<String> {
    let times = rows.iter().map(|row| {
        let bar = |to, tone, lane| Bar { from: 0.0, to, tone, lane, text: number(to, 0) };
        (row.ours, vec![bar(row.to_next, Tone::Dark, 0), bar(row.first_answer, Tone::Light, 1)])
    });
    let times = Panel {
        axis: "microseconds from the start of the process",
        lanes: 2,
        longest: LONGEST,
        reference: None,
        rows: times.collect(),
    };
    let instructions = rows.iter().map(|row| {
        let bar = |to| Bar { from: 0.0, to, tone: Tone::Dark, lane: 0, text: format!("{to:.2} ×") };
        (row.ours, row.instructions.map(bar).into_iter().collect())
    });
    let counted = rows.iter().any(|row| row.instructions.is_some());
    let axis = if counted { "instructions to the first /next, × bare" } else { "instructions were not counted" };
    let instructions =
        Panel { axis, lanes: 1, longest: LONGEST, reference: counted.then_some(1.0), rows: instructions.collect() };
    let height = 40;
    let sheet = Sheet {
        title: "A cold start",
        legend: ["to the first /next", "to the first response"],
        notes: &[NAMED, caption, SHARED],
        names: NAMES,
        height,
    };
    sheet.draw(&names(rows), |area| {
        times.draw(area, Frame { left: EDGE + NAMES, right: 660, top: HEAD, height }, 54)?;
        instructions.draw(area, Frame { left: 700, right: WIDTH - EDGE, top: HEAD, height }, 54)
    })
}

fn invocation(rows: &[Row], caption: &str) -> io::Result<String> {
    let bars = rows.iter().map(|row| {
        let (answer, whole) = (row.to_answer, row.to_answer + row.to_ready);
        let label = format!("{} + {}", number(answer, 0), number(row.to_ready, 0));
        let before = Bar { from: 0.0, to: answer, tone: Tone::Dark, lane: 0, text: String::new() };
        (row.ours, vec![before, Bar { from: answer, to: whole, tone: Tone::Light, lane: 0, text: label }])
    });
    let axis = "microseconds, as Lambda's end of the connection sees them";
    let panel = Panel { axis, lanes: 1, longest: LONGEST, reference: None, rows: bars.collect() };
    let height = 32;
    let title = "A warm invocation with ten spans, 10 ms after the one before";
    let sheet = Sheet {
        title,
        legend: ["from the event to the response", "from the response to the next /next"],
        notes: &[NAMED, caption, SHARED],
        names: NAMES,
        height,
    };
    sheet.draw(&names(rows), |area| panel.draw(area, Frame { left: EDGE + NAMES, right: WIDTH - EDGE, top: HEAD, height }, 110))
}

#[cfg(test)]
mod tests {
    use super::{Row, cold_start, invocation};

    /// Twice as many as there are, of widely different cost, the last a thousand times the first.
    fn thirteen() -> Vec<Row> {
        let names = ["bare", "ours", "bare_json", "ours_json", "lambda_otel_lite", "otel_layer", "otel_lambda_tower"];
        let names = names.into_iter().chain(["awssdk_instrumentation", "bare_static", "ours_static", "x", "y", "far_away"]);
        let row = |(number, name): (usize, &str)| Row {
            name: name.to_owned(),
            ours: name.starts_with("ours"),
            to_next: 575.0 + 123.0 * number as f64,
            first_answer: if name == "far_away" { 962_345.0 } else { 700.0 + 190.0 * number as f64 },
            instructions: Some(1.0 + 0.09 * number as f64),
            to_answer: 24.0 + 23.0 * number as f64,
            to_ready: if name == "far_away" { 831_250.0 } else { 3.0 + 12.0 * number as f64 },
        };
        names.enumerate().map(row).collect()
    }

    #[test]
    fn names_and_values_of_all_rows_are_in_both_charts() {
        let rows = thirteen();
        let (start, warm) = (cold_start(&rows, "caption").unwrap(), invocation(&rows, "caption").unwrap());
        for row in &rows {
            assert!(start.contains(&row.name) && warm.contains(&row.name), "{}", row.name);
        }
        for value in ["\n1,313\n", "\n962,345\n", "\n1.36 ×\n"] {
            assert!(start.contains(value), "{value}");
        }
        for value in ["\n47 + 15\n", "\n300 + 831,250\n"] {
            assert!(warm.contains(value), "{value}");
        }
    }
    #[test]
    fn the_chart_says_that_instructions_were_not_counted() {
        let rows: Vec<Row> = thirteen().into_iter().map(|row| Row { instructions: None, ..row }).collect();
        let start = cold_start(&rows, "caption").unwrap();
        assert!(start.contains("instructions were not counted") && !start.contains(" ×\n"));
    }
}
