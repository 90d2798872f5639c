//! The tables.

use crate::{absent, build, concurrent, contender::CONTENDERS, error::Error, measured::Measured, samples::Samples};
use bench_report::{
    format::{grouped, head, kilobytes, line, ratio, spread},
    machine::{self, Machine},
    section,
    statistics::median,
};
use std::{fmt::Write as _, fs, path::Path};

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// A figure of the ratio table.
type Figure = (&'static str, fn(&Measured) -> Option<f64>);

const RATIOS: &[Figure] = &[
    ("instructions to `/next`", |of| of.instructions.map(|count| count as f64)),
    ("CPU time to `/next`", |of| Some(median(&of.samples.cpu))),
    ("to `/next`", |of| Some(median(&of.samples.to_next))),
    ("first response", |of| Some(median(&of.samples.first_answer))),
    ("system calls", |of| of.system_calls.map(|count| count as f64)),
    ("page faults", |of| Some(median(&of.samples.faults))),
    ("resident", |of| Some(median(&of.samples.resident))),
    ("size", |of| Some(of.built.size as f64)),
    ("crates", |of| Some(of.built.crates as f64)),
];

pub(crate) fn tables(
    all: &[Measured],
    concurrency: &[concurrent::Row],
    machine: &Machine,
    rounds: usize,
    contenders: &Path,
) -> Result<String, Error> {
    let mut text = String::new();
    about(&mut text, machine, rounds, contenders)?;

    text.push_str("\n### Cold start\n\nMedian (10th to 90th percentile), in microseconds.\n\n");
    head(&mut text, &["contender", "spawn to first `/next`", "CPU time to there", "spawn to first response"]);
    for of in all {
        let Samples { to_next, cpu, first_answer, .. } = &of.samples;
        line(&mut text, of.contender.name, &[spread(to_next), spread(cpu), spread(first_answer)]);
    }

    text.push_str("\n### At the first `/next`\n\n");
    let titles = ["contender", "instructions", "system calls", "page faults", "resident KB", "threads", "stripped KB", "crates"];
    head(&mut text, &titles);
    for of in all {
        let [instructions, system_calls] =
            [of.instructions, of.system_calls].map(|count| count.map_or_else(|| "not counted".to_owned(), grouped));
        let Samples { faults, resident, threads, .. } = &of.samples;
        let cells = [
            instructions,
            system_calls,
            format!("{:.0}", median(faults)),
            kilobytes(median(resident)),
            format!("{:.0}", median(threads)),
            kilobytes(of.built.size as f64),
            of.built.crates.to_string(),
        ];
        line(&mut text, of.contender.name, &cells);
    }

    text.push_str("\n### Warm invocations, ten spans each\n\nMedian (10th to 90th percentile), in microseconds, 10 ms between two invocations.\n\n");
    head(&mut text, &["contender", "event to response", "response to next `/next`", "CPU time"]);
    for of in all {
        let Samples { to_answer, to_ready, warm_cpu, .. } = &of.samples;
        line(&mut text, of.contender.name, &[spread(to_answer), spread(to_ready), spread(warm_cpu)]);
    }

    text.push_str(
        "\nThe same, each event as soon as the invocation before is over, and what the process has grown to by then.\n\n",
    );
    head(&mut text, &["contender", "event to response", "response to next `/next`", "resident KB", "threads"]);
    for of in all {
        let Samples { to_answer_at_once, to_ready_at_once, warm_resident, warm_threads, .. } = &of.samples;
        let cells = [
            spread(to_answer_at_once),
            spread(to_ready_at_once),
            kilobytes(median(warm_resident)),
            format!("{:.0}", median(warm_threads)),
        ];
        line(&mut text, of.contender.name, &cells);
    }

    text.push_str("\n### Ratios to bare, of the medians\n\n");
    let mut titles = vec!["contender"];
    titles.extend(RATIOS.iter().map(|(title, _)| *title));
    head(&mut text, &titles);
    for of in all {
        let cells: Vec<String> = RATIOS.iter().map(|(_, figure)| ratio(figure(of), figure(&all[0]))).collect();
        line(&mut text, of.contender.name, &cells);
    }
    text.push_str(
        "\n### Above bare\n\nDifferences of medians: microseconds of a warm invocation, spaced and back to back, and KB.\n\n",
    );
    let titles = [
        "contender",
        "to response",
        "to `/next`",
        "to response, b.t.b.",
        "to `/next`, b.t.b.",
        "CPU time",
        "stripped KB",
        "resident KB",
    ];
    head(&mut text, &titles);
    for of in all {
        let above = |figure: fn(&Measured) -> f64, unit: f64| format!("{:+.0}", (figure(of) - figure(&all[0])) / unit);
        let cells = [
            above(|of| median(&of.samples.to_answer), 1e3),
            above(|of| median(&of.samples.to_ready), 1e3),
            above(|of| median(&of.samples.to_answer_at_once), 1e3),
            above(|of| median(&of.samples.to_ready_at_once), 1e3),
            above(|of| median(&of.samples.warm_cpu), 1e3),
            above(|of| of.built.size as f64, 1024.0),
            above(|of| median(&of.samples.resident), 1024.0),
        ];
        line(&mut text, of.contender.name, &cells);
    }
    absent::table(&mut text, all);
    concurrent::table(&mut text, concurrency);
    Ok(text)
}

/// Puts the tables between the two marks.
pub(crate) fn write(file: &Path, tables: &str) -> Result<(), Error> {
    if section::replace(file, BEGIN, END, tables)? { Ok(()) } else { Err(Error::NoMarker(BEGIN)) }
}

fn about(text: &mut String, machine: &Machine, rounds: usize, contenders: &Path) -> Result<(), Error> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let tools = ["rustc", "valgrind", "strace"].map(|program| machine::said(program, &["--version"])).join("; ");
    let Machine { date, cpu, cores, kernel } = machine;
    let _ = writeln!(text, "- {date}; {cpu}, {cores} cores, {kernel}; {tools}; load average at the end {load}");
    let _ = writeln!(text, "- {rounds} rounds, all contenders in each, each round in another order");
    let tree =
        build::cargo(contenders, &["tree", "--locked", "--workspace", "-e", "normal", "--prefix", "none", "--depth", "1"])?;
    let mut versions: Vec<&str> = tree
        .lines()
        .filter(|line| ["awssdk", "lambda", "opentelemetry", "tokio v"].iter().any(|name| line.starts_with(name)))
        .collect();
    for line in &mut versions {
        *line = line.split(" (").next().unwrap_or(line);
    }
    versions.sort_unstable();
    versions.dedup();
    let _ = writeln!(text, "- {}\n", versions.join(", "));
    for contender in CONTENDERS {
        let left_out = contender.linked.missing().map_or_else(String::new, |what| format!("; left out: there is {what} here"));
        let _ = writeln!(text, "- **{}**: {}{left_out}", contender.name, contender.what);
    }
    Ok(())
}
