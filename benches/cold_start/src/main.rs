//! What a cold start costs, of this library and of what a user would pick instead: real bootstraps, in the sandbox and out of it.
//!
//! `cargo run --release --manifest-path benches/cold_start/Cargo.toml -- --write` builds the contenders, measures them, and puts the tables
//! into `benches/RESULTS.md`. Without `--write` they are printed only; `--rounds 100` measures longer. `-- --check` instead compares what does
//! not drift with `benches/budget.toml`, and fails beyond it.

mod bootstrap;
mod budget;
mod build;
mod chart;
mod contender;
mod environment;
mod footprint;
mod gate;
mod instructions;
mod machine;
mod process;
mod report;
mod samples;
mod sinks;
mod start;

use contender::{CONTENDERS, Contender};
use samples::Samples;
use std::{path::PathBuf, process::ExitCode};

const ROUNDS: usize = 50;

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}: usage: cold_start [--rounds N] [--write] | --check")]
    Usage(String),
    #[error("`cargo {0}` failed: run it by hand in benches/contenders")]
    Cargo(String),
    #[error("{contender} did not get as far as {what}")]
    Incomplete { contender: &'static str, what: &'static str },
    #[error("{0} exported no span: it would be measured without its work")]
    NothingExported(&'static str),
    #[error("benches/RESULTS.md has no line `{0}`")]
    NoMarker(&'static str),
    #[error("benches/budget.toml names {0}, which is no contender of benches/cold_start/src/contender.rs")]
    NoContender(String),
    #[error("{0} figures are over their budget")]
    OverBudget(usize),
    #[error(transparent)]
    Budget(#[from] budget::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// One contender with all that is known of it.
struct Measured {
    contender: &'static Contender,
    built: build::Built,
    samples: Samples,
    instructions: Option<u64>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let benches = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let (mut rounds, mut write) = (ROUNDS, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--check" => return gate::check(&benches),
            "--write" => write = true,
            "--rounds" => {
                let count = args.next().unwrap_or_default();
                rounds = count.parse().map_err(|_| Error::Usage(format!("--rounds {count:?}")))?;
            }
            _ => return Err(Error::Usage(arg)),
        }
    }
    let mut all = Vec::new();
    for contender in CONTENDERS {
        eprintln!("building {}", contender.package);
        let built = build::build(&benches.join("contenders"), contender)?;
        all.push(Measured { contender, built, samples: Samples::default(), instructions: None });
    }
    let sinks = sinks::Sinks::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for round in 0..rounds {
            eprint!("\rround {} of {rounds}", round + 1);
            // Each begins once as often as any other: what comes first finds other caches than what comes last.
            for index in 0..all.len() {
                let index = (index + round) % all.len();
                let measured = &mut all[index];
                start::measure(measured.contender, &measured.built.program, &sinks, &mut measured.samples)?;
                environment::measure(measured.contender, &measured.built.program, &sinks, &mut measured.samples).await?;
            }
        }
        Ok::<_, Error>(())
    })?;
    eprintln!();
    for measured in &all {
        if measured.contender.exports && measured.samples.exported == 0 {
            return Err(Error::NothingExported(measured.contender.name));
        }
    }
    if instructions::valgrind() {
        for measured in &mut all {
            eprintln!("counting the instructions of {}", measured.contender.name);
            measured.instructions = Some(instructions::to_first_next(measured.contender, &measured.built.program, &sinks)?);
        }
    }
    let tables = report::tables(&all, rounds, &benches.join("contenders"))?;
    println!("{tables}");
    if write {
        report::write(&benches.join("RESULTS.md"), &tables)?;
        chart::write(&benches, &all, &machine::Machine::here()?, rounds)?;
    }
    Ok(())
}
