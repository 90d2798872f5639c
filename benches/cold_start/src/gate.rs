//! `--check`: compares the figures that hardly vary with `benches/budget.toml`. Nothing is timed, so it can run on any machine under any load.

use crate::{
    budget::{Budget, Compared, Figure, Verdict},
    build,
    contender::{CONTENDERS, Contender},
    error::Error,
    footprint, instructions,
    sinks::Sinks,
    system_calls,
};
use std::{collections::BTreeMap, fs, path::Path};

type Figures = BTreeMap<Figure, f64>;

/// Builds and measures the contenders of the budget, prints every line with its figure, and fails if one is exceeded.
pub(crate) fn check(benches: &Path, only: Option<&str>) -> Result<(), Error> {
    let mut budget = Budget::parse(&fs::read_to_string(benches.join("budget.toml"))?)?;
    if let Some(only) = only {
        budget.keep(only).map_err(|unknown| Error::NoContender(unknown.to_owned()))?;
    }
    let sinks = Sinks::start()?;
    let mut measured = BTreeMap::new();
    for name in budget.contenders() {
        let contender = CONTENDERS.iter().find(|contender| contender.name == name);
        let contender = contender.ok_or_else(|| Error::NoContender(name.to_owned()))?;
        let warm = budget.needs(contender.name, Figure::WarmInstructions);
        measured.insert(name, figures(&benches.join("contenders"), contender, warm, &sinks)?);
    }
    let compared = budget.compare(|contender, figure| measured.get(contender)?.get(&figure).copied());
    report(&compared)
}

/// Builds and measures a contender; `warm` also counts the instructions of a warm invocation.
pub(crate) fn figures(contenders: &Path, contender: &Contender, warm: bool, sinks: &Sinks) -> Result<Figures, Error> {
    eprintln!("building and measuring {}", contender.name);
    let built = build::build(contenders, contender)?;
    let footprint = footprint::at_first_next(contender, &built.program, sinks)?;
    let mut figures = Figures::from([
        (Figure::AnonymousKb, footprint.anonymous / 1024.0),
        (Figure::ResidentKb, footprint.resident / 1024.0),
        (Figure::StrippedKb, built.size as f64 / 1024.0),
        (Figure::Crates, built.crates as f64),
    ]);
    if instructions::valgrind() {
        figures.insert(Figure::Instructions, instructions::to_first_next(contender, &built.program, sinks)? as f64);
        if warm {
            let warm = instructions::of_a_warm_invocation(contender, &built.program, sinks)?;
            figures.insert(Figure::WarmInstructions, warm as f64);
        }
    }
    if system_calls::strace() {
        figures.insert(Figure::Syscalls, system_calls::to_first_next(contender, &built.program, sinks)? as f64);
    }
    Ok(figures)
}

fn report(compared: &[Compared<'_>]) -> Result<(), Error> {
    for line in compared {
        println!("{line}");
        if line.verdict == Verdict::Exceeded {
            println!("{:13}see what it is made of: {}", "", profile(line));
        }
        if let Some(advice) = line.advice() {
            println!("{:13}{advice}", "");
        }
    }
    let missing: Vec<&str> = [(Figure::Instructions, "valgrind"), (Figure::Syscalls, "strace")]
        .into_iter()
        .filter(|(figure, _)| compared.iter().any(|line| line.figure == *figure && line.verdict == Verdict::NotMeasured))
        .map(|(_, tool)| tool)
        .collect();
    if !missing.is_empty() {
        println!("not checked where it takes {}, which this machine has not, or which may not trace here", missing.join(" or "));
    }
    match compared.iter().filter(|line| line.verdict == Verdict::Exceeded).count() {
        0 => Ok(()),
        exceeded => Err(Error::OverBudget(exceeded)),
    }
}

/// The command that shows where a figure comes from.
fn profile(line: &Compared<'_>) -> String {
    let name = line.contender;
    let contender = CONTENDERS.iter().find(|contender| contender.name == name);
    let (package, program) = contender.map_or((name, name), |contender| (contender.package, contender.program));
    // Deployed programs have no symbols, so a profile needs a build that keeps them.
    let (unstripped, check) =
        ("CARGO_PROFILE_RELEASE_STRIP=none", "cargo run --manifest-path benches/cold_start/Cargo.toml -- --check");
    let profiled = |profile| format!("{unstripped} CALLGRIND_OUT=. {check}; callgrind_annotate --inclusive=yes {name}{profile}");
    let instructions = profiled(".out");
    let build =
        format!("(cd benches/contenders && {unstripped} cargo build --release --target-dir target -p {package} --bin {program})");
    match line.figure {
        Figure::Instructions => instructions,
        Figure::WarmInstructions => profiled(".warm.out"),
        Figure::AnonymousKb | Figure::ResidentKb => format!(
            "{build} && readelf --sections --wide benches/contenders/target/release/{program} (.data.rel.ro and .data are written \
             to when it is loaded), and what runs: {instructions}"
        ),
        Figure::Syscalls => format!("STRACE_OUT=. {check}; cat {name}.strace"),
        Figure::StrippedKb => format!(
            "{build} && nm --print-size --size-sort --reverse-sort --demangle benches/contenders/target/release/{program} | head -40"
        ),
        Figure::Crates => format!("(cd benches/contenders && cargo tree -e normal -p {package})"),
    }
}
