//! The tables.

use crate::{
    contender::{CONTENDERS, DEFAULTS},
    error::Error,
    handshake::Handshake,
    measured::{Measured, of, ratio},
};
use bench_report::{
    format,
    machine::{self, Machine},
    section,
    statistics::median,
};
use std::{fmt::Write as _, fs, path::Path};

const BEGIN: &str = "<!-- first response: begin -->";
const END: &str = "<!-- first response: end -->";

const TITLES: [&str; 11] = [
    "contender",
    "Init",
    "first response",
    "second response",
    "start to first response",
    "CPU in all",
    "resident MB",
    "program MB",
    "first response, ratio",
    "start to first response, ratio",
    "CPU in all, ratio",
];

pub(crate) fn tables(
    all: &[Measured],
    sizes: &[u32],
    machine: &Machine,
    rounds: usize,
    handshake: &Handshake,
    roots: usize,
) -> Result<String, Error> {
    let mut text = String::new();
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let Machine { date, cpu, cores, kernel } = machine;
    let rustc = machine::said("rustc", &["--version"]);
    let _ = writeln!(text, "- {date}; {cpu}, {cores} cores, {kernel}; {rustc}; load average at the end {load}");
    let _ = writeln!(text, "- {rounds} rounds, all contenders in each, each round in another order");
    let (middle, fastest) = (handshake.median / 1e6, handshake.fastest / 1e6);
    let _ = writeln!(
        text,
        "- a TLS handshake with the local endpoint takes {middle:.2} ms (the fastest of 31: {fastest:.2} ms); every contender reads a bundle of {roots} root certificates\n"
    );
    for contender in CONTENDERS {
        let measured = all.iter().any(|measured| measured.contender.name == contender.name);
        let left_out = if measured { "" } else { "; not measured in this run" };
        let _ = writeln!(text, "- **{}**: {}{left_out}", contender.name, contender.what);
    }
    for &mb in sizes {
        let quota = lambda_lifecycle_sandbox::control_groups::CpuQuota::of_memory(mb);
        let _ = writeln!(text, "\n### {mb} MB: {quota}\n\nMedians in milliseconds; ratios of medians to `{DEFAULTS}`.\n");
        format::head(&mut text, &TITLES);
        for measured in all {
            let Some(size) = measured.at(mb) else { continue };
            let base = of(all, DEFAULTS, mb);
            let times: [&[f64]; 5] = [&size.init, &size.first, &size.second, &size.start_to_first, &size.cpu];
            let mut cells: Vec<String> = times.into_iter().map(milliseconds).collect();
            cells.push(format!("{:.1}", median(&size.resident)));
            cells.push(format!("{:.1}", measured.megabytes()));
            let ratios = base.map(|base| {
                [(&size.first, &base.first), (&size.start_to_first, &base.start_to_first), (&size.cpu, &base.cpu)]
                    .map(|(value, base)| format!("{:.3}", ratio(value, base)))
            });
            cells.extend(ratios.unwrap_or_else(|| ["", "", ""].map(str::to_owned)));
            format::line(&mut text, measured.contender.name, &cells);
        }
    }
    Ok(text)
}

/// The median, with a decimal digit where the value is small enough for it.
pub(crate) fn milliseconds(samples: &[f64]) -> String {
    let value = median(samples);
    if value < 20.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// Puts the tables between the two marks.
pub(crate) fn write(page: &Path, tables: &str) -> Result<(), Error> {
    if section::replace(page, BEGIN, END, tables)? { Ok(()) } else { Err(Error::NoMarker(BEGIN, END)) }
}
