//! The time of a function's first response, with one SDK call, for each way to set up the client.
//!
//! `cargo run --release --manifest-path benches/first_response/Cargo.toml -- --write` builds the functions in `contenders`, measures them at the
//! CPU shares of 128, 512 and 1,769 MB, and puts the tables into `benches/RESULTS.md`, the rows about clients into `docs/init.md`, and the chart into
//! `docs/first-response.svg`. Without `--write` tables and rows are printed only.
//!
//! - `--rounds 100` measures longer, `--only sdk_defaults,ours` measures those alone, `--sizes 128` at this share alone.
//! - `--one-root` gives the contenders the root certificate of the endpoint alone, without the system's: what is left out is what reading them costs.
//! - `--programs FOLDER` builds nothing, and measures those contenders of which this folder has the program.
//! - `--check` compares the figures with the goals, and fails where one is missed.
//!
//! It needs control groups: run it as root, or in a delegated group.

mod build;
mod chart;
mod check;
mod contender;
mod error;
mod handshake;
mod measured;
mod report;
mod rows;
mod sample;
mod service;

use bench_report::{machine::Machine, statistics::order};
use contender::{CONTENDERS, Contender};
use error::Error;
use lambda_lifecycle_sandbox::control_groups::ControlGroups;
use measured::{Measured, SIZES};
use sample::Stage;
use service::Service;
use std::{path::PathBuf, process::ExitCode};

const ROUNDS: usize = 30;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The command line.
struct Options {
    rounds: usize,
    write: bool,
    check: bool,
    only: Option<Vec<String>>,
    sizes: Vec<u32>,
    programs: Option<PathBuf>,
    one_root: bool,
}

fn options() -> Result<Options, Error> {
    let mut options = Options {
        rounds: ROUNDS,
        write: false,
        check: false,
        only: None,
        sizes: SIZES.to_vec(),
        programs: None,
        one_root: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| Error::Usage(format!("{arg} without a value")));
        match arg.as_str() {
            "--write" => options.write = true,
            "--check" => options.check = true,
            "--rounds" => {
                let text = value()?;
                options.rounds =
                    text.parse().ok().filter(|&rounds| rounds > 0).ok_or(Error::Usage(format!("--rounds {text}")))?;
            }
            "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
            "--one-root" => options.one_root = true,
            "--programs" => options.programs = Some(value()?.into()),
            "--sizes" => {
                let text = value()?;
                let sizes: Result<_, _> = text.split(',').map(str::parse).collect();
                options.sizes = sizes.map_err(|_| Error::Usage(format!("--sizes {text}")))?;
            }
            _ => return Err(Error::Usage(arg)),
        }
    }
    let known = |name: &String| CONTENDERS.iter().any(|contender| contender.name == name);
    if let Some(unknown) = options.only.iter().flatten().find(|name| !known(name)) {
        return Err(Error::Usage(format!("--only {unknown}")));
    }
    if options.write && (options.only.is_some() || options.sizes != SIZES || options.one_root) {
        return Err(Error::Usage("--write with --only, --sizes or --one-root".to_owned()));
    }
    Ok(options)
}

fn run() -> Result<ExitCode, Error> {
    let options = options()?;
    // Checked before the build, which takes minutes.
    let groups = ControlGroups::find()?;
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let wanted = |contender: &&Contender| options.only.as_ref().is_none_or(|only| only.iter().any(|name| name == contender.name));
    let mut all = Vec::new();
    for contender in CONTENDERS.iter().filter(wanted) {
        let program = match &options.programs {
            Some(folder) if !folder.join(contender.name).is_file() => continue,
            Some(folder) => folder.join(contender.name),
            None => {
                eprintln!("building {}", contender.name);
                build::build(&here.join("contenders"), contender)?
            }
        };
        all.push(Measured::new(contender, program, &options.sizes)?);
    }
    let service = Service::start(options.one_root)?;
    let handshake = handshake::measure(&service)?;
    let stage = Stage::new(&service, groups)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(in_rounds(&mut all, &stage, options.rounds))?;
    let machine = Machine::here()?;
    let tables = report::tables(&all, &options.sizes, &machine, options.rounds, &handshake, service.roots())?;
    println!("{tables}");
    let rows = rows::rows(&all);
    rows.iter().for_each(|(_, row)| println!("{row}"));
    let benches = here.join("..");
    if options.write {
        report::write(&benches.join("RESULTS.md"), &tables)?;
        rows::write(&benches.join("../docs/init.md"), &rows)?;
        chart::write(&benches.join("../docs/first-response.svg"), &all, &machine, options.rounds)?;
    }
    let failed = if options.check { check::print(&all, &options.sizes) } else { 0 };
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn in_rounds(all: &mut [Measured], stage: &Stage, rounds: usize) -> Result<(), Error> {
    for round in 0..rounds {
        eprint!("\rround {} of {rounds}", round + 1);
        for index in order(all.len(), round) {
            let Measured { contender, program, sizes, .. } = &mut all[index];
            for size in sizes {
                let sample = stage.sample(contender, program, size.mb).await?;
                size.push(&sample);
            }
        }
    }
    eprintln!();
    Ok(())
}
