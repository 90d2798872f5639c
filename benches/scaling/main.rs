//! How the cost grows with the spans of an invocation and with the invocations at once, beside rivals that can be called in-process.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --features rivals --bench scaling`. A process creates settings, subscriber and
//! provider once, so each measurement runs in a separate process: this program starts itself again with `ROW`. The best of
//! several rounds counts. The stand-in for `lambda_runtime` does no HTTP, so ratios to an invocation without the library are far
//! higher than in a real function.

mod concurrent;
mod rivals;
mod spans;
mod table;

use lambda_lifecycle_benches::measure::Cost;
use std::{net::UdpSocket, process::ExitCode, thread};
use table::Table;

const ROUNDS: usize = 5;

fn main() -> ExitCode {
    if let Ok(row) = std::env::var("ROW") {
        return measure(&row);
    }
    let daemon = match drained_socket() {
        Ok(address) => address,
        Err(error) => {
            eprintln!("no socket for the documents: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut tables = [Table::new(spans::ROWS, spans::COUNTS), Table::new(concurrent::ROWS, concurrent::COUNTS)];
    for round in 1..=ROUNDS {
        eprint!("\rround {round} of {ROUNDS}");
        tables.iter_mut().for_each(|table| table.round(&daemon));
    }
    eprintln!();
    let [spans, concurrent] = &tables;
    spans.print("SPANS AN INVOCATION: µs a span to the response, × ours sampled", spans::OURS, |cost, count| {
        cost.answer / count
    });
    spans.print("SPANS AN INVOCATION: µs of CPU a span in all, × ours sampled", spans::OURS, |cost, count| cost.cpu / count);
    concurrent.print(
        "INVOCATIONS AT ONCE, 1 ms of waiting, ten spans: µs of CPU an invocation, × without the library",
        0,
        |cost, _| cost.cpu,
    );
    let complete = tables.iter().all(Table::is_complete);
    if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn drained_socket() -> std::io::Result<String> {
    let daemon = UdpSocket::bind("127.0.0.1:0")?;
    let address = daemon.local_addr()?.to_string();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while daemon.recv(&mut buffer).is_ok() {}
    });
    Ok(address)
}

fn measure(row: &str) -> ExitCode {
    let Some((name, count)) = row.rsplit_once(' ').and_then(|(name, count)| Some((name, count.parse().ok()?))) else {
        return ExitCode::FAILURE;
    };
    match concurrent::run(name, count).or_else(|| spans::run(name, count)) {
        Some(Ok(Cost { answer, cpu })) => {
            println!("\nmeasured {answer} {cpu}");
            ExitCode::SUCCESS
        }
        Some(Err(error)) => {
            eprintln!("{row}: {error}");
            ExitCode::FAILURE
        }
        None => ExitCode::FAILURE,
    }
}
