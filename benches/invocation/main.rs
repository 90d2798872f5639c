//! The cost that the library adds to an invocation, around a stand-in for `lambda_runtime`'s inner service.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench invocation`. Settings and environment are read once in a process, so
//! each row runs in a separate process: this program starts itself again with `ROW`.

mod row;

use lambda_lifecycle_benches::measure;
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    if let Ok(name) = std::env::var("ROW") {
        return row::run(&name);
    }
    println!(
        "One invocation: decode, handler, encode, one yield as the POST. Rows of ten spans make them with `tracing`, two fields each.\n"
    );
    let mut measured = Vec::new();
    for row in row::ROWS {
        if row.title {
            println!("{:64} {:>12} {:>12}", row.what, "to response", "CPU in total");
        } else {
            measured.push((row.name, start(row)));
        }
    }
    let of = |name: &str| measured.iter().find(|(known, _)| *known == name).and_then(|(_, numbers)| *numbers).map(|(_, cpu)| cpu);
    let mut missed = false;
    println!();
    for (row, baseline, goal) in row::GOALS {
        let (Some(value), Some(baseline)) = (of(row), of(baseline)) else {
            println!("{row}: not measured");
            missed = true;
            continue;
        };
        let above = value - baseline;
        let met = above <= *goal;
        missed |= !met;
        println!("{row}: {above:.0} ns above no tracing, goal {goal:.0} ns: {}", if met { "met" } else { "MISSED" });
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Measures a row, prints it, and hands its two numbers back, in nanoseconds.
fn start(row: &row::Row) -> Option<(f64, f64)> {
    let program = std::env::current_exe().ok()?;
    let mut command = Command::new(program);
    command.env("ROW", row.name).stdout(Stdio::piped());
    for (key, value) in row::COMMON.iter().chain(row.env) {
        command.env(key, value);
    }
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut numbers = said.lines().rev().find_map(|line| line.strip_prefix("measured "))?.split(' ').map(str::parse::<f64>);
    let (Some(Ok(answer)), Some(Ok(cpu))) = (numbers.next(), numbers.next()) else {
        println!("{:64} failed", row.what);
        return None;
    };
    println!("{:64} {:>12} {:>12}", row.what, measure::text(answer), measure::text(cpu));
    Some((answer, cpu))
}
