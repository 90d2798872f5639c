//! The chart: what passes between the start of the process and the first response, at each memory size.

use crate::{
    error::Error,
    measured::{Measured, SIZES},
    report::milliseconds,
};
use bench_report::{
    machine::Machine,
    panel::{Bar, Frame, Panel, Tone},
    sheet::{EDGE, HEAD, Sheet, WIDTH},
    statistics::median,
};
use std::{fs, io, path::Path};

/// The names' column.
const NAMES: i32 = 130;
const GAP: i32 = 24;
/// Right of the longest bar.
const LABEL: i32 = 84;
const HEIGHT: i32 = 34;

const AXES: [&str; SIZES.len()] = ["ms at 128 MB", "ms at 512 MB", "ms at 1,769 MB, one core"];
const NAMED: &str = "sdk_: lambda_runtime with the AWS SDK's defaults, aws-lc without jitter entropy, ring, and this library's config(). ours: this library, with config() and connect.";
const TAKEN: &str = "One SendMessage over TLS to an endpoint on this machine; the CPU share of the memory size after Init. Every number, and how to take it: benches/RESULTS.md";

pub(crate) fn write(file: &Path, all: &[Measured], machine: &Machine, rounds: usize) -> Result<(), Error> {
    let caption =
        format!("{}; {}, {} cores, {}; medians of {rounds} rounds.", machine.day(), machine.cpu, machine.cores, machine.kernel);
    Ok(fs::write(file, draw(all, &caption)?)?)
}

fn draw(all: &[Measured], caption: &str) -> io::Result<String> {
    let all: Vec<&Measured> = all.iter().filter(|measured| measured.contender.charted).collect();
    let rows: Vec<(&str, bool)> = all.iter().map(|measured| (measured.contender.name, measured.contender.ours)).collect();
    let sheet = Sheet {
        title: "A cold function with one SDK call: from the start of the process to the first response",
        legend: ["the first response: what the caller of a pre-warmed environment waits", "Init before it"],
        notes: &[NAMED, TAKEN, caption],
        names: NAMES,
        height: HEIGHT,
    };
    sheet.draw(&rows, |area| {
        let panels = i32::try_from(SIZES.len()).unwrap_or(1);
        let width = (WIDTH - 2 * EDGE - NAMES - GAP * (panels - 1)) / panels;
        for ((index, mb), axis) in (0..).zip(SIZES).zip(AXES) {
            let left = EDGE + NAMES + (width + GAP) * index;
            let rows = all.iter().map(|measured| (measured.contender.ours, measured.at(mb).map(bars).unwrap_or_default()));
            let panel = Panel { axis, lanes: 1, reference: None, longest: f64::INFINITY, rows: rows.collect() };
            panel.draw(area, Frame { left, right: left + width, top: HEAD, height: HEIGHT }, LABEL)?;
        }
        Ok(())
    })
}

/// Init, and then the first response.
fn bars(size: &crate::measured::Size) -> Vec<Bar> {
    let (init, first) = (median(&size.init), median(&size.first));
    let label = format!("{} + {}", milliseconds(&size.init), milliseconds(&size.first));
    vec![
        Bar { from: 0.0, to: init, tone: Tone::Light, lane: 0, text: String::new() },
        Bar { from: init, to: init + first, tone: Tone::Dark, lane: 0, text: label },
    ]
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::{
        contender::CONTENDERS,
        measured::{Measured, SIZES, Size},
    };

    #[test]
    fn every_charted_contender_and_its_two_times_are_in_the_chart() {
        let measured = |contender| {
            let sizes = SIZES.map(|mb| Size { mb, init: vec![5.25], first: vec![705.4], ..Size::default() });
            Measured { contender, program: "f".into(), bytes: 0, sizes: sizes.into() }
        };
        let all: Vec<Measured> = CONTENDERS.iter().map(measured).collect();
        let chart = draw(&all, "caption").expect("a chart");
        for contender in CONTENDERS {
            assert_eq!(chart.contains(contender.name), contender.charted, "{}", contender.name);
        }
        let charted = CONTENDERS.iter().filter(|contender| contender.charted).count();
        assert_eq!(chart.matches("5.2 + 705").count(), charted * SIZES.len());
    }
}
