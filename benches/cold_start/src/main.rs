//! The cost of a cold start with this library and with the alternatives: real bootstraps, inside and outside the sandbox.
//!
//! `cargo run --release --manifest-path benches/cold_start/Cargo.toml -- --write` builds the contenders, measures them, and puts the tables
//! into `benches/RESULTS.md`. Without `--write` they are printed only; `--rounds 100` measures longer, `--only bare,ours` those alone,
//! `--concurrent` only many events at once, and `--concurrent --count` counts them instead of timing them. `-- --check` instead compares what does
//! not drift with `benches/budget.toml`, and fails beyond it. `-- --ablate` shows what each stage adds to a start.

mod ablation;
mod absent;
mod bootstrap;
mod budget;
mod build;
mod chart;
mod concurrent;
mod contender;
mod counted;
mod environment;
mod error;
mod footprint;
mod gate;
mod instructions;
mod linked;
mod measured;
mod report;
mod samples;
mod served;
mod sinks;
mod start;
mod system_calls;

use bench_report::{machine::Machine, statistics::order};
use error::Error;
use measured::Measured;
use sinks::Sinks;
use std::{path::PathBuf, process::ExitCode};

const ROUNDS: usize = 50;
/// The rounds of measurements that take long or hardly vary.
const FEWER: usize = 10;

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
    let (mut rounds, mut write, mut check, mut ablate, mut only) = (ROUNDS, false, false, false, None);
    let (mut many, mut count_many) = (false, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--check" => check = true,
            "--ablate" => ablate = true,
            "--write" => write = true,
            "--concurrent" => many = true,
            "--count" => count_many = true,
            "--rounds" => {
                let count = args.next().unwrap_or_default();
                rounds = count.parse().map_err(|_| Error::Usage(format!("--rounds {count:?}")))?;
            }
            "--only" => only = Some(args.next().unwrap_or_default()),
            _ => return Err(Error::Usage(arg)),
        }
    }
    if write && only.is_some() {
        return Err(Error::Usage("--only --write".to_owned()));
    }
    if ablate {
        return ablation::print(&benches);
    }
    if check {
        return gate::check(&benches, only.as_deref());
    }
    if many {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if count_many {
            println!("{}", runtime.block_on(counted::table(&benches.join("contenders"), &Sinks::start()?))?);
            return Ok(());
        }
        let rows = runtime.block_on(concurrent::measure(&benches.join("contenders"), &Sinks::start()?, rounds))?;
        let mut table = String::new();
        concurrent::table(&mut table, &rows);
        println!("{table}");
        return Ok(());
    }
    let wanted = |name: &str| only.as_ref().is_none_or(|only| only.split(',').any(|other| other == name));
    let contenders = benches.join("contenders");
    let mut all = Vec::new();
    for contender in contender::measurable().filter(|contender| wanted(contender.name)) {
        eprintln!("building {}", contender.name);
        all.push(Measured::new(contender, build::build(&contenders, contender)?));
    }
    let sinks = Sinks::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let concurrency = runtime.block_on(async {
        in_rounds(&mut all, &sinks, rounds).await?;
        let fewer = rounds.div_ceil(FEWER);
        absent::measure(&mut all, fewer).await?;
        concurrent::measure(&contenders, &sinks, fewer).await
    })?;
    count(&mut all, &sinks)?;
    let machine = Machine::here()?;
    let tables = report::tables(&all, &concurrency, &machine, rounds, &contenders)?;
    println!("{tables}");
    if write {
        report::write(&benches.join("RESULTS.md"), &tables)?;
        chart::write(&benches, &all, &machine, rounds)?;
    }
    Ok(())
}

async fn in_rounds(all: &mut [Measured], sinks: &Sinks, rounds: usize) -> Result<(), Error> {
    for round in 0..rounds {
        eprint!("\rround {} of {rounds}", round + 1);
        for index in order(all.len(), round) {
            let measured = &mut all[index];
            start::measure(measured.contender, &measured.built.program, sinks, &mut measured.samples)?;
            environment::measure(measured.contender, &measured.built.program, sinks, &mut measured.samples).await?;
        }
    }
    eprintln!();
    let idle = |measured: &&Measured| measured.contender.exports && measured.samples.exported == 0;
    all.iter().find(idle).map_or(Ok(()), |measured| Err(Error::NothingExported(measured.contender.name)))
}

/// Counts what hardly depends on the machine, with the tools that are there.
fn count(all: &mut [Measured], sinks: &Sinks) -> Result<(), Error> {
    let (valgrind, strace) = (instructions::valgrind(), system_calls::strace());
    for Measured { contender, built, instructions, system_calls, .. } in all {
        eprintln!("counting instructions and system calls of {}", contender.name);
        if valgrind {
            *instructions = Some(instructions::to_first_next(contender, &built.program, sinks)?);
        }
        if strace {
            *system_calls = Some(system_calls::to_first_next(contender, &built.program, sinks)?);
        }
    }
    Ok(())
}
